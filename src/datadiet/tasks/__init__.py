"""How outputs and targets become a per-example loss, error, correctness and measures, for each kind of task."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from datadiet.tasks.base import IGNORED as IGNORED
from datadiet.tasks.base import TASKS as TASKS
from datadiet.tasks.base import Task as Task
from datadiet.tasks.base import register_task as register_task
from datadiet.tasks.classification import Classification as Classification
from datadiet.tasks.intent_slots import IntentSlots as IntentSlots
from datadiet.tasks.multilabel import MultiLabel as MultiLabel
from datadiet.tasks.regression import Regression as Regression
from datadiet.tasks.token_classification import TokenClassification as TokenClassification
from datadiet.tasks.token_classification import entities as entities
from datadiet.tasks.token_classification import group_error as group_error
from datadiet.tasks.token_classification import semantic_error_rate as semantic_error_rate
from datadiet.tasks.token_classification import slot_errors as slot_errors
from datadiet.tasks.token_classification import slot_f1 as slot_f1


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
