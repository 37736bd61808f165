"""Find out which of your training examples matter: scores, smaller data sets, honest evidence."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datadiet.agreement import Agreement, agree
    from datadiet.data import Corrupted, Examples, corrupt, load
    from datadiet.decisions import Decisions
    from datadiet.diet import Verdict, compare, run
    from datadiet.errors import BadInputError, DataDietError, RunFailedError
    from datadiet.exporting import Exported, export
    from datadiet.keeping import Kept, keep
    from datadiet.landscape import Barrier, error_barrier, interpolate, kernel_distance, ntk_gram
    from datadiet.models import ModelContext, model
    from datadiet.pergrad import gradient_norm_rule, gradient_norms, grand
    from datadiet.scores import ScoreTable, register_score
    from datadiet.scoring import score
    from datadiet.selection import select, selection_rule
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
    "Examples": "data",
    "Exported": "exporting",
    "Kept": "keeping",
    "ModelContext": "models",
    "Recipe": "training.recipe",
    "Recorder": "tracking",
    "RunFailedError": "errors",
    "ScoreTable": "scores",
    "Tuned": "tuning",
    "Verdict": "diet",
    "agree": "agreement",
    "compare": "diet",
    "corrupt": "data",
    "error_barrier": "landscape",
    "export": "exporting",
    "gradient_norm_rule": "pergrad",
    "gradient_norms": "pergrad",
    "grand": "pergrad",
    "interpolate": "landscape",
    "keep": "keeping",
    "kernel_distance": "landscape",
    "load": "data",
    "model": "models",
    "ntk_gram": "landscape",
    "register_score": "scores",
    "run": "diet",
    "score": "scoring",
    "select": "selection",
    "selection_rule": "selection",
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
    "Examples",
    "Exported",
    "Kept",
    "ModelContext",
    "Recipe",
    "Recorder",
    "RunFailedError",
    "ScoreTable",
    "Tuned",
    "Verdict",
    "agree",
    "compare",
    "corrupt",
    "error_barrier",
    "export",
    "gradient_norm_rule",
    "gradient_norms",
    "grand",
    "interpolate",
    "keep",
    "kernel_distance",
    "load",
    "model",
    "ntk_gram",
    "register_score",
    "run",
    "score",
    "select",
    "selection_rule",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'datadiet' has no attribute {name!r}")
    return getattr(importlib.import_module(f"datadiet.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
