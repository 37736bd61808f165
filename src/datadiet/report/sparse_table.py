"""Sparse networks on small data as a table: accuracy, weights left and examples kept side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from datadiet.report.numbers import count, percent, share
from datadiet.report.plain import points_with_interval, subset_title

if TYPE_CHECKING:
    from rich.table import Table


def sparse_table(verdict: Mapping[str, Any]) -> Table | None:
    """One row an arm and network, for `rich` to print; None where no sparse networks were trained.

    Example:
        >>> sparse_table({}) is None
        True
        >>> row = {"score": "full", "keep": 1.0, "examples": 10, "weights": 2, "weights_of": 10, "accuracy": 0.5}
        >>> sparse_table({"sparse": {"sparsity": 0.8, "how": "magnitude", "rows": [row]}}).row_count
        1
    """
    sparse = verdict.get("sparse")
    if sparse is None:
        return None
    from rich.table import Table
    from rich.text import Text

    table = Table(
        caption=f"sparse: {sparse['how']}; minus full: against dense on all data", caption_justify="left"
    )
    table.add_column("subset", overflow="fold")
    for name in ("examples", "weights", "weights left", "accuracy %", "minus dense", "minus full"):
        table.add_column(name, justify="right")
    for row in sparse["rows"]:
        dense = row.get("minus_dense") is None
        cells = (
            "full data" if row["score"] == "full" else subset_title(row),
            count(row["examples"]),
            count(row["weights"]),
            share(row["weights"] / row["weights_of"]),
            percent(row["accuracy"], decimals=2, sign=False),
            "" if dense else points_with_interval(row.get("minus_dense")),
            "" if dense and row["score"] == "full" else points_with_interval(row.get("minus_full")),
        )
        table.add_row(*map(Text, cells), end_section=not dense)
    return table
