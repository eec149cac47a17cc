"""Toy stage kinds: what a stage does to the engine (metrics, checkpoints, errors), without a model."""
