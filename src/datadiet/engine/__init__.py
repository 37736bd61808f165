"""What trains and measures: setup, runs, checkpoints and what they say of every example."""
