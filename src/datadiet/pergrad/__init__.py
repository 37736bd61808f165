"""Exact per-example gradient norms of any model at about the price of a training step."""

from datadiet.pergrad import convolution, linear, normalisation
from datadiet.pergrad.factors import LowRank, Rows, SquaredNorm
from datadiet.pergrad.norms import GradientNorms, GrandResult, gradient_norms, grand
from datadiet.pergrad.tape import gradient_norm_rule

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
_ = (convolution, linear, normalisation)
