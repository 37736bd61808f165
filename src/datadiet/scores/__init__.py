"""Scores of training examples: pure functions, their cards, and the table that holds the results."""

# Each registers its scores: this order is the one in which cards are listed and tables have their columns.
from datadiet.scores import outputs, training_dynamics, gradients, inputs  # noqa: F401  # isort: skip
from datadiet.scores.registry import ScoreCard, card, cards, register_score
from datadiet.scores.table import ScoreTable

__all__ = ["ScoreCard", "ScoreTable", "card", "cards", "register_score"]
