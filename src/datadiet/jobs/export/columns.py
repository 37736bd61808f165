"""The label column and the tag column of a source: what stands in them, and how other formats are to say the same."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datadiet.data import Examples, Part
from datadiet.data.columns.arrow import chunks_of, is_list, one_array, rows_at, words_of
from datadiet.data.columns.labels import label_values, match_names
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.plan import CLASS_TASKS, IntArray, PartPlan


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


def json_line(row: dict[str, Any]) -> str:
    """One row as JSON on one line; half surrogates are escaped, so that it can be written as UTF-8."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(row, ensure_ascii=True, allow_nan=False)
    return line


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
    dataset = examples.train.dataset
    roles = (*examples.input_columns, examples.label_column)
    schema = dataset.data.schema
    others = [column for column in dataset.column_names if column not in roles]
    equal = {
        column: _equal_chunks(examples.train, column)
        for column in others
        if is_list(schema.field(column).type) or _is_text(schema.field(column).type)
    }
    # Others differ in their first chunk; only what does not is worth reading to its end.
    found = [column for column, chunks in equal.items() if next(chunks, True)]
    if len(found) > 1:
        found = [column for column in found if all(equal[column])]
    return found[0] if found else None


def _equal_chunks(part: Part, column: str) -> Iterator[bool]:
    """For each chunk of rows, whether the column says the tags that the part has."""
    targets = part.targets
    assert targets is not None
    names = getattr(getattr(part.dataset.features[column], "feature", None), "names", None)
    for start, table in chunks_of(part.dataset, [column]):
        tags = targets.take(range(start, start + table.num_rows)).rows()
        wanted = [[targets.names[tag] if tag >= 0 else None for tag in row] for row in tags]
        array = one_array(table, column)
        lists = array.to_pylist() if is_list(array.type) else words_of(array)
        yield [[_name(item, names) for item in row or ()] for row in lists] == wanted


def _name(item: Any, names: list[str] | None) -> str | None:
    if isinstance(item, int):
        return None if item < 0 else names[item] if names is not None and item < len(names) else str(item)
    return item if isinstance(item, str) else None


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


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
        dataset = examples.train.dataset
        feature = dataset.features[self.name]
        array = one_array(rows_at(dataset, [self.name], slice(None)), self.name)
        names, indices, fixed = label_values(array, feature, self.name)
        known = match_names(names, indices, examples.class_names)
        self.fixed_names = fixed
        if fixed is not None and pa.types.is_integer(array.type):
            self.values = {index: index for index in range(len(examples.class_names))}
        else:
            classes, first = np.unique(known, return_index=True)
            for index, row in zip(classes.tolist(), first.tolist(), strict=True):
                self.values[index] = array[row].as_py()

    @cached_property
    def tags(self) -> str | None:
        """The column with the tags of words, None where words have none."""
        return tag_column(self.examples)

    @cached_property
    def list_names(self) -> dict[str, tuple[str, ...]]:
        """Columns of lists of class numbers that are labels or tags -> the class names."""
        examples = self.examples
        lists = [self.name] if examples.task == "multilabel" else [self.tags] if self.tags else []
        found: dict[str, tuple[str, ...]] = {}
        for column in lists:
            for part in (examples.test, examples.train):
                names = getattr(getattr(part.dataset.features[column], "feature", None), "names", None)
                if names is not None:
                    found[column] = tuple(names)
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

    def differing(self, plan: PartPlan) -> IntArray:
        """Which of the rows that stay (positions among them) have another label than in the source's column."""
        if not self.has_classes:
            return np.empty(0, dtype=np.int64)
        dataset = plan.part.dataset
        array = one_array(rows_at(dataset, [self.name], slice(None)), self.name)
        feature = dataset.features[self.name]
        if not hasattr(feature, "names") and self.fixed_names is not None:
            feature = self.examples.train.dataset.features[self.name]
        names, indices, _ = label_values(array, feature, self.name)
        stands = match_names(names, indices, self.examples.class_names)[plan.rows]
        return np.flatnonzero(stands != plan.labels).astype(np.int64)

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

    def replaced(self, table: Any, places: npt.NDArray[Any], labels: IntArray) -> Any:
        """A table with other classes at some rows."""
        if not len(places):
            return table
        index = table.column_names.index(self.name)
        field = table.schema.field(index)
        values = table.column(index).to_pylist()
        for place, label in zip(places, labels, strict=True):
            values[place] = self.value(int(label))
        if pa.types.is_dictionary(field.type):
            array = pa.array(values, field.type.value_type).dictionary_encode().cast(field.type)
        else:
            array = pa.array(values, field.type)
        return table.set_column(index, field, array)
