"""What the model will see of a stage's data, token by token, before anything is trained."""
