"""The rows that stay, as Arrow tables of bounded size; their label column, and values for other formats."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.data import Examples, Part
from datadiet.data.arrow import chunks_of, is_list, list_lengths, one_array, rows_at, words_of
from datadiet.data.columns.labels import label_values, match_names
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.plan import CLASS_TASKS, IntArray, PartPlan

CHUNK_BYTES = 64 << 20
CHUNK_ROWS = {"image": 1024, "text": 16384, "vector": 16384}
_FORMULA_STARTS = frozenset("=+-@＝＋－＠")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would run a cell with this text: it starts like a formula and is no plain number.

    >>> is_formula("=1+1"), is_formula(" @SUM(A1)"), is_formula("-3.5"), is_formula("a-b")
    (True, True, False, False)
    """
    if text.startswith(("\t", "\r", "\n")):
        return True
    if text.lstrip(" ")[:1] not in _FORMULA_STARTS:
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def neutralised(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would run it.

    >>> neutralised('=HYPERLINK("http://x")'), neutralised("plain")
    ('\\'=HYPERLINK("http://x")', 'plain')
    """
    return f"'{text}" if is_formula(text) else text


def written_names(names: Iterable[str], what: str) -> dict[str, str]:
    """Name in a CSV -> name of a class or column, of those that a spreadsheet would run.

    Raises:
        BadInputError: two of them would be one.

    >>> written_names(["cat", "=dog"], "classes")
    {"'=dog": '=dog'}
    """
    names = list(names)
    found = {neutralised(name): name for name in names if is_formula(name)}
    for new, name in found.items():
        if new in names:
            raise BadInputError(
                f"The {what} '{name}' and '{new}' would have one name in a CSV file that no spreadsheet may run; "
                "leave them as they are with keep_formulas (--keep-formulas), or choose another format."
            )
    return found


def json_line(row: Mapping[str, Any]) -> str:
    """One row as JSON on one line; half surrogates are escaped, so that it can be written as UTF-8.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(row, ensure_ascii=True, allow_nan=False)
    return line


def plain(value: Any) -> Any:
    """A value of plain JSON: bytes in base64, times in ISO 8601, what is no number as null.

    >>> plain([1.5, float("nan"), b"hi"])
    [1.5, None, 'aGk=']
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return plain(float(value))
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def tag_column(examples: Examples) -> str | None:
    """The column whose tags are the targets of the train part, None where words have no tags.

    >>> from datadiet.data import load
    >>> rows = {"text": ["to rome", "fly home"] * 4, "slots": ["O B-city", "O O"] * 4, "intent": ["go", "fly"] * 4}
    >>> tag_column(load(pa.table(rows)))
    'slots'
    """
    if examples.task == "token_classification":
        return examples.label_column
    if examples.task != "intent_slots":
        return None
    schema = examples.train.dataset.data.schema
    equal: dict[str, Iterator[bool]] = {}
    for column in examples.train.dataset.column_names:
        kind = schema.field(column).type
        may_be_tags = is_list(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if may_be_tags and column not in (*examples.input_columns, examples.label_column):
            equal[column] = _has_tags(examples.train, column)
    # Others differ in their first chunk; only what does not is worth reading to its end.
    found = [column for column, chunks in equal.items() if next(chunks, True)]
    if len(found) > 1:
        found = [column for column in found if all(equal[column])]
    return found[0] if found else None


def _has_tags(part: Part, column: str) -> Iterator[bool]:
    """For each chunk of rows, whether the column says the tags that the part has."""
    targets = part.targets
    assert targets is not None
    names = _item_names(part, column)
    for start, table in chunks_of(part.dataset, [column]):
        tags = targets.take(range(start, start + table.num_rows)).rows()
        wanted = [[targets.names[tag] if tag >= 0 else None for tag in row] for row in tags]
        array = one_array(table, column)
        lists = array.to_pylist() if is_list(array.type) else words_of(array)
        yield [[_tag_name(item, names) for item in row or ()] for row in lists] == wanted


def _tag_name(item: Any, names: list[str] | None) -> str | None:
    if isinstance(item, int):
        return None if item < 0 else names[item] if names is not None and item < len(names) else str(item)
    return item if isinstance(item, str) else None


def _item_names(part: Part, column: str) -> list[str] | None:
    """The class names that a column of lists of class numbers has; None of any other."""
    return getattr(getattr(part.dataset.features[column], "feature", None), "names", None)


class LabelColumn:
    """The label column of a source: what stands in it for each class, and which rows say something else.

    A class that no row has, of a column without class names, cannot be written and has no value. Where
    labels are lists, numbers or tags of words there are no such values: the column is only copied.
    """

    def __init__(self, examples: Examples) -> None:
        self.name = examples.label_column
        self.examples = examples
        self.has_classes = examples.task in CLASS_TASKS
        self.fixed_names: tuple[str, ...] | None = None
        self.values: dict[int, Any] = {}
        if not self.has_classes:
            return
        array, labels, self.fixed_names = self._read(examples.train)
        if self.fixed_names is not None and pa.types.is_integer(array.type):
            self.values = {index: index for index in range(len(examples.class_names))}
        else:
            classes, first = np.unique(labels, return_index=True)
            self.values = dict(zip(classes.tolist(), array.take(pa.array(first)).to_pylist(), strict=True))

    def _read(self, part: Part) -> tuple[Any, IntArray, tuple[str, ...] | None]:
        """The column of a part as an Arrow array, as class indices, and the names that its type fixes."""
        feature = part.dataset.features[self.name]
        if not hasattr(feature, "names") and self.fixed_names is not None:
            feature = self.examples.train.dataset.features[self.name]
        array = one_array(rows_at(part.dataset, [self.name], slice(None)), self.name)
        names, indices, fixed = label_values(array, feature, self.name)
        return array, match_names(names, indices, self.examples.class_names), fixed

    @cached_property
    def tags(self) -> str | None:
        """The column with the tags of words, None where words have none."""
        return tag_column(self.examples)

    @cached_property
    def list_names(self) -> dict[str, list[str]]:
        """Columns of lists of class numbers that are labels or tags -> the class names."""
        column = self.name if self.examples.task == "multilabel" else self.tags
        found: dict[str, list[str]] = {}
        for part in (self.examples.test, self.examples.train) if column else ():
            names = _item_names(part, str(column))
            if names is not None:
                found[str(column)] = names
        return found

    def plain(self, column: str, value: Any) -> Any:
        """A value of a column as plain JSON, with names in the place of class numbers in lists."""
        names = self.list_names.get(column)
        if names is None or not isinstance(value, list):
            return plain(value)
        return [
            names[item] if isinstance(item, int) and 0 <= item < len(names) else plain(item) for item in value
        ]

    def texts(self, part: Part) -> list[str]:
        """What the label of each row of a part is, for people: its class; a list as JSON; a number; its tags."""
        if self.has_classes:
            return [self.examples.class_names[label] for label in part.labels.tolist()]
        found: list[str] = []
        for _, table in chunks_of(part.dataset, [self.name]):
            values = (self.plain(self.name, value) for value in one_array(table, self.name).to_pylist())
            found += [v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
        return found

    def differing(self, plan: PartPlan) -> npt.NDArray[np.bool_]:
        """Which of the rows that stay have another label than in the source's column, shape like `plan.rows`."""
        if not self.has_classes:
            return np.zeros(len(plan), dtype=bool)
        return np.asarray(self._read(plan.part)[1][plan.rows] != plan.labels)

    def value(self, label: int) -> Any:
        """What stands in the column for a class.

        Raises:
            BadInputError: no row of the source says how that class is written.
        """
        if label not in self.values:
            raise BadInputError(
                f"No row of the source has the class '{self.examples.class_names[label]}', so it is not known "
                f"how the label column '{self.name}' writes it."
            )
        return self.values[label]

    def written(self, label: int) -> Any:
        """What stands for a class in a format without class numbers: its name where the source has names.

        Raises:
            BadInputError: no row of the source says how that class is written.
        """
        if self.fixed_names is not None:
            return self.examples.class_names[label]
        return plain(self.value(label))

    def replaced(self, table: Any, changed: npt.NDArray[np.bool_], labels: IntArray) -> Any:
        """A table in which the rows that are `changed` have the classes that `labels` says of them."""
        if not changed.any():
            return table
        index = table.column_names.index(self.name)
        field = table.schema.field(index)
        values = table.column(index).to_pylist()
        for place in np.flatnonzero(changed).tolist():
            values[place] = self.value(int(labels[place]))
        if pa.types.is_dictionary(field.type):
            array = pa.array(values, field.type.value_type).dictionary_encode().cast(field.type)
        else:
            array = pa.array(values, field.type)
        return table.set_column(index, field, array)


@dataclass(frozen=True)
class Chunk:
    """Some of the rows that stay, in the order of their ids.

    Args:
        table: all columns of the source, labels as they are to be.
        ids: example ids.
        labels: class indices.
    """

    table: Any
    ids: IntArray
    labels: IntArray

    def __len__(self) -> int:
        return len(self.ids)


def kept_chunks(plan: PartPlan, label: LabelColumn, *, contents: bool = False) -> Iterator[Chunk]:
    """Every row that stays, in tables that are small in rows.

    Args:
        plan: what stays.
        label: the label column of the source.
        contents: read the images that lie in files; then tables are small in bytes, too.
    """
    part = plan.part
    step = CHUNK_ROWS[part.kind]
    changed = label.differing(plan)
    for start, table in chunks_of(part.dataset, part.dataset.column_names, step):
        low, high = np.searchsorted(plan.rows, [start, start + step])
        if low == high:
            continue
        if high - low < table.num_rows:
            table = table.take(pa.array(plan.rows[low:high] - start))
        labels = plan.labels[low:high]
        chunk = Chunk(label.replaced(table, changed[low:high], labels), plan.ids[low:high], labels)
        yield from (
            with_contents(chunk, part.input_columns[0]) if contents and part.kind == "image" else [chunk]
        )


def images_of(chunk: Chunk, column: str) -> Iterator[tuple[int, int, bytes | None, str | None]]:
    """Id, label, encoded bytes (None where they lie in a file) and path of each image of a chunk."""
    array = one_array(chunk.table, column)
    contents, paths = (pc.struct_field(array, name).to_pylist() for name in ("bytes", "path"))
    yield from zip(chunk.ids.tolist(), chunk.labels.tolist(), contents, paths, strict=True)


def with_contents(chunk: Chunk, column: str) -> Iterator[Chunk]:
    """The chunk in pieces of bounded size, with the bytes of images that lie in files in their column."""
    array = one_array(chunk.table, column)
    if (
        not pc.struct_field(array, "bytes").null_count
        and not pc.any(pc.is_valid(pc.struct_field(array, "path"))).as_py()
    ):
        yield chunk
        return
    index = chunk.table.column_names.index(column)
    field = chunk.table.schema.field(index)
    start, size, images = 0, 0, []
    for stop, (_, _, content, path) in enumerate(images_of(chunk, column), start=1):
        content = Path(path).read_bytes() if content is None and path else content
        # Where a file lay is nobody's business: its name is all that goes on, whatever system the path is of.
        images.append({"bytes": content, "path": path and path.replace("\\", "/").rsplit("/", 1)[-1]})
        size += len(content or b"")
        if size >= CHUNK_BYTES or stop == len(chunk):
            table = chunk.table.slice(start, stop - start)
            table = table.set_column(index, field, pa.array(images, field.type))
            yield Chunk(table, chunk.ids[start:stop], chunk.labels[start:stop])
            start, size, images = stop, 0, []


def lie_in_files(part: Part) -> bool:
    """Whether the images of a part lie in files of their own, judged by the first one."""
    if part.kind != "image" or len(part) == 0:
        return False
    probe = one_array(rows_at(part.dataset, part.input_columns, slice(0, 1)), part.input_columns[0])
    return bool(pc.struct_field(probe, "bytes").null_count)


def content_sizes(part: Part) -> IntArray:
    """Bytes of the input of every example of a part: encoded images, UTF-8 texts, numbers as they are stored."""
    sizes = np.zeros(len(part), dtype=np.int64)
    for start, table in chunks_of(part.dataset, part.input_columns, CHUNK_ROWS[part.kind]):
        for column in part.input_columns:
            sizes[start : start + table.num_rows] += _sizes(part.kind, one_array(table, column))
    return sizes


def _sizes(kind: str, array: Any) -> IntArray:
    """Bytes of every value of a column."""
    if kind == "vector":
        return np.full(len(array), array.nbytes // max(len(array), 1))
    if kind == "text" and is_list(array.type):
        row_of = np.repeat(np.arange(len(array)), list_lengths(array))
        words = pc.binary_length(array.flatten()).fill_null(0).to_numpy(zero_copy_only=False)
        return np.bincount(row_of, weights=words, minlength=len(array)).astype(np.int64)
    lengths = pc.binary_length(array if kind == "text" else pc.struct_field(array, "bytes"))
    found: IntArray = lengths.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    if kind == "image" and lengths.null_count:
        paths = pc.struct_field(array, "path").to_pylist()
        for row in np.flatnonzero(lengths.is_null().to_numpy(zero_copy_only=False)).tolist():
            found[row] = _file_size(paths[row])
    return found


def _file_size(path: str | None) -> int:
    try:
        return Path(path).stat().st_size if path else 0
    except OSError:
        return 0
