"""Kind `toy-rm`: a policy and instructions -> a reward model."""
