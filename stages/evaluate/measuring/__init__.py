"""What is measured of the answers: checks, reward models, an LLM judge, what was forgotten."""
