"""What a report is made of: plain data, checked on arrival, that knows nothing of runs or workspaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from datadiet.foundation.errors import BadInputError


@dataclass(frozen=True)
class ExampleView:
    """One example as a reader sees it: as an image (PNG bytes), a text or a vector, with its score.

    >>> ExampleView(id=17, label="seven", score=1.2, text="a text").text
    'a text'
    """

    id: int
    label: str
    score: float
    image: bytes | None = None
    text: str | None = None
    vector: Sequence[float] | np.ndarray[Any, Any] | None = None


@dataclass(frozen=True)
class Gallery:
    """The easiest and the hardest examples of each class by one score: class -> (easiest, hardest).

    Both lists begin with the most extreme example.

    >>> Gallery("el2n", {"cat": ([], [])}).score
    'el2n'
    """

    score: str
    by_class: Mapping[str, tuple[Sequence[ExampleView], Sequence[ExampleView]]]


@dataclass(frozen=True)
class ReportContents:
    """Everything that a report shows.

    `verdict` has the keys of `verdict.json`: accuracies and differences are fractions, the tolerance is in
    percentage points. `scores` maps a score's name to its values, shape (n,); `labels` are
    class numbers, shape (n,), into `class_names`; `kept` maps a subset's name, as `subset_key` makes it
    ("el2n hardest 0.7"), to a bool mask, shape (n,). What is absent is said in the report, not left blank.

    Raises:
        BadInputError: when lengths do not match, or a label has no class name.

    >>> ReportContents(title="digits", verdict={}, labels=np.array([0, 1]), class_names=("zero",))
    Traceback (most recent call last):
        ...
    datadiet.foundation.errors.BadInputError: the label 1 of row 1 has no class name: there are 1 class names
    """

    title: str
    verdict: Mapping[str, Any]
    scores: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    labels: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    class_names: Sequence[str] = ()
    kept: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    galleries: Sequence[Gallery] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        if labels.ndim != 1:
            raise BadInputError(f"the report's labels must have shape (n,), not {labels.shape}")
        outside = np.flatnonzero((labels < 0) | (labels >= len(self.class_names)))
        if len(outside):
            row = int(outside[0])
            raise BadInputError(
                f"the label {int(labels[row])} of row {row} has no class name: "
                f"there are {len(self.class_names)} class names"
            )
        for kind, columns in (("score", self.scores), ("subset", self.kept)):
            for name, values in columns.items():
                if np.shape(values) != labels.shape:
                    shape = np.shape(values)
                    raise BadInputError(f"the {kind} {name!r} has shape {shape}, the labels {labels.shape}")


def subset_key(subset: Mapping[str, Any]) -> str:
    """The name under which a subset of the verdict stands in `ReportContents.kept`.

    >>> subset_key({"score": "el2n", "rule": "hardest", "keep": 0.7})
    'el2n hardest 0.7'
    """
    return f"{subset['score']} {subset['rule']} {subset['keep']:g}"
