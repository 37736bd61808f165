"""The examples that a rule chooses from, always in the order of their ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.errors import BadInputError


@dataclass(frozen=True)
class Pool:
    """What a rule may look at: one row an example, sorted by id, so that a tie goes to the lower row.

    Args:
        ids: int64, shape (n,), strictly increasing.
        hardness: shape (n,), floating, higher = harder, no NaN; None for rules that need no scores.
        labels: class codes 0, 1, ... in the order of the sorted class names, shape (n,), or None.
        embeddings: shape (n, dimensions), or None.
        extra: further columns by name, each with n rows.
    """

    ids: npt.NDArray[np.int64]
    hardness: npt.NDArray[Any] | None = None
    labels: npt.NDArray[np.int64] | None = None
    embeddings: npt.NDArray[Any] | None = None
    extra: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: npt.NDArray[np.int64]) -> Pool:
        """The pool of these rows alone; `rows` must be increasing."""
        return Pool(
            ids=self.ids[rows],
            hardness=None if self.hardness is None else self.hardness[rows],
            labels=None if self.labels is None else self.labels[rows],
            embeddings=None if self.embeddings is None else self.embeddings[rows],
            extra={name: column[rows] for name, column in self.extra.items()},
        )

    def scores(self) -> npt.NDArray[Any]:
        """The hardness of every row, or an error where none was given."""
        if self.hardness is None:
            raise BadInputError("This rule needs scores: pass hardness, one number an example.")
        return self.hardness

    def classes(self) -> npt.NDArray[np.int64]:
        """The class code of every row, or an error where none was given."""
        if self.labels is None:
            raise BadInputError("This rule needs labels: pass one an example.")
        return self.labels

    def vectors(self) -> npt.NDArray[Any]:
        """The embeddings, shape (n, dimensions), or an error where none were given."""
        if self.embeddings is None:
            raise BadInputError("This rule needs embeddings: pass one row an example.")
        return self.embeddings
