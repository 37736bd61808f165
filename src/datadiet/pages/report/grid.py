"""Tables for the terminal: names on the left, numbers on the right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text


def new_table(first: str, columns: Iterable[str], *, no_wrap: bool = False, **options: Any) -> Table:
    """An empty table: names on the left, numbers on the right.

    >>> [column.justify for column in new_table("subset", ["kept"]).columns]
    ['left', 'right']
    """
    table = Table(title_justify="left", caption_justify="left", **options)
    table.add_column(first, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=no_wrap)
    return table


def add_row(table: Table, cells: Iterable[str], **options: Any) -> None:
    """Every cell as `rich.text.Text`, so that brackets in a name are shown and not obeyed.

    >>> table = new_table("subset", ["kept"])
    >>> add_row(table, ["[bold]x", "70 %"])
    >>> table.row_count
    1
    """
    table.add_row(*map(Text, cells), **options)
