"""A label column of any type -> class indices and class names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.errors import BadInputError

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
