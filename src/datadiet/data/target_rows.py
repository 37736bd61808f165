"""What the examples of a part ought to be answered with, where that is more than a class: tags, label sets, numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datadiet.errors import BadInputError

Task = Literal["classification", "intent_slots", "token_classification", "multilabel", "regression"]
TASKS: tuple[Task, ...] = (
    "classification",
    "intent_slots",
    "token_classification",
    "multilabel",
    "regression",
)
TAG_TASKS = frozenset({"intent_slots", "token_classification"})
IGNORED = -100  # a token that has no tag of its own; the target that torch's cross-entropy passes over


@dataclass(frozen=True, eq=False)
class TargetRows:
    """Targets of the rows of a part, in their order.

    Args:
        task: what they are for.
        values: of tags, the index of the tag of each word of all rows one after another, int32 (words,),
            `IGNORED` for a word without a tag; of a multi-label task, float32 (n, labels) of 0 and 1; of a
            regression, float32 (n,).
        offsets: of tags, int64 (n + 1,): row i has the words `offsets[i]` to `offsets[i + 1]`.
        names: of the tags or labels, in the order of their indices.

    >>> tags = TargetRows("token_classification", np.array([0, 2, 1]), np.array([0, 1, 3]), ("O", "B-x", "I-x"))
    >>> [row.tolist() for row in tags.take(np.array([1, 0])).rows()]
    [[2, 1], [0]]
    """

    task: Task
    values: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ragged = self.task in TAG_TASKS
        if ragged != (self.offsets is not None):
            raise BadInputError(
                f"Targets of the task '{self.task}' {'need' if ragged else 'have no'} offsets."
            )
        kind = np.int32 if ragged else np.float32
        object.__setattr__(self, "values", np.ascontiguousarray(self.values, dtype=kind))
        if self.offsets is not None:
            offsets = np.ascontiguousarray(self.offsets, dtype=np.int64)
            if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(self.values):
                raise BadInputError("The offsets of tags must begin at 0 and end at the number of all words.")
            object.__setattr__(self, "offsets", offsets)

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    def lengths(self) -> npt.NDArray[np.int64]:
        """Words of each row, int64 (n,); only of tags."""
        assert self.offsets is not None
        return np.diff(self.offsets)

    def rows(self) -> list[npt.NDArray[Any]]:
        """One array a row: its tags, or its 0s and 1s, or its number."""
        if self.offsets is None:
            return list(self.values)
        return np.split(self.values, self.offsets[1:-1])

    def take(self, positions: npt.ArrayLike) -> TargetRows:
        """The targets at the given row positions, in that order."""
        wanted = np.asarray(positions, dtype=np.int64)
        if self.offsets is None:
            return TargetRows(self.task, self.values[wanted], None, self.names)
        starts, lengths = self.offsets[wanted], self.lengths()[wanted]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        index = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return TargetRows(self.task, self.values[index], offsets, self.names)

    def aligned(self, positions: npt.ArrayLike, words: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Tags of tokens, int64 (batch, tokens), from the index of the word that each token begins.

        Args:
            positions: rows, (batch,).
            words: int64 (batch, tokens); -1 for a token that begins no word, which becomes `IGNORED`.

        >>> tags = TargetRows("token_classification", np.array([7, 8]), np.array([0, 2]))
        >>> tags.aligned([0], np.array([[-1, 0, -1, 1, -1]])).tolist()
        [[-100, 7, -100, 8, -100]]
        """
        assert self.offsets is not None
        wanted = np.asarray(positions, dtype=np.int64)
        starts, lengths = self.offsets[wanted][:, None], self.lengths()[wanted][:, None]
        begins = (words >= 0) & (words < lengths)
        found = np.full(words.shape, IGNORED, dtype=np.int64)
        found[begins] = self.values[(starts + words)[begins]]
        return found

    def digest(self) -> bytes:
        """SHA-256 of the task, the names and all values."""
        found = hashlib.sha256(f"{self.task} {self.values.shape};".encode())
        for name in self.names:
            content = name.encode("utf-8", "surrogatepass")
            found.update(f"{len(content)}:".encode() + content)
        # Adding 0.0 turns -0.0 into 0.0.
        values = self.values if self.offsets is not None else self.values + np.float32(0)
        found.update(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes())
        if self.offsets is not None:
            found.update(self.offsets.astype("<i8").tobytes())
        return found.digest()
