"""Loading and saving models, adapters on one backbone, heads, the tokenizer and the chat template."""
