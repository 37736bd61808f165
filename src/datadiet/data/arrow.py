"""Raw Arrow columns of a `Dataset`: in chunks, without decoding anything, and as words."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetInfo, Features
from datasets.table import InMemoryTable

Floats = npt.NDArray[np.float64]
CHUNK_ROWS = 4096
# Making a view costs `datasets` milliseconds, more than reading a row through it.
_VIEWS: WeakKeyDictionary[Any, dict[tuple[str, ...], Any]] = WeakKeyDictionary()


def dataset_of(table: Any, features: Features | None = None) -> Dataset:
    """A `pyarrow.Table` as an in-memory data set; `datasets` metadata in its schema is honoured."""
    # The fingerprint of `datasets` only names its caches; content is fingerprinted elsewhere.
    info = DatasetInfo(features=features)
    return Dataset(InMemoryTable(table), info=info, fingerprint=uuid.uuid4().hex[:16])


def holdable(table: Any) -> tuple[Any, dict[str, str]]:
    """A table whose columns `datasets` can hold, and what the others hold, by name, which are left out.

    Maps become lists of their pairs; views, run-end encoded and extension types what they stand for.

    >>> pairs = pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int8()))
    >>> holdable(pa.table({"a": pairs}))[0].schema.types
    [ListType(list<item: struct<key: string, value: int8>>)]
    """
    left_out: dict[str, str] = {}
    for field in table.schema:
        try:
            kind = _holdable_type(field.type)
            if kind != field.type:
                column = table.column(field.name)
                if isinstance(field.type, pa.BaseExtensionType):
                    column = pa.chunked_array(
                        [chunk.storage for chunk in column.chunks], field.type.storage_type
                    )
                if pa.types.is_run_end_encoded(field.type):
                    column = pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], kind)
                place = table.column_names.index(field.name)
                table = table.set_column(place, field.with_type(kind), column.cast(kind))
            Features.from_arrow_schema(pa.schema([pa.field(field.name, kind)]))
        except (ValueError, TypeError, NotImplementedError):
            left_out[field.name] = str(field.type)
    return (table.drop_columns(list(left_out)) if left_out else table), left_out


def _holdable_type(kind: Any) -> Any:
    """The type that a column of another type is held as."""
    if isinstance(kind, pa.BaseExtensionType) and not type(kind).__module__.startswith("datasets"):
        return _holdable_type(kind.storage_type)
    if pa.types.is_run_end_encoded(kind):
        return _holdable_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_map(kind):
        pair = [("key", _holdable_type(kind.key_type)), ("value", _holdable_type(kind.item_type))]
        return pa.list_(pa.struct(pair))
    if pa.types.is_list(kind):
        value = _holdable_type(kind.value_type)
        return kind if value == kind.value_type else pa.list_(value)
    if pa.types.is_struct(kind):
        fields = [field.with_type(_holdable_type(field.type)) for field in kind]
        return kind if all(a.type == b.type for a, b in zip(fields, kind, strict=True)) else pa.struct(fields)
    return kind


def with_column(dataset: Dataset, column: str, values: Any, feature: Any) -> Dataset:
    """The data set with other values of a column, its other columns as they were."""
    features = Features({**dataset.features, column: feature})
    table = dataset.with_format("arrow")[:]
    arrays = [values if name == column else table.column(name) for name in table.column_names]
    return dataset_of(pa.Table.from_arrays(arrays, schema=features.arrow_schema))


def rows_with(dataset: Dataset, positions: npt.NDArray[np.int64]) -> Dataset:
    """The rows at increasing positions: copied if they are in memory, by reference if they lie on disk.

    >>> import datasets
    >>> rows_with(Dataset.from_dict({"x": [4, 5, 6]}), np.array([0, 2]))["x"][:]
    [4, 6]
    """
    if dataset.cache_files:
        return dataset.select(positions, keep_in_memory=True)
    # A copy, because rows behind a list of indices are read one by one, twenty times as slowly.
    chosen = np.zeros(len(dataset), dtype=bool)
    chosen[positions] = True
    return dataset_of(dataset.with_format("arrow")[:].filter(pa.array(chosen)), dataset.features)


def rows_at(
    dataset: Dataset,
    columns: Sequence[str],
    positions: slice | Sequence[int] | npt.NDArray[np.int64],
) -> Any:
    """The given rows as a `pyarrow.Table` of the given columns, images still encoded.

    >>> import datasets
    >>> rows = Dataset.from_dict({"x": [1, 2, 3], "y": [4, 5, 6]})
    >>> rows_at(rows, ["y"], [2, 0])["y"].to_pylist()
    [6, 4]
    """
    view = _arrow_view(dataset, tuple(columns))
    if isinstance(positions, slice):
        return view[positions]
    wanted = [int(position) for position in positions]
    return view[wanted] if wanted else view[0:0]


def chunks_of(dataset: Dataset, columns: Sequence[str], rows: int = CHUNK_ROWS) -> Iterator[tuple[int, Any]]:
    """The whole data set in order: pairs of (position of the first row, `pyarrow.Table`)."""
    view = _arrow_view(dataset, tuple(columns))
    for start in range(0, len(dataset), rows):
        yield start, view[start : start + rows]


def _arrow_view(dataset: Dataset, columns: tuple[str, ...]) -> Any:
    """The columns of a data set as Arrow, kept for as long as the data set lives."""
    views = _VIEWS.setdefault(dataset, {})
    if columns not in views:
        views[columns] = dataset.select_columns(list(columns)).with_format("arrow")
    return views[columns]


def one_array(table: Any, column: str) -> Any:
    """A table's column as one `pyarrow.Array`."""
    combined = table.column(column).combine_chunks()
    return combined.storage if isinstance(combined, pa.ExtensionArray) else combined


