"""What is wrong with single rows of texts and vectors, and image columns brought to one form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.data.arrow import dataset_of
from datadiet.data.columns import chunks_of, is_list, list_lengths, numeric_matrix, one_array, rows_at
from datadiet.data.objects import each_to_pixels, image_column
from datadiet.data.roles import Roles
from datadiet.data.words import words_of
from datadiet.errors import BadInputError

if TYPE_CHECKING:
    import datasets


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
