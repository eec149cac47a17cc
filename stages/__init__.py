"""The stages, one folder each. `from stages import sft` costs nothing; torch is imported when a stage runs."""
