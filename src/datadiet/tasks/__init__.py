"""How outputs and targets become a per-example loss, error and correctness."""

from datadiet.tasks.base import Task
from datadiet.tasks.classification import Classification

__all__ = ["Classification", "Task"]
