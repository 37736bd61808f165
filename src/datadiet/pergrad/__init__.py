"""Exact per-example gradient norms of any model at about the price of a training step."""

from datadiet.pergrad import convolution, elementwise, linear, normalisation, recurrent
from datadiet.pergrad.factors import LowRank, Rows, SquaredNorm
from datadiet.pergrad.grand import GrandResult, grand
from datadiet.pergrad.norms import GradientNorms, gradient_norms
from datadiet.pergrad.rules import gradient_norm_rule

__all__ = [
    "GradientNorms",
    "GrandResult",
    "LowRank",
    "Rows",
    "SquaredNorm",
    "gradient_norm_rule",
    "gradient_norms",
    "grand",
]

# Importing a module of rules registers them.
_ = (convolution, elementwise, linear, normalisation, recurrent)
