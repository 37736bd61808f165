"""Targets beside classes: tags of words, numbers, and how they are settled when the good rows are known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.data.checks.rows import DraftRows
from datadiet.data.columns.arrow import is_list, list_lengths, one_array, rows_at, words_of
from datadiet.data.columns.labels import (
    EVERYTHING,
    classes_of_label_sets,
    label_values,
    match_names,
    read_label_sets,
    settle_label_sets,
)
from datadiet.data.columns.roles import Roles
from datadiet.data.examples import IGNORED, TargetRows
from datadiet.foundation.errors import BadInputError

_BIO = re.compile(r"O|[BIESLU]-.+")


def read_tags(parts: Sequence[DraftRows], roles: Roles) -> tuple[str, ...] | None:
    """Give the drafts their tags and note rows whose tags are missing or do not line up with the words.

    Tags are strings with white space between them, or lists of strings, whole numbers or class names; the
    number -100 is a word without a tag. Returns class names that the column fixes, if it does.
    """
    assert roles.tags is not None
    fixed: tuple[str, ...] | None = None
    train_feature: Any = None
    for rows in parts:
        column = one_array(rows_at(rows.dataset, [roles.tags], slice(None)), roles.tags)
        feature = getattr(rows.dataset.features[roles.tags], "feature", None)
        if hasattr(train_feature, "names") and not hasattr(feature, "names"):
            feature = train_feature
        train_feature = feature if train_feature is None else train_feature
        flat, lengths = _flattened(column)
        untagged = np.zeros(len(flat), dtype=bool)
        if pa.types.is_integer(flat.type):
            mask = pc.equal(flat, IGNORED).fill_null(False)
            untagged = np.asarray(mask.to_numpy(zero_copy_only=False))
            flat = pc.if_else(mask, pa.scalar(None, flat.type), flat)
        names, indices, names_fixed = label_values(flat, feature, roles.tags)
        fixed = names_fixed if fixed is None else fixed
        indices = np.where(untagged, IGNORED, indices)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows.targets = TargetRows(roles.task, indices, offsets, tuple(names))
        rows.note(_bad_tags(rows, column, roles, indices))
    return fixed


def _flattened(column: Any) -> tuple[Any, npt.NDArray[np.int64]]:
    """All tags one after another, and how many each row has."""
    if is_list(column.type):
        return column.flatten(), list_lengths(column)
    rows = words_of(column)
    return pa.array([tag for row in rows for tag in row], pa.string()), np.array([len(row) for row in rows])


def _bad_tags(rows: DraftRows, column: Any, roles: Roles, indices: npt.NDArray[np.int64]) -> dict[int, str]:
    assert rows.targets is not None and rows.targets.offsets is not None
    found: dict[int, str] = {}
    for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)):
        found[int(row)] = f"its tags (column '{roles.tags}') are missing"
    texts = one_array(rows_at(rows.dataset, roles.inputs, slice(None)), roles.inputs[0])
    words = np.array([len(row) for row in words_of(texts)], dtype=np.int64)
    tags = rows.targets.lengths()
    for row in np.flatnonzero((words != tags) & (words > 0)):
        found.setdefault(
            int(row),
            f"it has {_counted(words[row], 'word')} (column '{roles.inputs[0]}') and "
            f"{_counted(tags[row], 'tag')} (column '{roles.tags}')",
        )
    where = np.searchsorted(rows.targets.offsets, np.flatnonzero(indices == -1), side="right") - 1
    for row in np.unique(where):
        found.setdefault(int(row), f"a tag of it (column '{roles.tags}') is missing")
    return found


def settle_tags(
    parts: Sequence[DraftRows], roles: Roles, fixed: tuple[str, ...] | None, notes: list[str]
) -> None:
    """Number the tags as the good training rows have them; note test rows with tags that those do not have.

    "O" comes first where it is there, others are sorted; class names that the column fixes keep their order.
    """
    train = parts[0].targets
    assert train is not None
    codes = train.take(parts[0].kept()).values
    seen = np.bincount(codes[codes >= 0], minlength=len(train.names)) > 0
    present = [name for name, there in zip(train.names, seen, strict=True) if there]
    names = fixed or tuple(sorted(present, key=lambda name: name != "O"))
    for rows in parts:
        targets = rows.targets
        assert targets is not None and targets.offsets is not None
        numbered = match_names(targets.names, np.maximum(targets.values, -1).astype(np.int64), names)
        numbered[targets.values == IGNORED] = IGNORED
        unknown = ~np.isin(np.asarray(targets.names), present)
        unseen = (
            (targets.values >= 0) & unknown[np.maximum(targets.values, 0)]
            if len(unknown)
            else np.zeros(0, bool)
        )
        if rows is not parts[0]:
            places = np.flatnonzero(unseen)
            of_row = np.searchsorted(targets.offsets, places, side="right") - 1
            rows.note(
                {
                    int(
                        row
                    ): f"its tag '{targets.names[targets.values[place]]}' is never seen in the train part"
                    for row, place in zip(of_row[::-1], places[::-1], strict=True)
                }
            )
        rows.targets = TargetRows(roles.task, numbered, targets.offsets, names)
    odd = [name for name in names if not _BIO.fullmatch(name)]
    if odd:
        notes.append(
            f"The tags of column '{roles.tags}' are not BIO (such as '{odd[0]}'); each word's tag counts by itself."
        )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


_MOST_BINS = 5


def read_numbers(parts: Sequence[DraftRows], label: str) -> None:
    """Give the drafts their numbers and note rows whose number is missing, NaN or infinite.

    Raises:
        BadInputError: the column does not hold numbers.
    """
    for rows in parts:
        array = one_array(rows_at(rows.dataset, [label], slice(None)), label)
        if hasattr(rows.dataset.features[label], "names") or not (
            pa.types.is_integer(array.type)
            or pa.types.is_floating(array.type)
            or pa.types.is_decimal(array.type)
        ):
            raise BadInputError(f"Label column '{label}' holds {array.type}; a regression needs numbers.")
        values = np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
        good = np.abs(values) <= float(np.finfo(np.float32).max)
        for row in np.flatnonzero(~good):
            rows.note({int(row): f"its number (column '{label}') is missing, NaN or infinite"})
        rows.targets = TargetRows("regression", np.where(good, values, 0.0))


def classes_of_numbers(parts: Sequence[DraftRows], label: str) -> tuple[str, ...]:
    """Make the quantile bins of the good training rows' numbers classes: five at most, two rows in each.

    Raises:
        BadInputError: all training rows have the same number.
    """
    values = [_values(rows) for rows in parts]
    train = values[0][parts[0].kept()]
    if len(np.unique(train)) == 1:
        raise BadInputError(f"Label column '{label}' has only one value, {train[0]:g}; give at least two.")
    edges = quantile_edges(train)
    for rows, numbers in zip(parts, values, strict=True):
        rows.labels[:] = np.searchsorted(edges, numbers, side="left")
    return bin_names(edges)


def quantile_edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Upper edges of all bins but the last; an edge belongs to the bin below it.

    >>> quantile_edges(np.arange(10.0)).tolist()
    [1.0, 3.0, 5.0, 7.0]
    """
    shares = np.arange(1, _MOST_BINS) / _MOST_BINS
    edges = np.unique(np.quantile(values, shares, method="inverted_cdf"))
    edges = edges[edges < values.max()]
    while len(edges):
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
        if counts.min() >= 2:
            break
        # A bin of one row cannot give a row to a test part; it joins its neighbour.
        edges = np.delete(edges, min(int(counts.argmin()), len(edges) - 1))
    return np.asarray(edges, dtype=np.float64)


