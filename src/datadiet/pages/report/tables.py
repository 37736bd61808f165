"""Tables of a verdict: rich ones for the terminal, and the rows that the page shows of groups, metrics and sparsity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from datadiet.pages.numbers import (
    NOT_MEASURED,
    compact,
    count,
    is_number,
    percent,
    percent_interval,
    points,
    points_interval,
    points_with_interval,
    rounded,
    share,
)
from datadiet.pages.report.grid import add_row, new_table
from datadiet.pages.report.wording import (
    accuracy_title,
    budget_title,
    has_one_seed,
    is_same_subset,
    loss_title,
    outcome_title,
    subset_title,
    titled_share,
)
from datadiet.pages.text import printable

CLASS = "class"
MOST_ROWS = 50  # of a grouping on the page; all are in groups.parquet
MOST_WARNINGS = 5
TERMINAL_ROWS = 8
LOSES = "▼"
TAKEN = " ← take"  # short, as 80 columns have no room for more
SPARSE_COLUMNS = ("examples", "weights", "weights left", "accuracy %", "minus dense", "minus full")
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


def verdict_table(verdict: Mapping[str, Any], *, narrow: bool = False) -> Table:
    """Full data and every subset with accuracy, differences, loss and whether it holds, for `rich` to print.

    Args:
        verdict: as in `verdict.json`.
        narrow: for a screen of 80 columns: the parts of a cell stand below each other, without lines between columns.

    >>> verdict_table({"full": {"accuracy": 0.97, "interval": [0.96, 0.98], "seeds": 3, "n": 1437}}).row_count
    1
    """
    seeds = "one seed: intervals from test examples only" if has_one_seed(verdict) else "95 % intervals"
    caption = Text(f"{budget_title(verdict)}; differences in percentage points; {seeds}")
    bounds = has_bounds(verdict)
    titles = ["kept", f"{accuracy_title(verdict)} %", "minus full", "minus random"]
    look: dict[str, Any] = {"box": SIMPLE_HEAD, "show_edge": False, "padding": 0} if narrow else {}
    table = new_table("subset", titles, no_wrap=narrow, caption=caption, **look)
    if bounds:
        table.add_column("loses\nat most" if narrow else "loses at most", justify="right")
    table.add_column("verdict")
    full = verdict.get("full")
    if full is not None:
        cells = ["full data", f"100 % ({count(full['n'])})", _accuracy(full)]
        add_row(table, _stacked(cells) if narrow else cells, style="bold")
    recommended = verdict.get("recommended")
    for subset in sorted(verdict.get("subsets", ()), key=lambda subset: -float(subset["keep"])):
        chosen = recommended is not None and is_same_subset(subset, recommended)
        is_random = subset["score"] == "random"
        cells = [
            subset_title(subset),
            f"{share(subset['keep'])} ({count(subset['n'])})",
            _accuracy(subset),
            points_with_interval(subset.get("minus_full")),
            "" if is_random else points_with_interval(subset.get("minus_random")),
            *([loss_title(subset.get("loses_at_most"), verdict.get("tolerance"))] if bounds else []),
            outcome_title(subset) + (TAKEN if chosen else ""),
        ]
        add_row(table, _stacked(cells) if narrow else cells, style="green" if chosen else None)
    return table


def _stacked(cells: list[str]) -> list[str]:
    """The cells but the first, which is a name, with what is in brackets or behind an arrow below the rest."""
    return [cells[0], *(re.sub(r" (?=[\[(←])|(?<=gains) ", "\n", cell) for cell in cells[1:])]


def has_bounds(verdict: Mapping[str, Any]) -> bool:
    """Whether the verdict says what its subsets lose at most; older ones do not.

    >>> has_bounds({"subsets": [{"loses_at_most": None}]}), has_bounds({"subsets": [{"score": "el2n"}]})
    (True, False)
    """
    return any("loses_at_most" in subset for subset in verdict.get("subsets", ()))


def _accuracy(entry: Mapping[str, Any]) -> str:
    if not is_number(entry.get("accuracy")):
        return NOT_MEASURED
    return f"{percent(entry['accuracy'], sign=False)} {percent_interval(entry.get('interval'))}".strip()


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
    entries += [(titled_share(subset), subset) for subset in verdict.get("subsets", ())]
    rows = [(title, [_metric(name, entry) for name in names]) for title, entry in entries if names]
    return [metric_title(name) for name in names], rows


def metrics_table(verdict: Mapping[str, Any]) -> Table | None:
    """The metrics for `rich` to print; None where the task has none.

    >>> metrics_table({"full": {"accuracy": 0.9}}) is None
    True
    """
    titles, rows = metrics_rows(verdict)
    if not rows:
        return None
    table = new_table("subset", titles, caption="means over seeds ± standard deviation")
    for name, cells in rows:
        add_row(table, (name, *cells), style="bold" if name == "full data" else None)
    return table


def _metric(name: str, entry: Mapping[str, Any]) -> str:
    found: Mapping[str, Any] = (entry.get("metrics") or {}).get(name) or {}
    mean, spread = found.get("mean"), found.get("spread")
    if not is_number(mean):
        return NOT_MEASURED
    if name in _PLAIN_NUMBERS:
        return compact(mean) + (f" ± {compact(spread, 2)}" if is_number(spread) else "")
    return percent(mean, sign=False) + (f" ± {rounded(100 * spread, 1):f}" if is_number(spread) else "")


def sparse_rows(verdict: Mapping[str, Any], minus: str = "-") -> list[tuple[str, ...]]:
    """The subset and the cells of `SPARSE_COLUMNS` of every arm and network; none without sparse networks.

    Example:
        >>> row = {"score": "full", "keep": 1.0, "examples": 10, "weights": 2, "weights_of": 10, "accuracy": 0.5}
        >>> sparse_rows({"sparse": {"rows": [row]}})
        [('full data', '10', '2', '20 %', '50.00', '', '')]
    """
    rows: list[tuple[str, ...]] = []
    for row in (verdict.get("sparse") or {}).get("rows", ()):
        full, dense = row["score"] == "full", row.get("minus_dense") is None
        cells = (
            "full data" if full else subset_title(row),
            count(row["examples"]),
            count(row["weights"]),
            share(row["weights"] / row["weights_of"]),
            percent(row["accuracy"], decimals=2, sign=False),
            "" if dense else points_with_interval(row.get("minus_dense"), minus),
            "" if dense and full else points_with_interval(row.get("minus_full"), minus),
        )
        rows.append(cells)
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
    caption = f"sparse: {sparse['how']}; minus full: against dense on all data"
    table = new_table("subset", SPARSE_COLUMNS, caption=caption)
    for cells, row in zip(sparse_rows(verdict), sparse["rows"], strict=True):
        add_row(table, cells, end_section=row.get("minus_dense") is not None)
    return table


def shown_subset(verdict: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The subset whose groups are shown: the recommended one, or else the one that loses least and is not random.

    >>> shown_subset({"recommended": None, "subsets": [
    ...     {"score": "random", "minus_full": [0.0, 0, 0]}, {"score": "el2n", "minus_full": [-0.2, 0, 0]}]})["score"]
    'el2n'
    """
    if verdict.get("recommended") is not None:
        return verdict["recommended"]  # type: ignore[no-any-return]
    measured = [subset for subset in verdict.get("subsets", ()) if subset.get("minus_full") is not None]
    chosen = [subset for subset in measured if subset["score"] != "random"] or measured
    return max(chosen, key=lambda subset: float(subset["minus_full"][0])) if chosen else None


