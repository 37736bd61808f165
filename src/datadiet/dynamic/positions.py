"""Data sets whose rows bring their ids: their positions in what the loader reads."""

from __future__ import annotations

import operator
from collections import namedtuple
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch

from datadiet.foundation.errors import BadInputError


class WithIds(torch.utils.data.Dataset[Any]):
    """A map-style data set whose rows come with their position.

    A row that is a tuple or list gets it in front, a mapping gets it under `column` and becomes a dict, anything else
    becomes `(id, row)`. A named tuple keeps its names and gets `column` as the first.

    Raises:
        BadInputError: data without a length or rows by position; when a row is read, one that has something else
            under `column`.

    Example:
        >>> rows = WithIds([("a", 0), ("b", 1)])
        >>> rows[1]
        (1, 'b', 1)
        >>> WithIds([{"text": "a"}])[0]
        {'text': 'a', 'id': 0}
    """

    def __init__(self, dataset: Any, column: str = "id") -> None:
        _check_positions(dataset)
        # Ids once more would stand beside the first; those of one data set are those of the other.
        self.dataset: Any = dataset.dataset if isinstance(dataset, WithIds) else dataset
        self.column = column

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        place = operator.index(index)
        place += len(self) if place < 0 else 0
        row = self.dataset[place]
        if isinstance(row, Mapping):
            if self.column in row and not _is_position(row[self.column], place):
                raise _own_column(self.column, f"row {place} has {row[self.column]!r} there")
            return {**row, self.column: place}
        if isinstance(row, tuple) and hasattr(row, "_fields") and _can_be_named(self.column, row._fields):
            return _named_row(type(row).__name__, (self.column, *row._fields), (place, *row))
        return (place, *row) if isinstance(row, tuple | list) else (place, row)


def with_ids(dataset: Any, column: str = "id") -> Any:
    """The same data set with ids: a column of a Hugging Face `Dataset`, otherwise `WithIds`.

    Ids are positions, so they come last: after `shuffle`, `filter`, `select`, `sort` or a split. A column of that name
    is left alone where it counts the rows from 0, as one from here does.

    Args:
        dataset: with a length, and rows by position.
        column: the name of the ids, where rows have names.

    Raises:
        BadInputError: data without a length or rows by position, or with something else in that column.

    Example:
        >>> len(with_ids([(0.5, 1)]))
        1
    """
    _check_positions(dataset)
    if hasattr(dataset, "add_column") and hasattr(dataset, "column_names"):
        if column not in dataset.column_names:
            return dataset.add_column(column, list(range(len(dataset))))
        if not _counts_rows(dataset, column):
            raise _own_column(column, "it does not count the rows from 0")
        return dataset
    return dataset if isinstance(dataset, WithIds) and dataset.column == column else WithIds(dataset, column)


def _check_positions(dataset: Any) -> None:
    """Refuse what has no positions.

    Raises:
        BadInputError: a stream, several splits, or no data set at all.
    """
    what = None
    if isinstance(dataset, Mapping) and any(isinstance(key, str) for key in dataset):
        what = f"this has the parts {', '.join(map(str, dataset))}: give one of them"
    elif isinstance(dataset, torch.utils.data.IterableDataset) or not hasattr(dataset, "__getitem__"):
        what = f"{type(dataset).__name__} is read in its own order: give a data set of the map style"
    else:
        try:
            len(dataset)
        except (TypeError, NotImplementedError):
            what = f"{type(dataset).__name__} has no length: give it __len__"
    if what is not None:
        raise BadInputError(f"ids are positions in a data set, and {what}.")


def _counts_rows(dataset: Any, column: str) -> bool:
    """Whether a column of a Hugging Face data set is 0, 1, 2, ..."""
    if hasattr(dataset, "with_format"):
        dataset = dataset.with_format(None)
    found = np.array(list(dataset[column]))
    return found.dtype.kind in "iu" and bool(np.array_equal(found, np.arange(len(dataset))))


def _is_position(value: Any, place: int) -> bool:
    try:
        return operator.index(value) == place
    except TypeError:
        return False


def _own_column(column: str, what: str) -> BadInputError:
    return BadInputError(
        f"the data set has a column {column!r} of its own ({what}): remove it if it was added before a shuffle or "
        "another choice of rows, or name another for the positions, as in with_ids(dataset, column='row')."
    )


def _can_be_named(column: str, fields: tuple[str, ...]) -> bool:
    return column.isidentifier() and not column.startswith("_") and column not in fields


@cache
def _named(name: str, fields: tuple[str, ...]) -> Any:
    """A type of named tuples that workers can send."""
    make: Any = namedtuple
    sent = {"__slots__": (), "__reduce__": lambda row: (_named_row, (name, fields, tuple(row)))}
    return type(name, (make(name, fields),), sent)


def _named_row(name: str, fields: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return _named(name, fields)(*values)
