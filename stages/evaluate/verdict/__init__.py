"""Whether it was worth it: the figure, the comparisons, the sentences."""
