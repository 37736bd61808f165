"""Where selections differ: rank correlations, overlap and class balance of score tables and kept files."""

from datadiet.agreement.comparing import Agreement, agree

__all__ = ["Agreement", "agree"]
