"""Find out which of your training examples matter: scores, smaller data sets, honest evidence."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datadiet.data import Corrupted, Examples, corrupt, load
    from datadiet.diet import Verdict, compare, run
    from datadiet.errors import BadInputError, DataDietError, RunFailedError
    from datadiet.keeping import Kept, keep
    from datadiet.models import ModelContext, model
    from datadiet.pergrad import gradient_norm_rule, gradient_norms, grand
    from datadiet.scores import ScoreTable, register_score
    from datadiet.scoring import score
    from datadiet.selection import select, selection_rule
    from datadiet.tracking import Recorder
    from datadiet.training.recipe import Recipe
    from datadiet.verifying import verify

__version__ = "0.1.0"

# Where each public name lives. They are imported when first used, so that `import datadiet` and
# `datadiet --help` do not wait for torch.
_HOME = {
    "BadInputError": "errors",
    "Corrupted": "data",
    "DataDietError": "errors",
    "Examples": "data",
    "Kept": "keeping",
    "ModelContext": "models",
    "Recipe": "training.recipe",
    "Recorder": "tracking",
    "RunFailedError": "errors",
    "ScoreTable": "scores",
    "Verdict": "diet",
    "compare": "diet",
    "corrupt": "data",
    "grand": "pergrad",
    "gradient_norm_rule": "pergrad",
    "gradient_norms": "pergrad",
    "keep": "keeping",
    "load": "data",
    "model": "models",
    "register_score": "scores",
    "run": "diet",
    "score": "scoring",
    "select": "selection",
    "selection_rule": "selection",
    "verify": "verifying",
}

__all__ = [
    "BadInputError",
    "Corrupted",
    "DataDietError",
    "Examples",
    "Kept",
    "ModelContext",
    "Recipe",
    "Recorder",
    "RunFailedError",
    "ScoreTable",
    "Verdict",
    "compare",
    "corrupt",
    "gradient_norm_rule",
    "gradient_norms",
    "grand",
    "keep",
    "load",
    "model",
    "register_score",
    "run",
    "score",
    "select",
    "selection_rule",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'datadiet' has no attribute {name!r}")
    return getattr(importlib.import_module(f"datadiet.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
