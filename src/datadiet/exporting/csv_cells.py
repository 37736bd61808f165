"""Words, tags and texts as the cells of a CSV file that are read as the same again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datadiet.errors import BadInputError
from datadiet.exporting.formulas import is_formula, neutralised
from datadiet.exporting.written import Job


def text_of_items(job: Job, id_: int, column: str, items: Sequence[Any]) -> str:
    """A list of words or tags as one text with a space between any two.

    Raises:
        BadInputError: words have tags, and one of these or those is empty or has white space within.
    """
    text = " ".join("" if item is None else str(item) for item in items)
    if job.label.tags is not None and len(text.split()) != len(items):
        raise BadInputError(
            f"Example {id_} has an item with white space, or an empty one, in its list '{column}', which CSV cannot "
            "hold beside tags of words; export it to parquet, datasets, jsonl or webdataset."
        )
    return text


def harmless(job: Job, id_: int, names: Sequence[str], cells: Sequence[Any]) -> list[Any]:
    """The cells of a row with an apostrophe before what a spreadsheet would run; as many words as before.

    Raises:
        BadInputError: the tags of the words start like a formula; with an apostrophe they would be other tags.
    """
    found: list[Any] = []
    for name, cell in zip(names, cells, strict=True):
        if not isinstance(cell, str) or not is_formula(cell):
            found.append(cell)
            continue
        if name == job.label.tags:
            raise BadInputError(
                f"The tags of example {id_} (column '{name}') start like a formula of a spreadsheet; leave them as "
                "they are with keep_formulas (--keep-formulas), or choose another format."
            )
        safe = neutralised(cell)
        if job.label.tags is not None and len(safe.split()) != len(cell.split()):
            safe = neutralised(cell.lstrip())  # before white space, the apostrophe would be a word of its own
        found.append(safe)
    return found
