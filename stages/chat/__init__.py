"""`posttune chat`: a conversation with one policy, or with several side by side."""
