"""The further test metrics of a task, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from datadiet.report.numbers import NOT_MEASURED, compact, is_number, percent, rounded, share
from datadiet.report.plain import accuracy_title, subset_title
from datadiet.report.safe_text import printable

if TYPE_CHECKING:
    from rich.table import Table

_TITLES = {
    "intent_accuracy": "intent accuracy",
    "slot_f1": "slot F1",
    "semantic_error_rate": "semantic error rate",
    "token_accuracy": "word accuracy",
    "token_f1": "entity F1",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "spearman": "Spearman",
}
_PLAIN_NUMBERS = frozenset({"rmse", "mae", "r2", "spearman"})
_SMALLER_IS_BETTER = frozenset({"rmse", "mae", "semantic_error_rate"})


def metric_title(name: str) -> str:
    """A metric's name as people write it, with its unit, and said where less is better.

    >>> metric_title("slot_f1"), metric_title("rmse")
    ('slot F1 %', 'RMSE (less is better)')
    """
    title = _TITLES.get(name, printable(name.replace("_", " "), limit=24))
    unit = "" if name in _PLAIN_NUMBERS else " %"
    return title + unit + (" (less is better)" if name in _SMALLER_IS_BETTER else "")


def metrics_rows(verdict: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Titles of the metrics, and for full data and each subset its name with a cell a metric.

    A cell is the mean over seeds, and after a plus-minus sign their standard deviation. A metric that is the
    verdict's accuracy under another name is left out.

    >>> full = {"metrics": {"slot_f1": {"mean": 0.951, "spread": 0.0021, "values": [0.95, 0.952]}}}
    >>> metrics_rows({"task": "intent_slots", "full": full})
    (['slot F1 %'], [('full data', ['95.1 ± 0.2'])])
    """
    full = verdict.get("full") or {}
    same = accuracy_title(verdict).replace("-", "_").replace(" ", "_")
    names = [name for name in full.get("metrics") or {} if name != same]
    entries = [("full data", full)]
    entries += [(f"{subset_title(s)}, {share(s['keep'])}", s) for s in verdict.get("subsets", ())]
    rows = []
    if names:
        rows = [(title, [_cell(name, entry) for name in names]) for title, entry in entries]
    return [metric_title(name) for name in names], rows


def metrics_table(verdict: Mapping[str, Any]) -> Table | None:
    """The metrics for `rich` to print; None where the task has none.

    >>> metrics_table({"full": {"accuracy": 0.9}}) is None
    True
    """
    from rich.table import Table
    from rich.text import Text

    titles, rows = metrics_rows(verdict)
    if not rows:
        return None
    table = Table(caption="means over seeds ± standard deviation", caption_justify="left")
    table.add_column("subset", overflow="fold")
    for title in titles:
        table.add_column(title, justify="right")
    for name, cells in rows:
        table.add_row(*(Text(cell) for cell in (name, *cells)), style="bold" if name == "full data" else None)
    return table


def _cell(name: str, entry: Mapping[str, Any]) -> str:
    found: Mapping[str, Any] = (entry.get("metrics") or {}).get(name) or {}
    mean: Any = found.get("mean")
    spread: Any = found.get("spread")
    if mean is None or not is_number(mean):
        return NOT_MEASURED
    known = spread is not None and is_number(spread)
    if name in _PLAIN_NUMBERS:
        return compact(mean) + (f" ± {compact(spread, 2)}" if known else "")
    return percent(mean, sign=False) + (f" ± {rounded(100 * float(spread), 1):f}" if known else "")
