"""Find out which of your training examples matter: scores, smaller data sets, honest evidence."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datadiet.agreement import Agreement, agree
    from datadiet.children import train_child
    from datadiet.data import Corrupted, Examples, corrupt, load
    from datadiet.decisions import Decisions
    from datadiet.diet import Verdict, compare, run
    from datadiet.dynamic import DynamicSampler
    from datadiet.errors import BadInputError, DataDietError, RunFailedError
    from datadiet.exporting import Exported, export
    from datadiet.keeping import Kept, keep
    from datadiet.landscape import Barrier, error_barrier, interpolate, kernel_distance, ntk_gram
    from datadiet.models import ModelContext, model
    from datadiet.pergrad import gradient_norm_rule, gradient_norms, grand
    from datadiet.pooling import Pooled, pool
    from datadiet.reviewing import Review, review
    from datadiet.scores import ScoreTable, register_score
    from datadiet.scoring import score
    from datadiet.selection import select, selection_rule
    from datadiet.sparse import apply_mask, iterative_magnitude_pruning, magnitude_mask
    from datadiet.studies import run_study
    from datadiet.suspecting import Suspects, find_suspects
    from datadiet.tasks import task_for
    from datadiet.tracking import Recorder
    from datadiet.training.recipe import Recipe
    from datadiet.tuning import Tuned, tune
    from datadiet.verifying import verify

__version__ = "0.1.0"

# Where each public name lives. They are imported when first used, so that `import datadiet` and
# `datadiet --help` do not wait for torch.
_HOME = {
    "Agreement": "agreement",
    "BadInputError": "errors",
    "Barrier": "landscape",
    "Corrupted": "data",
    "DataDietError": "errors",
    "Decisions": "decisions",
    "DynamicSampler": "dynamic",
    "Examples": "data",
    "Exported": "exporting",
    "Kept": "keeping",
    "ModelContext": "models",
    "Pooled": "pooling",
    "Recipe": "training.recipe",
    "Recorder": "tracking",
    "Review": "reviewing",
    "RunFailedError": "errors",
    "ScoreTable": "scores",
    "Suspects": "suspecting",
    "Tuned": "tuning",
    "Verdict": "diet",
    "agree": "agreement",
    "apply_mask": "sparse",
    "compare": "diet",
    "corrupt": "data",
    "error_barrier": "landscape",
    "export": "exporting",
    "find_suspects": "suspecting",
    "gradient_norm_rule": "pergrad",
    "gradient_norms": "pergrad",
    "grand": "pergrad",
    "interpolate": "landscape",
    "iterative_magnitude_pruning": "sparse",
    "keep": "keeping",
    "kernel_distance": "landscape",
    "load": "data",
    "magnitude_mask": "sparse",
    "model": "models",
    "ntk_gram": "landscape",
    "pool": "pooling",
    "register_score": "scores",
    "review": "reviewing",
    "run": "diet",
    "run_study": "studies",
    "score": "scoring",
    "select": "selection",
    "selection_rule": "selection",
    "task_for": "tasks",
    "train_child": "children",
    "tune": "tuning",
    "verify": "verifying",
}

__all__ = [
    "Agreement",
    "BadInputError",
    "Barrier",
    "Corrupted",
    "DataDietError",
    "Decisions",
    "DynamicSampler",
    "Examples",
    "Exported",
    "Kept",
    "ModelContext",
    "Pooled",
    "Recipe",
    "Recorder",
    "Review",
    "RunFailedError",
    "ScoreTable",
    "Suspects",
    "Tuned",
    "Verdict",
    "agree",
    "apply_mask",
    "compare",
    "corrupt",
    "error_barrier",
    "export",
    "find_suspects",
    "gradient_norm_rule",
    "gradient_norms",
    "grand",
    "interpolate",
    "iterative_magnitude_pruning",
    "keep",
    "kernel_distance",
    "load",
    "magnitude_mask",
    "model",
    "ntk_gram",
    "pool",
    "register_score",
    "review",
    "run",
    "run_study",
    "score",
    "select",
    "selection_rule",
    "task_for",
    "train_child",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'datadiet' has no attribute {name!r}")
    return getattr(importlib.import_module(f"datadiet.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
