"""One loop for everything: recipes, the loop itself, its observers, checkpoints, evaluation."""
