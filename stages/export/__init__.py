"""`posttune export`: a policy as files that other programs load, and the proof that they answer as it does."""
