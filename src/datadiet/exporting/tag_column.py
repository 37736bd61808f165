"""Which column of a source holds the tags of its words, told by what stands in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from datadiet.data import Examples, Part
from datadiet.data.columns import chunks_of, is_list, one_array
from datadiet.data.words import words_of


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
