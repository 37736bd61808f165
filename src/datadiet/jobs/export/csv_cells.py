"""Cells of CSV files that a spreadsheet must not run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.formats import Job
from datadiet.jobs.export.rows import is_formula, neutralised


def cell_of(value: Any) -> Any:
    """A plain value as it stands in a cell."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def label_cell(value: Any) -> Any:
    """A label as it stands in a cell: a truth value is written as its class is called."""
    return str(value) if isinstance(value, bool) else cell_of(value)


def has_formula(cells: Sequence[Any]) -> bool:
    """Whether a spreadsheet would run one of these cells."""
    return any(isinstance(cell, str) and is_formula(cell) for cell in cells)


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
        has_tags = job.label.tags is not None and name in job.plan.examples.input_columns
        if has_tags and len(safe.split()) != len(cell.split()):
            safe = neutralised(cell.lstrip())  # before white space, the apostrophe would be a word of its own
        found.append(safe)
    return found
