"""How outputs and targets become a per-example loss, error, correctness and measures, for each kind of task."""

from datadiet.tasks.base import IGNORED, Task
from datadiet.tasks.choosing import TASKS, task_for
from datadiet.tasks.classification import Classification
from datadiet.tasks.entities import entities, group_error, semantic_error_rate, slot_errors, slot_f1
from datadiet.tasks.intent_slots import IntentSlots
from datadiet.tasks.multilabel import MultiLabel
from datadiet.tasks.regression import Regression
from datadiet.tasks.token_classification import TokenClassification

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
