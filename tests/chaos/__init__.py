"""Runs that are killed, stopped, starved and lied to, again and again, must end where an untouched run ends.

plan.py what happens to a run, hook/ how it is done to it, drive.py attempt after attempt, outcome.py what is compared.
"""
