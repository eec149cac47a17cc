"""What people send back: taken into the batch by the same rules whichever tool it comes from, and looked at."""
