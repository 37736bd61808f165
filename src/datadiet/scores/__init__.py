"""Scores of training examples: pure functions, their cards, and the table that holds the results."""

import datadiet.scores.builtin  # noqa: F401  (registers its cards)
from datadiet.scores.registry import ScoreCard, card, cards, register_score
from datadiet.scores.table import ScoreTable

__all__ = ["ScoreCard", "ScoreTable", "card", "cards", "register_score"]