def first_warnings(verdict: Mapping[str, Any]) -> list[str]:
    """The first warnings of a verdict, and how many there are more.

    >>> first_warnings({"warnings": ["a", "b", "c", "d", "e", "f", "g"]})[-2:]
    ['e', '2 more groups lose more than the whole; groups.parquet has all of them.']
    """
    found = [printable(str(warning), limit=300) for warning in verdict.get("warnings") or ()]
    more = len(found) - MOST_WARNINGS
    if more > 0:
        what = f"{count(more)} more {'group loses' if more == 1 else 'groups lose'}"
        found[MOST_WARNINGS:] = [f"{what} more than the whole; groups.parquet has all of them."]
    return found


def groups_table(verdict: Mapping[str, Any]) -> Table | None:
    """The groups that the shown subset treats worst, for `rich` to print; None when no column was asked for.

    >>> groups_table({"subsets": []}) is None
    True
    """
    subset = shown_subset(verdict)
    tables = [] if subset is None else _tables_of(verdict, subset)
    if subset is None or all(entry["grouping"] == CLASS for entry in tables):
        return None
    title = f"Who is left out of {titled_share(subset)}, worst first"
    loses = any(row["loses_more"] for entry in tables for row in entry["groups"][:TERMINAL_ROWS])
    caption = Text(f"{LOSES} loses more than the whole, beyond chance") if loses else None
    columns = ("stay", "examples", "accuracy %", "minus full")
    table = new_table("group", columns, no_wrap=True, title=Text(title), caption=caption)
    for entry in tables:
        rows = entry["groups"][:TERMINAL_ROWS]
        rest = len(entry["groups"]) - len(rows)
        more = f", {rest} more" if rest else ""
        table.add_row(Text(f"by {printable(str(entry['grouping']), 40)}{more}", style="bold"))
        for row in rows:
            cells = (
                f"{LOSES if row['loses_more'] else ' '} {printable(str(row['group']), 40) or '(no name)'}",
                NOT_MEASURED if row["kept_share"] is None else share(row["kept_share"]),
                count(row["n_train"]),
                NOT_MEASURED if row["accuracy"] is None else percent(row["accuracy"][0], sign=False),
                _difference(row["minus_full"], "-"),
            )
            add_row(table, cells, style="yellow" if row["loses_more"] else None)
        table.add_section()
    return table


