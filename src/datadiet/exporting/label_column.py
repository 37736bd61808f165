"""The label column of a source: what stands in it, and how other formats are to say the same."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datadiet.data import Examples, Part
from datadiet.data.columns import chunks_of, one_array, rows_at
from datadiet.data.labels import label_values, match_names
from datadiet.errors import BadInputError
from datadiet.exporting.plain_json import plain
from datadiet.exporting.plan import CLASS_TASKS, IntArray, PartPlan
from datadiet.exporting.tag_column import tag_column


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
