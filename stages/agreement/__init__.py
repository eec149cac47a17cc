"""How well people agree, and what their rankings come to as training data. Arrays in, figures out: numpy only."""
