"""Likely label errors of a score table: further looks at its runs, one combination, one file."""

from datadiet.jobs.suspects.job import find_suspects
from datadiet.jobs.suspects.ranking import Suspects

__all__ = ["Suspects", "find_suspects"]