def bin_names(edges: npt.NDArray[np.float64]) -> tuple[str, ...]:
    """What the bins are called.

    >>> bin_names(np.array([0.5, 2.0]))
    ('<= 0.5', '0.5 to 2', '> 2')
    """
    if not len(edges):
        return (EVERYTHING,)
    shown = [f"{edge:.4g}" for edge in edges]
    if len(set(shown)) < len(shown):
        shown = [repr(float(edge)) for edge in edges]
    middle = [f"{low} to {high}" for low, high in pairwise(shown)]
    return (f"<= {shown[0]}", *middle, f"> {shown[-1]}")


def _values(rows: DraftRows) -> npt.NDArray[np.float64]:
    assert rows.targets is not None
    return rows.targets.values.astype(np.float64)


class Targets:
    """The targets of the drafts of a task: reads them and notes the bad rows at once.

    Raises:
        BadInputError: the columns do not hold what the task needs.
    """

    def __init__(self, parts: Sequence[DraftRows], roles: Roles) -> None:
        self.parts = parts
        self.roles = roles
        self._fixed_tags: tuple[str, ...] | None = None
        self._fixed_labels = False
        if roles.tags is not None:
            self._fixed_tags = read_tags(parts, roles)
        elif roles.task == "multilabel":
            self._fixed_labels = read_label_sets(parts, roles.label)
        elif roles.task == "regression":
            read_numbers(parts, roles.label)

    def settle(self, notes: list[str]) -> None:
        """Number what the good training rows have, and note test rows that have something else."""
        if self.roles.tags is not None:
            settle_tags(self.parts, self.roles, self._fixed_tags, notes)
        elif self.roles.task == "multilabel":
            settle_label_sets(self.parts, self.roles.label, self._fixed_labels)

    def classes(self) -> tuple[str, ...]:
        """Classes for quotas, held-out parts and tables, where the label column does not hold any."""
        if self.roles.task == "multilabel":
            return classes_of_label_sets(self.parts)
        if self.roles.task == "regression":
            return classes_of_numbers(self.parts, self.roles.label)
        return (EVERYTHING,)

    def output_names(self) -> tuple[str, ...]:
        """What a model puts out, where that is not the classes."""
        if self.roles.task == "regression":
            return (self.roles.label,)
        targets = self.parts[0].targets
        return targets.names if self.roles.task == "multilabel" and targets is not None else ()
