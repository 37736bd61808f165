"""A column of numbers to be predicted, and its quantile bins as classes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datadiet.data.columns import one_array, rows_at
from datadiet.data.draft import DraftRows
from datadiet.data.label_sets import EVERYTHING
from datadiet.data.target_rows import TargetRows
from datadiet.errors import BadInputError

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
