"""How outputs and targets become a per-example loss, error, correctness and measures, for each kind of task."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from datadiet.tasks.base import IGNORED, TASKS, Task
from datadiet.tasks.classification import Classification
from datadiet.tasks.intent_slots import IntentSlots
from datadiet.tasks.multilabel import MultiLabel
from datadiet.tasks.regression import Regression
from datadiet.tasks.token_classification import (
    TokenClassification,
    entities,
    group_error,
    semantic_error_rate,
    slot_errors,
    slot_f1,
)

__all__ = [
    "IGNORED",
    "TASKS",
    "Classification",
    "IntentSlots",
    "MultiLabel",
    "Regression",
    "Task",
    "TokenClassification",
    "entities",
    "group_error",
    "semantic_error_rate",
    "slot_errors",
    "slot_f1",
    "task_for",
]


def task_for(
    name: str,
    *,
    label_smoothing: float = 0.0,
    tag_names: Sequence[str] = (),
    intent_weight: float = 0.5,
    target_scale: float = 1.0,
    target_mean: float = 0.0,
) -> Task:
    """The task of that name; each takes of the options what it has a use for.

    Args:
        name: one of `TASKS`.
        label_smoothing: share of the target mass that is spread evenly, in the training loss only.
        tag_names: names of the tags of words, by their number (intent_slots, token_classification).
        intent_weight: share of the intent in the loss of intent_slots; the rest is the slots'.
        target_scale: standard deviation of the training targets (regression).
        target_mean: mean of the training targets (regression).

    Raises:
        BadInputError: there is no such task, or an option is outside its range.

    Example:
        >>> task_for("multilabel").name
        'multilabel'
    """
    options = {
        "label_smoothing": label_smoothing,
        "tag_names": tuple(tag_names),
        "intent_weight": intent_weight,
        "target_scale": target_scale,
        "target_mean": target_mean,
    }
    task: Any = TASKS[name]
    taken: Task = task(**{field.name: options[field.name] for field in dataclasses.fields(task)})
    return taken
