"""A labelled data set: its two parts, its roles, what its examples are to be answered with, and its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import datasets
import numpy as np
import numpy.typing as npt
import torch

from datadiet.data.arrow import offsets_of, rows_with
from datadiet.data.depth import PixelRange
from datadiet.data.duplicates import Repeats
from datadiet.data.origin import Origin
from datadiet.foundation.errors import BadInputError

Kind = Literal["image", "text", "vector"]
IntArray = npt.NDArray[np.int64]
Task = Literal["classification", "intent_slots", "token_classification", "multilabel", "regression"]
TASKS: tuple[Task, ...] = get_args(Task)
CLASS_TASKS = frozenset({"classification", "intent_slots"})
TAG_TASKS = frozenset({"intent_slots", "token_classification"})
IGNORED = -100  # a token that has no tag of its own; the target that torch's cross-entropy passes over


def with_lengths(texts: Sequence[str]) -> bytes:
    """Texts as bytes that no other texts have: each after its length."""
    contents = [text.encode("utf-8", "surrogatepass") for text in texts]
    return b"".join(f"{len(content)}:".encode() + content for content in contents)


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
        offsets = offsets_of(lengths)
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
        found.update(with_lengths(self.names))
        # Adding 0.0 turns -0.0 into 0.0.
        values = self.values if self.offsets is not None else self.values + np.float32(0)
        found.update(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes())
        if self.offsets is not None:
            found.update(self.offsets.astype("<i8").tobytes())
        return found.digest()


@dataclass(frozen=True, eq=False)
class Part:
    """One of the two parts (train, test): rows, and for each its example id and its class index.

    Row i of `dataset` has the id `ids[i]` (its position in the source, fixed for ever; strictly
    increasing) and the class `labels[i]`. `decoded` holds pixels that are decoded already, by shape
    `(channels, height, width)`; it does not travel to other processes. `targets` holds what an example is
    answered with where that is more than its class: tags of words, sets of labels, a number.

    >>> import datasets, numpy as np
    >>> rows = datasets.Dataset.from_dict({"x": [0.1, 0.2, 0.3]})
    >>> part = Part(rows, ids=np.array([2, 5, 9]), labels=np.array([0, 1, 0]), input_columns=("x",))
    >>> part.positions_of([9, 2]).tolist()
    [2, 0]
    """

    dataset: datasets.Dataset
    ids: IntArray
    labels: IntArray
    input_columns: tuple[str, ...] = ()
    kind: Kind = "vector"
    decoded: dict[tuple[int, int, int], torch.Tensor] = field(default_factory=dict, repr=False)
    targets: TargetRows | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        ids = np.ascontiguousarray(self.ids, dtype=np.int64)
        labels = np.ascontiguousarray(self.labels, dtype=np.int64)
        if not len(ids) == len(labels) == len(self.dataset):
            raise BadInputError(
                f"A part needs one id and one label a row, not {len(ids)} ids and {len(labels)} labels "
                f"for {len(self.dataset)} rows."
            )
        if self.targets is not None and len(self.targets) != len(ids):
            raise BadInputError(
                f"A part needs one target a row, not {len(self.targets)} targets for {len(ids)} rows."
            )
        if len(ids) > 1 and not bool((np.diff(ids) > 0).all()):
            raise BadInputError("The ids of a part must be strictly increasing; sort its rows by id.")
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.ids)

    def positions_of(self, ids: npt.ArrayLike) -> IntArray:
        """Row positions in this part of the given example ids, in the order given.

        Raises:
            BadInputError: an id is not in this part; the message names the first few of them.
        """
        wanted = np.asarray(ids)
        if wanted.size == 0:
            return np.empty(0, dtype=np.int64)
        if wanted.dtype.kind not in "iu":
            raise BadInputError(f"Example ids are whole numbers, not {wanted.dtype}; pass an int64 array.")
        wanted = wanted.astype(np.int64).reshape(-1)
        positions = np.searchsorted(self.ids, wanted)
        found = np.zeros(len(wanted), dtype=bool)
        inside = positions < len(self.ids)
        found[inside] = self.ids[positions[inside]] == wanted[inside]
        if not found.all():
            unknown = np.unique(wanted[~found])
            raise BadInputError(
                f"{len(unknown)} of the given ids are not in this part of the data (the first: "
                f"{', '.join(str(value) for value in unknown[:5])}); use ids of the same data set."
            )
        return positions.astype(np.int64)

    def take(self, positions: npt.ArrayLike) -> Part:
        """The part with only the rows at the given positions (increasing), targets and decoded pixels too."""
        wanted = np.asarray(positions, dtype=np.int64)
        return replace(
            self,
            dataset=rows_with(self.dataset, wanted),
            ids=self.ids[wanted],
            labels=self.labels[wanted],
            decoded={shape: pixels[wanted] for shape, pixels in self.decoded.items()},
            targets=None if self.targets is None else self.targets.take(wanted),
        )

    def __getstate__(self) -> dict[str, Any]:
        # Decoded pixels can be gigabytes; another process decodes what it needs.
        return {**self.__dict__, "decoded": {}}


@dataclass(frozen=True, eq=False)
class Examples:
    """A labelled data set with its roles, its train and test parts, and a fingerprint of its content.

    `fingerprint` is a SHA-256 (hex) over inputs, labels, ids and class names of both parts: the same
    content from another path has the same fingerprint. `left_out` (train) and `left_out_test` hold the
    ids of bad examples that were skipped. `notes` are sentences to tell the user. `image_shape` is the
    `(channels, height, width)` that every image is brought to, `pixel_range` how images of more than 8 bits become
    8 bits.

    `task` says what is to be answered. `class_names` are the classes that quotas, held-out parts and tables
    go by (of the task "multilabel" the sets of labels, of "regression" bins of the target, of
    "token_classification" one class "all"); `output_names` are what a model puts out: the classes, the
    labels, the label column of a regression, nothing for "token_classification". `tag_names` are the tags
    of words. `origin` says which files the rows were read from, `repeats` which rows have the same content.

    >>> import datadiet.data
    >>> examples = datadiet.data.load("digits")
    >>> examples.kind, examples.num_classes, len(examples.train), len(examples.test)
    ('image', 10, 1438, 359)
    """

    name: str
    kind: Kind
    input_columns: tuple[str, ...]
    label_column: str
    class_names: tuple[str, ...]
    train: Part
    test: Part
    fingerprint: str
    source: str
    holdout_seed: int | None
    left_out: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    image_shape: tuple[int, int, int] | None = None
    left_out_test: tuple[int, ...] = ()
    task: Task = "classification"
    output_names: tuple[str, ...] = ()
    origin: Origin = field(default_factory=Origin, repr=False)
    repeats: Repeats = field(default_factory=Repeats, repr=False)
    pixel_range: PixelRange = field(default_factory=PixelRange, repr=False)

    def __post_init__(self) -> None:
        if self.task in CLASS_TASKS:
            # Here classes are what a model puts out, also after `dataclasses.replace(class_names=...)`.
            object.__setattr__(self, "output_names", self.class_names)

    @property
    def num_classes(self) -> int:
        """Number of classes, also those that no example has."""
        return len(self.class_names)

    @property
    def num_outputs(self) -> int:
        """How many numbers a model puts out for one example, beside those of its words."""
        return len(self.output_names)

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The tags of words; none where examples have no such."""
        targets = self.train.targets
        return targets.names if targets is not None and self.task in TAG_TASKS else ()


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
