"""The engine: recipes, plans, run folders, tracking and the report. It imports neither torch nor the stages."""

__version__ = "0.1.0"
