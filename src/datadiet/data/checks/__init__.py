"""What is wrong with single rows of a source, and what stays."""
