"""What a call takes in tokens, seconds and money, and what training took."""
