"""What a program can say of one answer, and whether questions hold what it needs for that."""
