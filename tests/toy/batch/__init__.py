"""Kind `toy-batch`: a policy and instructions -> a batch whose rows people send back later."""