def left_out_view(verdict: Mapping[str, Any], minus: str) -> dict[str, Any]:
    """What the page's section shows: the groups of the shown subset, and folded those of the others.

    >>> left_out_view({}, "-")["shown"] is None
    True
    """
    subset = shown_subset(verdict)
    views: list[dict[str, Any]] = []
    if subset is not None:
        by_size = sorted(verdict.get("subsets", ()), key=lambda other: -float(other["keep"]))
        others = [s for s in by_size if s["score"] != "random" and not is_same_subset(s, subset)]
        views = [_subset_view(verdict, shown, minus) for shown in (subset, *others)]
    return {
        "shown": views[0] if views and views[0]["tables"] else None,
        "recommended": verdict.get("recommended") is not None,
        "others": [view for view in views[1:] if view["tables"]],
        "notes": [
            note for grouping in verdict.get("groupings") or () for note in grouping.get("notes") or ()
        ],
    }


def _tables_of(verdict: Mapping[str, Any], subset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tables of a subset, the columns that were asked for before the classes."""
    found = [entry for entry in verdict.get("groups") or () if is_same_subset(entry, subset)]
    return sorted(found, key=lambda entry: entry["grouping"] == CLASS)


def _subset_view(verdict: Mapping[str, Any], subset: Mapping[str, Any], minus: str) -> dict[str, Any]:
    tables = [
        {
            "grouping": entry["grouping"],
            "in_test": entry.get("in_test", True),
            "losing": sum(bool(row["loses_more"]) for row in entry["groups"]),
            "left_out": max(len(entry["groups"]) - MOST_ROWS, 0),
            "rows": entry["groups"][:MOST_ROWS],
        }
        for entry in _tables_of(verdict, subset)
    ]
    return {
        "title": titled_share(subset),
        "keep": float(subset["keep"]),
        "minus_full": _difference(subset.get("minus_full"), minus),
        "tables": tables,
    }


def _difference(difference: Any, minus: str) -> str:
    """A difference [mean, low, high], of which the ends may be unknown."""
    if difference is None or not is_number(difference[0]):
        return NOT_MEASURED
    interval = f" {points_interval(difference[1:], minus=minus)}" if is_number(difference[1]) else ""
    return points(difference[0], minus=minus) + interval
