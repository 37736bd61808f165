"""A label column of any type -> class indices and class names; lists of labels -> a 0 or 1 for each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.data.checks.rows import DraftRows
from datadiet.data.columns.arrow import is_list, list_lengths, numeric_matrix, one_array, rows_at
from datadiet.data.examples import TargetRows
from datadiet.foundation.errors import BadInputError

_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")


def label_values(
    array: Any, feature: Any, column: str
) -> tuple[list[str], npt.NDArray[np.int64], tuple[str, ...] | None]:
    """Distinct labels in their order, an index into them for each row (-1: missing), and fixed class names.

    `feature` is the `datasets` feature of the column: the names of a ClassLabel are kept in their order
    and given as the third value; without one that is None. Whole numbers keep numeric order, also when
    written as floats or strings; other strings are sorted by code point.

    Raises:
        BadInputError: real-valued labels, an index outside a ClassLabel, or a type that is no label.
    """
    names = getattr(feature, "names", None)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    kind = array.type
    if pa.types.is_floating(kind):
        array = _whole(array, column)
    elif pa.types.is_boolean(kind):
        array = pc.if_else(array, "True", "False")
    elif not (
        pa.types.is_integer(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_null(kind)
    ):
        raise BadInputError(f"Label column '{column}' holds {kind}; labels must be strings or whole numbers.")
    if names is not None and pa.types.is_integer(array.type):
        return list(names), _known_indices(array, len(names), column), tuple(names)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = pc.if_else(pc.equal(pc.utf8_trim_whitespace(array), ""), pa.scalar(None, array.type), array)
    encoded = array.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    indices = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
    order = sorted(range(len(values)), key=_sort_key(values))
    rank = np.empty(len(values) + 1, dtype=np.int64)
    rank[order] = np.arange(len(values))
    rank[-1] = -1  # index -1, a missing label, stays -1
    return [str(values[index]) for index in order], rank[indices], None


def _sort_key(values: Sequence[Any]) -> Any:
    """Numbers by value (also when all strings are whole numbers), other strings by code point."""
    numeric = all(isinstance(value, int) or _WHOLE_NUMBER.fullmatch(value) for value in values)
    return (lambda index: int(values[index])) if numeric else (lambda index: str(values[index]))


def _whole(array: Any, column: str) -> Any:
    """A float array as int64; NaN is missing."""
    values = np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    missing = np.isnan(values)
    whole = np.where(missing, 0.0, values)
    fractional = (whole != np.round(whole)) | (np.abs(whole) > 2**53)
    if fractional.any():
        row = int(np.flatnonzero(fractional)[0])
        raise BadInputError(
            f"Label column '{column}' holds real numbers (row {row}: {values[row]:g}); ask for task='regression' "
            "(--task regression) to predict them, or give classes as strings or whole numbers."
        )
    return pa.array(whole.astype(np.int64), mask=missing)


def _known_indices(array: Any, num_classes: int, column: str) -> npt.NDArray[np.int64]:
    """Indices into known class names; -1, which `datasets` writes for an unknown label, is missing."""
    indices = np.asarray(array.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
    outside = (indices < -1) | (indices >= num_classes)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise BadInputError(
            f"Label column '{column}' has the label {indices[row]} in row {row}, but only {num_classes} "
            "class names; correct the label or the class names."
        )
    return indices


def match_names(
    names: Sequence[str], indices: npt.NDArray[np.int64], class_names: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Indices into `names` as indices into `class_names`: -1 where missing, -2 where the name is unknown.

    >>> match_names(["cat", "newt"], np.array([1, 0, -1]), ["ant", "cat"]).tolist()
    [-2, 1, -1]
    """
    place = {name: index for index, name in enumerate(class_names)}
    table = np.array([*(place.get(name, -2) for name in names), -1], dtype=np.int64)
    return table[indices]


# More sets than this, or sets of one example, are no classes that examples could be drawn from evenly.
_MOST_SETS, _LEAST_EXAMPLES = 100, 2
EVERYTHING = "all"


