"""Sparse networks on small data as a table: accuracy, weights left and examples kept side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from datadiet.report.numbers import count, percent, share
from datadiet.report.plain import points_with_interval, subset_title

if TYPE_CHECKING:
    from rich.table import Table


COLUMNS = ("examples", "weights", "weights left", "accuracy %", "minus dense", "minus full")


def sparse_rows(verdict: Mapping[str, Any], minus: str = "-") -> list[tuple[str, ...]]:
    """The subset and the cells of `COLUMNS` of every arm and network; none where no sparse networks were trained.

    Example:
        >>> row = {"score": "full", "keep": 1.0, "examples": 10, "weights": 2, "weights_of": 10, "accuracy": 0.5}
        >>> sparse_rows({"sparse": {"rows": [row]}})
        [('full data', '10', '2', '20 %', '50.00', '', '')]
    """
    rows: list[tuple[str, ...]] = []
    for row in (verdict.get("sparse") or {}).get("rows", ()):
        dense = row.get("minus_dense") is None
        rows.append(
            (
                "full data" if row["score"] == "full" else subset_title(row),
                count(row["examples"]),
                count(row["weights"]),
                share(row["weights"] / row["weights_of"]),
                percent(row["accuracy"], decimals=2, sign=False),
                "" if dense else points_with_interval(row.get("minus_dense"), minus),
                ""
                if dense and row["score"] == "full"
                else points_with_interval(row.get("minus_full"), minus),
            )
        )
    return rows


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
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for cells, row in zip(sparse_rows(verdict), sparse["rows"], strict=True):
        table.add_row(*map(Text, cells), end_section=row.get("minus_dense") is not None)
    return table
