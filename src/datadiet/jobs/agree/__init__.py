"""Where selections differ: rank correlations, overlap and class balance of score tables and kept files."""

from datadiet.jobs.agree.job import Agreement, agree

__all__ = ["Agreement", "agree"]
