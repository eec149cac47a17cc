"""Trains as kind `toy` does."""

from toy.train import run

__all__ = ["run"]
