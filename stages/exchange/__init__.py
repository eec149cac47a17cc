"""A batch out to the tools that people have, and their files back: one module a tool, both ways."""
