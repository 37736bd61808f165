"""The rows of one part while they are being checked: which are bad, and what stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from datadiet.data.examples import IntArray
from datadiet.data.target_rows import TargetRows
from datadiet.errors import BadInputError


@dataclass
class DraftRows:
    """Rows, their class indices (-1: missing, -2: not in the train part), targets, and why some are bad.

    >>> rows = DraftRows("train", None, np.array([0, 1, -1]))
    >>> rows.note({2: "its label is missing"})
    >>> rows.kept().tolist(), rows.left_out_note()
    ([0, 1], '1 bad row of the train rows is left out (the first id: 2).')
    """

    where: str
    dataset: Any
    labels: IntArray
    bad: dict[int, str] = field(default_factory=dict)
    pixels: Tensor | None = None
    targets: TargetRows | None = None

    def note(self, found: Mapping[int, str]) -> None:
        """Remember bad rows; the first reason for a row stays."""
        for row, reason in found.items():
            self.bad.setdefault(row, reason)

    def refuse_or_leave_out(self, skip: bool) -> None:
        """Raise the error that names the bad rows, unless they are to be left out."""
        if skip or not self.bad:
            return
        first, *others = sorted(self.bad)
        more = ""
        if others:
            more = f" (and {len(others)} more bad rows: {', '.join(map(str, others[:5]))}"
            more += ", ...)" if len(others) > 5 else ")"
        raise BadInputError(
            f"Row {first} of the {self.where} rows cannot be used: {self.bad[first]}{more}; mend or remove "
            "it, or leave such rows out with on_bad_example='skip' (--on-bad-example skip)."
        )

    def kept(self) -> IntArray:
        """Ids of the rows that are not bad, increasing."""
        good = np.ones(len(self.labels), dtype=bool)
        good[list(self.bad)] = False
        return np.flatnonzero(good).astype(np.int64)

    def left_out_note(self) -> str | None:
        """A sentence on what was left out, if anything was."""
        if not self.bad:
            return None
        rows = "1 bad row" if len(self.bad) == 1 else f"{len(self.bad)} bad rows"
        verb = "is" if len(self.bad) == 1 else "are"
        return f"{rows} of the {self.where} rows {verb} left out (the first id: {min(self.bad)})."


def require_rows(rows: DraftRows) -> None:
    """Refuse a part without a good row.

    Raises:
        BadInputError: there is none.
    """
    if len(rows.bad) == len(rows.labels):
        raise BadInputError(f"No example of the {rows.where} part is left; give it usable rows.")


def check_classes(train: DraftRows, class_names: Sequence[str], label: str) -> None:
    """Refuse labels that nothing can be learnt from.

    Raises:
        BadInputError: only one class, or as many classes as rows.
    """
    labels = train.labels[train.kept()]
    counts = np.bincount(labels, minlength=len(class_names))
    present = int((counts > 0).sum())
    if present == 1:
        only = class_names[int(counts.argmax())]
        raise BadInputError(f"Label column '{label}' has only one class, '{only}'; give at least two.")
    if present == len(labels):
        raise BadInputError(
            f"Label column '{label}' has as many classes as rows ({present}), like a row number; "
            "name another label column."
        )


def unseen_classes(train: DraftRows, held: DraftRows, class_names: Sequence[str]) -> dict[int, str]:
    """The reason for each good row of the test part whose class no good row of the train part has."""
    seen = np.bincount(train.labels[train.kept()], minlength=len(class_names)) > 0
    rows = held.kept()
    return {
        int(row): f"its label '{class_names[held.labels[row]]}' is never seen in the train part"
        for row in rows[~seen[held.labels[rows]]]
    }


def without_empty_classes(parts: Sequence[DraftRows], class_names: Sequence[str]) -> tuple[str, ...]:
    """Class names that came from the rows go with the last good row that had them; labels are renumbered."""
    present = np.bincount(parts[0].labels[parts[0].kept()], minlength=len(class_names)) > 0
    table = np.append(np.where(present, np.cumsum(present) - 1, -2), [-2, -1])
    for rows in parts:
        rows.labels = table[rows.labels]
    return tuple(name for name, there in zip(class_names, present, strict=True) if there)
