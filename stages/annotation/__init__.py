"""Rankings from people: a blind batch of tasks out to the tools that people have, and their answers back."""
