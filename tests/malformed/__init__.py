"""The corpus of malformed input: recipes, data files and models that must be refused, as tables."""
