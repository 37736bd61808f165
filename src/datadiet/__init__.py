"""Find out which of your training examples matter: scores, smaller data sets, honest evidence."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from datadiet.foundation import __version__ as __version__

if TYPE_CHECKING:
    from datadiet.data import Corrupted as Corrupted
    from datadiet.data import Examples as Examples
    from datadiet.data import corrupt as corrupt
    from datadiet.data import load as load
    from datadiet.dynamic import DynamicSampler as DynamicSampler
    from datadiet.engine.children import train_child as train_child
    from datadiet.engine.training.recipe import Recipe as Recipe
    from datadiet.foundation.errors import BadInputError as BadInputError
    from datadiet.foundation.errors import DataDietError as DataDietError
    from datadiet.foundation.errors import RunFailedError as RunFailedError
    from datadiet.jobs.agree import Agreement as Agreement
    from datadiet.jobs.agree import agree as agree
    from datadiet.jobs.decisions import Decisions as Decisions
    from datadiet.jobs.export import Exported as Exported
    from datadiet.jobs.export import export as export
    from datadiet.jobs.keep import Kept as Kept
    from datadiet.jobs.keep import keep as keep
    from datadiet.jobs.pool import Pooled as Pooled
    from datadiet.jobs.pool import pool as pool
    from datadiet.jobs.review import Review as Review
    from datadiet.jobs.review import review as review
    from datadiet.jobs.run import Verdict as Verdict
    from datadiet.jobs.run import compare as compare
    from datadiet.jobs.run import plan as plan
    from datadiet.jobs.run import run as run
    from datadiet.jobs.score import score as score
    from datadiet.jobs.suspects import Suspects as Suspects
    from datadiet.jobs.suspects import find_suspects as find_suspects
    from datadiet.jobs.tune import Tuned as Tuned
    from datadiet.jobs.tune import tune as tune
    from datadiet.jobs.verify import verify as verify
    from datadiet.landscape import Barrier as Barrier
    from datadiet.landscape import error_barrier as error_barrier
    from datadiet.landscape import interpolate as interpolate
    from datadiet.landscape import kernel_distance as kernel_distance
    from datadiet.landscape import ntk_gram as ntk_gram
    from datadiet.models import ModelContext as ModelContext
    from datadiet.models import model as model
    from datadiet.pergrad import gradient_norm_rule as gradient_norm_rule
    from datadiet.pergrad import gradient_norms as gradient_norms
    from datadiet.pergrad import grand as grand
    from datadiet.scores import ScoreTable as ScoreTable
    from datadiet.scores import register_score as register_score
    from datadiet.selection import select as select
    from datadiet.selection import selection_rule as selection_rule
    from datadiet.sparse import apply_mask as apply_mask
    from datadiet.sparse import iterative_magnitude_pruning as iterative_magnitude_pruning
    from datadiet.sparse import magnitude_mask as magnitude_mask
    from datadiet.studies import run_study as run_study
    from datadiet.tasks import task_for as task_for
    from datadiet.tracking import Recorder as Recorder

# The room of each public name. They are imported when first used, so that `import datadiet` and
# `datadiet --help` do not wait for torch.
_ROOMS = {
    "data": "Corrupted Examples corrupt load",
    "dynamic": "DynamicSampler",
    "engine.children": "train_child",
    "engine.training.recipe": "Recipe",
    "foundation.errors": "BadInputError DataDietError RunFailedError",
    "jobs.agree": "Agreement agree",
    "jobs.decisions": "Decisions",
    "jobs.export": "Exported export",
    "jobs.keep": "Kept keep",
    "jobs.pool": "Pooled pool",
    "jobs.review": "Review review",
    "jobs.run": "Verdict compare plan run",
    "jobs.score": "score",
    "jobs.suspects": "Suspects find_suspects",
    "jobs.tune": "Tuned tune",
    "jobs.verify": "verify",
    "landscape": "Barrier error_barrier interpolate kernel_distance ntk_gram",
    "models": "ModelContext model",
    "pergrad": "gradient_norm_rule gradient_norms grand",
    "scores": "ScoreTable register_score",
    "selection": "select selection_rule",
    "sparse": "apply_mask iterative_magnitude_pruning magnitude_mask",
    "studies": "run_study",
    "tasks": "task_for",
    "tracking": "Recorder",
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names.split()}

__all__ = sorted(_ROOM_OF)


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'datadiet' has no attribute {name!r}")
    return getattr(importlib.import_module(f"datadiet.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
