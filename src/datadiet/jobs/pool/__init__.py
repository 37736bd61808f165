"""Pools of weakly labelled or unlabelled examples: which of them to add to a small labelled set."""

from datadiet.jobs.pool.job import Pooled, pool

__all__ = ["Pooled", "pool"]
