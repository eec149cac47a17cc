"""Kind `toy-rows`: a policy and instructions -> rows that another stage can read."""