def whole_column(dataset: Dataset, column: str) -> Any:
    """A column of all rows as one `pyarrow.Array`."""
    return one_array(rows_at(dataset, [column], slice(None)), column)


def numeric_matrix(table: Any, columns: Sequence[str]) -> Floats:
    """Number columns, or one column of equally long lists, as float64 (rows, width); missing is NaN.

    Raises:
        ValueError: the lists of a column are not equally long.
    """
    pieces = []
    for column in columns:
        array = one_array(table, column)
        width = 1
        while is_list(array.type):
            lengths = list_lengths(array)
            if len(lengths) and not (lengths == lengths[0]).all():
                raise ValueError(f"the lists of column '{column}' are not equally long")
            width *= int(lengths[0]) if len(lengths) else 0
            array = array.flatten()
        values = array.cast(pa.int8() if pa.types.is_boolean(array.type) else pa.float64(), safe=False)
        flat = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
        pieces.append(flat.reshape(table.num_rows, width) if width else np.empty((table.num_rows, 0)))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)


def rows_of_matrix(columns: Sequence[str]) -> int:
    """How many rows of number columns to read at once where their number makes no difference to the result.

    Columns are put beside each other one by one, which for some thousand rows takes longer than reading them.
    """
    return CHUNK_ROWS * 4 if 1 < len(columns) <= 128 else CHUNK_ROWS


def matrix_chunks(
    dataset: Dataset, columns: Sequence[str], rows: int = CHUNK_ROWS
) -> Iterator[tuple[int, Floats]]:
    """Number columns of the whole data set in order: pairs of (position of the first row, matrix)."""
    for start, table in chunks_of(dataset, columns, rows):
        yield start, numeric_matrix(table, columns)


def is_list(kind: Any) -> bool:
    """Whether an Arrow type is a list of any sort."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_text(kind: Any) -> bool:
    """Whether an Arrow type is a string of any sort."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_words(kind: Any) -> bool:
    """Whether an Arrow type is a list of strings."""
    return is_list(kind) and is_text(kind.value_type)


def is_number(kind: Any) -> bool:
    """Whether an Arrow type is a number that is no truth value."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def list_lengths(array: Any) -> npt.NDArray[np.int64]:
    """How long each list of a list array is; 0 where it is missing."""
    lengths = pc.list_value_length(array).fill_null(0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), dtype=np.int64)


def offsets_of(lengths: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Where each of several sequences begins that lie one after another, and where the last ends.

    >>> offsets_of([2, 0, 3]).tolist()
    [0, 2, 2, 5]
    """
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def words_of(array: Any) -> list[list[str]]:
    """The words of each row of an Arrow array of strings, or of lists of strings; a missing row has none.

    >>> import pyarrow as pa
    >>> words_of(pa.array(["to  new york", None])), words_of(pa.array([["to", "new york"]]))
    ([['to', 'new', 'york'], []], [['to', 'new york']])
    """
    rows = array.to_pylist()
    if is_list(array.type):
        return [["" if word is None else word for word in row or ()] for row in rows]
    return [[] if row is None else row.split() for row in rows]


def word_counts(array: Any) -> npt.NDArray[np.int64]:
    """How many words each row of an Arrow array has, as `words_of` counts them; also of lists of numbers."""
    if is_list(array.type):
        return list_lengths(array)
    return np.array([len(row) for row in words_of(array)], dtype=np.int64)


def texts_in(table: Any, column: str) -> list[str]:
    """The texts of a table's column as they are; of lists of words, with a space between any two."""
    values = one_array(table, column).to_pylist()
    return [value if isinstance(value, str) else " ".join(value) for value in values]
