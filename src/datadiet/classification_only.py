"""Refuses, in one sentence, data of a task that something is not defined for."""

from __future__ import annotations

from datadiet.data import Examples
from datadiet.errors import BadInputError


def require_classification(examples: Examples, what: str, instead: str) -> None:
    """Raise `BadInputError` unless each example has one class and nothing else to be predicted.

    Args:
        examples: the data.
        what: what is asked for, as the beginning of a sentence that goes on with "is for ...".
        instead: what to do, as its end.

    Example:
        >>> from datadiet.data import load
        >>> require_classification(load("digits"), "Finding suspects", "rank it by a score")
    """
    if examples.task != "classification":
        raise BadInputError(
            f"{what} is for data with one class an example, and '{examples.name}' is of the task "
            f"'{examples.task}'; {instead}."
        )
