"""A label column of any type -> class indices and class names, and which classes stay with the good rows."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.data.arrow import is_list, is_text, list_lengths, whole_column
from datadiet.data.columns.raw import RawExamples, RawPart
from datadiet.data.examples import IntArray
from datadiet.foundation.errors import BadInputError

_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?")
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")


def label_values(array: Any, feature: Any, column: str) -> tuple[list[str], IntArray, tuple[str, ...] | None]:
    """Distinct labels in their order, an index into them for each row (-1: missing), and fixed class names.

    `feature` is the `datasets` feature of the column: the names of a ClassLabel are kept in their order
    and given as the third value; without one that is None. Whole numbers keep numeric order, also when
    written as floats or strings; other strings are sorted by code point.

    Raises:
        BadInputError: real-valued labels, an index outside a ClassLabel, or a type that is no label.
    """
    names = fixed_names(feature)
    if is_list(array.type):
        array = _only_items(array, column)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    array = _texts_or_numbers(array, column)
    if names is not None and pa.types.is_integer(array.type):
        # -1, which `datasets` writes for an unknown label, is missing.
        indices = np.asarray(array.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
        outside = np.flatnonzero((indices < -1) | (indices >= len(names)))
        if len(outside):
            raise BadInputError(
                f"Label column '{column}' has the label {indices[outside[0]]} in row {outside[0]}, but only "
                f"{len(names)} class names; correct the label or the class names."
            )
        return list(names), indices, tuple(names)
    if is_text(array.type):
        array = pc.if_else(pc.equal(pc.utf8_trim_whitespace(array), ""), pa.scalar(None, array.type), array)
    encoded = array.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    numeric = all(isinstance(value, int) or _WHOLE_NUMBER.fullmatch(value) for value in values)
    in_order = sorted(values, key=lambda value: (int(value), str(value)) if numeric else (0, value))
    rank = {value: index for index, value in enumerate(in_order)}
    ranks = np.array([*(rank[value] for value in values), -1], dtype=np.int64)
    indices = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
    return [str(value) for value in in_order], ranks[indices], None


def fixed_names(feature: Any) -> list[str] | None:
    """The class names that a `datasets` feature fixes, also that of lists of classes; None if it fixes none."""
    names: list[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
    return names


def _only_items(array: Any, column: str) -> Any:
    """The label of each row where labels are lists of one; an empty list is missing."""
    lengths = list_lengths(array)
    if (lengths > 1).any():
        row = int(np.flatnonzero(lengths > 1)[0])
        raise BadInputError(
            f"Label column '{column}' is a list of {lengths[row]} labels in row {row}, where a class is one; ask for "
            "task='multilabel', or give one label a row."
        )
    return pc.list_element(pc.if_else(pa.array(lengths == 1), array, pa.scalar(None, array.type)), 0)


def _texts_or_numbers(array: Any, column: str) -> Any:
    """Labels of any type as texts or whole numbers: dates and times in ISO 8601, bytes as the UTF-8 that they are."""
    kind = array.type
    if pa.types.is_integer(kind) or is_text(kind):
        return array
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _whole_numbers(array, column)
    if pa.types.is_boolean(kind):
        return pc.if_else(array, "True", "False")
    if pa.types.is_null(kind):
        return array.cast(pa.string())
    if pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind):
        return array.cast(pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        try:
            return array.cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid as error:
            raise BadInputError(
                f"Label column '{column}' holds bytes that are no UTF-8 text; give labels as texts or whole numbers."
            ) from error
    raise BadInputError(
        f"Label column '{column}' holds {kind}; labels must be texts or whole numbers. Name another with label='...'."
    )


def _whole_numbers(array: Any, column: str) -> Any:
    """A float array as int64; NaN is missing."""
    values = np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    missing = np.isnan(values)
    whole = np.where(missing, 0.0, values)
    fractional = np.flatnonzero((whole != np.round(whole)) | (np.abs(whole) > 2**53))
    if len(fractional):
        row = int(fractional[0])
        raise BadInputError(
            f"Label column '{column}' holds real numbers (row {row}: {values[row]:g}); ask for task='regression' "
            "(--task regression) to predict them, or give classes as texts or whole numbers."
        )
    return pa.array(whole.astype(np.int64), mask=missing)


def match_names(names: Sequence[str], indices: IntArray, class_names: Sequence[str]) -> IntArray:
    """Indices into `names` as indices into `class_names`: -1 where missing, -2 where the name is unknown.

    >>> match_names(["cat", "newt"], np.array([1, 0, -1]), ["ant", "cat"]).tolist()
    [-2, 1, -1]
    """
    place = {name: index for index, name in enumerate(class_names)}
    table = np.array([*(place.get(name, -2) for name in names), -1], dtype=np.int64)
    return table[indices]


def read_classes(
    part: RawPart, column: str, feature: Any, class_names: Sequence[str] | None
) -> tuple[RawPart, Sequence[str]]:
    """The part with the classes of a label column; rows whose class is missing or is not known are bad.

    Args:
        part: the rows.
        column: with their labels.
        feature: what `datasets` says of the label column of the train part.
        class_names: the names of the classes of the train part, in their order; None to take the part's own.

    Raises:
        BadInputError: the column does not hold classes.
    """
    own = part.dataset.features[column]
    # Class names on one side only say what that side's numbers mean on the other side, too.
    if fixed_names(feature) is not None and fixed_names(own) is not None:
        feature = own
    names, indices, _ = label_values(whole_column(part.dataset, column), feature, column)
    class_names = names if class_names is None else class_names
    labels = match_names(names, indices, class_names)
    unknown = {
        int(row): f"its label '{names[indices[row]]}' is never seen in the train part"
        for row in np.flatnonzero(labels == -2)
    }
    part = part.marked(labels == -1, f"its label (column '{column}') is missing", labels=labels)
    return part.with_bad(unknown), class_names


def _alike(names: Sequence[str]) -> list[str]:
    """A sentence on class names that are spellings of one another: in case, in white space, as numbers."""
    spellings: dict[object, list[str]] = {}
    for name in names:
        plain = " ".join(unicodedata.normalize("NFKC", name).split()).casefold()
        number = _NUMBER.fullmatch(plain)
        spellings.setdefault(float(plain) if number else plain, []).append(name)
    several = [found for found in spellings.values() if len(found) > 1]
    if not several:
        return []
    shown = "; ".join(" and ".join(f"'{name}'" for name in found[:4]) for found in several[:3])
    more = f"; and {len(several) - 3} more such" if len(several) > 3 else ""
    return [
        "Class names that differ only in white space, case or the spelling of a number are classes of their own: "
        f"{shown}{more}; if they mean one class, write them alike."
    ]


def finalize_classes(raw: RawExamples) -> RawExamples:
    """Mark test rows whose class no good training row has; class names that only bad rows have go, unless fixed.

    Raises:
        BadInputError: only one class, or as many classes as rows.
    """
    column, names, (train, *others) = raw.roles.label, raw.class_names, raw.parts
    labels = train.labels[train.kept()]
    seen = np.bincount(labels, minlength=len(names)) > 0
    present = tuple(name for name, there in zip(names, seen, strict=True) if there)
    if len(present) == 1:
        raise BadInputError(f"Label column '{column}' has only one class, '{present[0]}'; give at least two.")
    if len(present) == len(labels):
        raise BadInputError(
            f"Label column '{column}' has as many classes as rows ({len(labels)}), like a row number; "
            "name another label column."
        )
    raw = dataclasses.replace(raw, notes=(*raw.notes, *_alike(present)))
    parts = [train]
    for part in others:
        kept = part.kept()
        unseen = {
            int(row): f"its label '{names[part.labels[row]]}' is never seen in the train part"
            for row in kept[~seen[part.labels[kept]]]
        }
        parts.append(part.with_bad(unseen))
    if fixed_names(train.dataset.features[column]) is not None:
        return dataclasses.replace(raw, parts=tuple(parts))
    table = np.append(np.where(seen, np.cumsum(seen) - 1, -2), [-2, -1])
    parts = [dataclasses.replace(part, labels=table[part.labels]) for part in parts]
    return dataclasses.replace(raw, parts=tuple(parts), class_names=present)