def read_label_sets(parts: Sequence[DraftRows], label: str) -> bool:
    """Give the drafts their labels as 0 and 1 and note rows without; returns whether the names are fixed.

    Rows are lists of labels (strings, whole numbers, class names), or lists of 0 and 1 that are all
    equally long: then label i is the name of position i.

    Raises:
        BadInputError: the column does not hold lists of labels.
    """
    columns = [one_array(rows_at(rows.dataset, [label], slice(None)), label) for rows in parts]
    features = [getattr(rows.dataset.features[label], "feature", None) for rows in parts]
    for column in columns:
        if not is_list(column.type) or is_list(column.type.value_type):
            raise BadInputError(
                f"Label column '{label}' holds {column.type}; several labels a row must be one list a row."
            )
    for rows, column in zip(parts, columns, strict=True):
        empty = column.is_null().to_numpy(zero_copy_only=False)
        rows.note({int(row): f"its labels (column '{label}') are missing" for row in np.flatnonzero(empty)})
    width = _indicator_width(columns, features)
    if width:
        names = tuple(str(index) for index in range(width))
        for rows, column in zip(parts, columns, strict=True):
            matrix = np.zeros((len(column), width), dtype=np.float32)
            there = column.is_valid().to_numpy(zero_copy_only=False)
            table = pa.table({label: column.filter(pa.array(there))})
            matrix[there] = numeric_matrix(table, [label])
            rows.targets = TargetRows("multilabel", matrix, None, names)
        return True
    fixed = False
    named = next((feature for feature in features if hasattr(feature, "names")), None)
    found = []
    for rows, column, feature in zip(parts, columns, features, strict=True):
        own = feature if hasattr(feature, "names") else named
        names_here, indices, names_fixed = label_values(column.flatten(), own, label)
        fixed = fixed or names_fixed is not None
        owner = np.repeat(np.arange(len(column)), list_lengths(column))
        for row in np.unique(owner[indices < 0]):
            rows.note({int(row): f"a label of it (column '{label}') is missing"})
        found.append((names_here, indices, owner))
    # The names of the train part in their order, then those that only the test part has.
    names = tuple(dict.fromkeys(name for names_here, _, _ in found for name in names_here))
    place = {name: index for index, name in enumerate(names)}
    for rows, (names_here, indices, owner) in zip(parts, found, strict=True):
        matrix = np.zeros((len(rows.labels), len(names)), dtype=np.float32)
        there = indices >= 0
        columns_of = np.array([place[name] for name in names_here], dtype=np.int64)
        matrix[owner[there], columns_of[indices[there]]] = 1
        rows.targets = TargetRows("multilabel", matrix, None, names)
    return fixed


def _indicator_width(columns: Sequence[Any], features: Sequence[Any]) -> int:
    """How long lists are if all are equally long lists of 0 and 1, else 0."""
    widths: set[int] = set()
    for column, feature in zip(columns, features, strict=True):
        kind = column.type.value_type
        numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        if not numbers or hasattr(feature, "names"):
            return 0
        widths |= set(list_lengths(column.drop_null()).tolist())
        if not set(column.flatten().unique().to_pylist()) <= {0, 1}:
            return 0
    return widths.pop() if len(widths) == 1 and min(widths) > 1 else 0


def settle_label_sets(parts: Sequence[DraftRows], label: str, fixed: bool) -> None:
    """Keep the labels that good training rows have; note test rows with labels that those do not have.

    Raises:
        BadInputError: no training row has any label.
    """
    train = parts[0].targets
    assert train is not None
    seen: npt.NDArray[np.bool_] = np.asarray(train.values[parts[0].kept()] > 0).max(axis=0)
    if not seen.any():
        raise BadInputError(f"No training row has a label in column '{label}'; give at least one.")
    for rows in parts[1:]:
        assert rows.targets is not None
        for row, index in np.argwhere((rows.targets.values > 0) & ~seen):
            name = train.names[index]
            rows.note({int(row): f"its label '{name}' is never seen in the train part"})
    if fixed:
        return
    names = tuple(name for name, there in zip(train.names, seen, strict=True) if there)
    for rows in parts:
        assert rows.targets is not None
        rows.targets = TargetRows("multilabel", rows.targets.values[:, seen], None, names)


def classes_of_label_sets(parts: Sequence[DraftRows]) -> tuple[str, ...]:
    """Make each distinct set of labels a class ("a+b", "none"), or all rows one class, "all".

    Sets are classes where good rows have at most 100 of them and each set of the train part is there at
    least twice.
    """
    kept = [rows.kept() for rows in parts]
    matrices = [_values(rows)[good] > 0 for rows, good in zip(parts, kept, strict=True)]
    sets, numbers = np.unique(np.concatenate(matrices), axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    counts = np.bincount(numbers[: len(matrices[0])], minlength=len(sets))
    if len(sets) > _MOST_SETS or (counts[counts > 0] < _LEAST_EXAMPLES).any():
        return (EVERYTHING,)
    labels = parts[0].targets.names if parts[0].targets is not None else ()
    names = _set_names(sets, labels)
    start = 0
    for rows, good in zip(parts, kept, strict=True):
        rows.labels[good] = numbers[start : start + len(good)]
        start += len(good)
    return names


def _set_names(sets: npt.NDArray[np.bool_], labels: Sequence[str]) -> tuple[str, ...]:
    names: list[str] = []
    for row in sets:
        name = "+".join(labels[int(index)] for index in np.flatnonzero(row)) or "none"
        # A label that has a plus in it, or is called "none", may look like another set.
        names.append(name if name not in names else f"{name} ({len(names)})")
    return tuple(names)


def _values(rows: DraftRows) -> npt.NDArray[Any]:
    assert rows.targets is not None
    return rows.targets.values
