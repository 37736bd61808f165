"""The rows of one part while they are being checked: what is wrong with single ones, and what stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from datadiet.data.columns.arrow import (
    chunks_of,
    dataset_of,
    is_list,
    list_lengths,
    numeric_matrix,
    one_array,
    rows_at,
    words_of,
)
from datadiet.data.columns.roles import Roles
from datadiet.data.examples import IntArray, TargetRows
from datadiet.data.sources.objects import each_to_pixels, image_column
from datadiet.foundation.errors import BadInputError

if TYPE_CHECKING:
    import datasets


@dataclass
class DraftRows:
    """Rows, their class indices (-1: missing, -2: not in the train part), targets, and why some are bad.

    >>> rows = DraftRows("train", None, np.array([0, 1, -1]))
    >>> rows.note({2: "its label is missing"})
    >>> rows.kept().tolist(), rows.left_out_note()
    ([0, 1], '1 bad row of the train rows is left out (the first id: 2).')
    """

    where: str
    dataset: Any
    labels: IntArray
    bad: dict[int, str] = field(default_factory=dict)
    pixels: Tensor | None = None
    targets: TargetRows | None = None

    def note(self, found: Mapping[int, str]) -> None:
        """Remember bad rows; the first reason for a row stays."""
        for row, reason in found.items():
            self.bad.setdefault(row, reason)

    def refuse_or_leave_out(self, skip: bool) -> None:
        """Raise the error that names the bad rows, unless they are to be left out."""
        if skip or not self.bad:
            return
        first, *others = sorted(self.bad)
        more = ""
        if others:
            more = f" (and {len(others)} more bad rows: {', '.join(map(str, others[:5]))}"
            more += ", ...)" if len(others) > 5 else ")"
        raise BadInputError(
            f"Row {first} of the {self.where} rows cannot be used: {self.bad[first]}{more}; mend or remove "
            "it, or leave such rows out with on_bad_example='skip' (--on-bad-example skip)."
        )

    def kept(self) -> IntArray:
        """Ids of the rows that are not bad, increasing."""
        good = np.ones(len(self.labels), dtype=bool)
        good[list(self.bad)] = False
        return np.flatnonzero(good).astype(np.int64)

    def left_out_note(self) -> str | None:
        """A sentence on what was left out, if anything was."""
        if not self.bad:
            return None
        rows = "1 bad row" if len(self.bad) == 1 else f"{len(self.bad)} bad rows"
        verb = "is" if len(self.bad) == 1 else "are"
        return f"{rows} of the {self.where} rows {verb} left out (the first id: {min(self.bad)})."


def require_rows(rows: DraftRows) -> None:
    """Refuse a part without a good row.

    Raises:
        BadInputError: there is none.
    """
    if len(rows.bad) == len(rows.labels):
        raise BadInputError(f"No example of the {rows.where} part is left; give it usable rows.")


def check_classes(train: DraftRows, class_names: Sequence[str], label: str) -> None:
    """Refuse labels that nothing can be learnt from.

    Raises:
        BadInputError: only one class, or as many classes as rows.
    """
    labels = train.labels[train.kept()]
    counts = np.bincount(labels, minlength=len(class_names))
    present = int((counts > 0).sum())
    if present == 1:
        only = class_names[int(counts.argmax())]
        raise BadInputError(f"Label column '{label}' has only one class, '{only}'; give at least two.")
    if present == len(labels):
        raise BadInputError(
            f"Label column '{label}' has as many classes as rows ({present}), like a row number; "
            "name another label column."
        )


def unseen_classes(train: DraftRows, held: DraftRows, class_names: Sequence[str]) -> dict[int, str]:
    """The reason for each good row of the test part whose class no good row of the train part has."""
    seen = np.bincount(train.labels[train.kept()], minlength=len(class_names)) > 0
    rows = held.kept()
    return {
        int(row): f"its label '{class_names[held.labels[row]]}' is never seen in the train part"
        for row in rows[~seen[held.labels[rows]]]
    }


def without_empty_classes(parts: Sequence[DraftRows], class_names: Sequence[str]) -> tuple[str, ...]:
    """Class names that came from the rows go with the last good row that had them; labels are renumbered."""
    present = np.bincount(parts[0].labels[parts[0].kept()], minlength=len(class_names)) > 0
    table = np.append(np.where(present, np.cumsum(present) - 1, -2), [-2, -1])
    for rows in parts:
        rows.labels = table[rows.labels]
    return tuple(name for name, there in zip(class_names, present, strict=True) if there)


def bad_texts(dataset: datasets.Dataset, columns: Sequence[str]) -> dict[int, str]:
    """The reason for each row with a missing or empty text."""
    found: dict[int, str] = {}
    for start, table in chunks_of(dataset, columns):
        for column in columns:
            array = one_array(table, column)
            if is_list(array.type):
                rows = words_of(array)
                for place in (place for place, words in enumerate(rows) if not any(map(str.strip, words))):
                    found.setdefault(start + place, f"its text (column '{column}') has no words")
                continue
            blank = pc.equal(pc.utf8_trim_whitespace(array), "").fill_null(True)
            for row in np.flatnonzero(blank.to_numpy(zero_copy_only=False)):
                found.setdefault(start + int(row), f"its text (column '{column}') is empty")
    return found


def bad_vectors(
    dataset: datasets.Dataset, columns: Sequence[str], width: int | None
) -> tuple[dict[int, str], int | None]:
    """The reason for each row with a missing, NaN or infinite number or a vector of another length.

    `width` is the length of a list that is expected, None to take the commonest. Also returns it.
    """
    found: dict[int, str] = {}
    if is_list(dataset.data.schema.field(columns[0]).type):
        width = _common_length(dataset, columns[0]) if width is None else width
        if width == 0:
            raise BadInputError(f"The vectors of column '{columns[0]}' are empty; name another input column.")
    largest = float(np.finfo(np.float32).max)
    for start, table in chunks_of(dataset, columns):
        good = np.arange(table.num_rows)
        if width is not None:
            lengths = list_lengths(one_array(table, columns[0]))
            for row in np.flatnonzero(lengths != width):
                found[start + int(row)] = f"its vector has {lengths[row]} numbers, where others have {width}"
            good = np.flatnonzero(lengths == width)
        matrix = numeric_matrix(table.take(pa.array(good)), columns) if len(good) else np.empty((0, 1))
        wrong = ~(np.abs(matrix) <= largest)
        for index in np.flatnonzero(wrong.any(axis=1)):
            place = int(np.flatnonzero(wrong[index])[0])
            where = (
                f"column '{columns[place]}'"
                if width is None
                else f"position {place} of column '{columns[0]}'"
            )
            found[start + int(good[index])] = f"its input has a missing, NaN or infinite number ({where})"
    return found, width


def _common_length(dataset: datasets.Dataset, column: str) -> int:
    counts: dict[int, int] = {}
    for _, table in chunks_of(dataset, [column]):
        for length, count in zip(
            *np.unique(list_lengths(one_array(table, column)), return_counts=True), strict=True
        ):
            counts[int(length)] = counts.get(int(length), 0) + int(count)
    return max(counts, key=lambda length: (counts[length], length))


def with_encoded_images(dataset: datasets.Dataset, roles: Roles, base: Path | None) -> datasets.Dataset:
    """The data set with its image column as `datasets.Image` (encoded bytes, or the path of a file).

    Paths are relative to `base`, the folder of the table that names them. Data sets without an image column
    come back as they are.
    """
    import datasets

    if roles.kind != "image":
        return dataset
    column = roles.inputs[0]
    if roles.form == "array":
        pixels = [_nested(row) for row in rows_at(dataset, [column], slice(None))[column].to_pylist()]
        return _replaced(dataset, column, image_column(each_to_pixels(pixels)))
    kind = dataset.data.schema.field(column).type
    if roles.form == "path" or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        values = one_array(rows_at(dataset, [column], slice(None)), column)
        empty = pa.nulls(len(values), pa.binary() if roles.form == "path" else pa.string())
        fields = (
            [empty, _absolute(values, base)] if roles.form == "path" else [values.cast(pa.binary()), empty]
        )
        return _replaced(dataset, column, pa.StructArray.from_arrays(fields, names=["bytes", "path"]))
    if type(dataset.features[column]).__name__ != "Image":
        dataset = dataset.cast_column(column, datasets.Image())
    probe = one_array(rows_at(dataset, [column], slice(0, 1)), column)
    if len(probe) and pc.struct_field(probe, "bytes").null_count:
        values = one_array(rows_at(dataset, [column], slice(None)), column)
        fields = [
            pc.struct_field(values, "bytes").cast(pa.binary()),
            _absolute(pc.struct_field(values, "path"), base),
        ]
        return _replaced(dataset, column, pa.StructArray.from_arrays(fields, names=["bytes", "path"]))
    return dataset


def _absolute(paths: Any, base: Path | None) -> Any:
    folder = (base or Path()).resolve()
    return pa.array([str(folder / path) if path else None for path in paths.to_pylist()], pa.string())


def _replaced(dataset: datasets.Dataset, column: str, values: Any) -> datasets.Dataset:
    """The data set with an image column in place of another one, its other columns as they were."""
    import datasets

    features = datasets.Features({**dataset.features, column: datasets.Image()})
    table = dataset.with_format("arrow")[:]
    arrays = [values if name == column else table.column(name) for name in table.column_names]
    return dataset_of(pa.Table.from_arrays(arrays, schema=features.arrow_schema))


def _nested(row: Any) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(row)
    except ValueError as error:
        raise BadInputError(
            "An image column of nested lists has rows that are not rectangular; mend them."
        ) from error
