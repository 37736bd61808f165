"""Pools of weakly labelled or unlabelled examples: which of them to add to a small labelled set."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datadiet.jobs.pool.job import Pooled, pool


__all__ = ["Pooled", "pool"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'datadiet.jobs.pool' has no attribute {name!r}")
    return getattr(importlib.import_module("datadiet.jobs.pool.job"), name)
