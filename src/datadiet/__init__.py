"""Find out which of your training examples matter."""
