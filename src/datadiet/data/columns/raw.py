"""Rows of a source on their way to `Examples`: what has been read of them so far, and which of them are bad."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from datadiet.data.columns.roles import Roles
from datadiet.data.depth import PixelRange
from datadiet.data.examples import IntArray, TargetRows
from datadiet.foundation.errors import BadInputError


@dataclass(frozen=True)
class RawPart:
    """Rows of one part, and what is known of each.

    Args:
        where: "train", "test" or "pool", as messages name it.
        dataset: all rows with all their columns.
        base: the folder that paths in its columns are relative to.
        labels: class index of each row; -1 where it is missing, -2 where the train part does not have it.
        targets: tags, sets of labels or numbers, where the task has them.
        bad: row -> why it cannot be used.
        pixels: the decoded images, where they fit in memory.

    >>> part = RawPart("train", None, labels=np.array([0, 1, -1])).with_bad({2: "its label is missing"})
    >>> part.kept().tolist(), part.left_out_note()
    ([0, 1], '1 bad row of the train rows is left out (the first id: 2).')
    """

    where: str
    dataset: Any
    base: Path | None = None
    labels: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    targets: TargetRows | None = None
    bad: Mapping[int, str] = field(default_factory=dict)
    pixels: Tensor | None = None

    def __post_init__(self) -> None:
        if self.dataset is not None and not len(self.labels):
            object.__setattr__(self, "labels", np.zeros(len(self.dataset), dtype=np.int64))

    def with_bad(self, found: Mapping[int, str], **changes: Any) -> RawPart:
        """The part with more bad rows, and with other changes; the first reason for a row stays."""
        return dataclasses.replace(self, bad={**found, **self.bad}, **changes)

    def marked(self, rows: npt.NDArray[np.bool_], reason: str, **changes: Any) -> RawPart:
        """The part with the rows bad that a mask says, all for one reason, and with other changes."""
        return self.with_bad(dict.fromkeys(np.flatnonzero(rows).tolist(), reason), **changes)

    def kept(self) -> IntArray:
        """Ids of the rows that are not bad, increasing."""
        good = np.ones(len(self.labels), dtype=bool)
        good[list(self.bad)] = False
        return np.flatnonzero(good).astype(np.int64)

    def refuse_bad(self, skip: bool) -> None:
        """Raise the error that names the bad rows, unless they are to be left out."""
        if skip or not self.bad:
            return
        first, *others = sorted(self.bad)
        shown = ", ".join(map(str, others[:5])) + (", ..." if len(others) > 5 else "")
        more = f" (and {len(others)} more bad rows: {shown})" if others else ""
        raise BadInputError(
            f"Row {first} of the {self.where} rows cannot be used: {self.bad[first]}{more}; mend or remove "
            "it, or leave such rows out with on_bad_example='skip' (--on-bad-example skip)."
        )

    def require_rows(self) -> None:
        """Raise an error if no good row is left."""
        if len(self.bad) == len(self.labels):
            raise BadInputError(f"No example of the {self.where} part is left; give it usable rows.")

    def left_out_note(self) -> str:
        """A sentence on what was left out."""
        rows, verb = ("1 bad row", "is") if len(self.bad) == 1 else (f"{len(self.bad)} bad rows", "are")
        return f"{rows} of the {self.where} rows {verb} left out (the first id: {min(self.bad)})."


@dataclass(frozen=True)
class RawExamples:
    """The parts of a source, the train part first, with all that goes into `Examples`.

    Every step of loading takes one and gives one in which it has replaced what it found out. `fixed_names` are
    the names of tags or labels where the column says them, so that they stay whether rows have them or not.
    """

    roles: Roles
    parts: tuple[RawPart, ...]
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    fixed_names: tuple[str, ...] | None = None
    image_shape: tuple[int, int, int] | None = None
    pixel_range: PixelRange = field(default_factory=PixelRange)
