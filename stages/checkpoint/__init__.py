"""Checkpoints that are whole or absent, and random streams that need no saved state."""
