"""Likely label errors of a score table: further looks at its runs, one combination, one file."""

from datadiet.suspecting.finding import find_suspects
from datadiet.suspecting.suspected import Suspects

__all__ = ["Suspects", "find_suspects"]
