"""What people send back, taken in by the same rules whichever tool it comes from, and the commands of a batch."""
