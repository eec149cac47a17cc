"""Kind `toy-ppo`: a policy, its reference and a reward model -> a policy."""
