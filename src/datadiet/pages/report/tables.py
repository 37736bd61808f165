"""Tables beside the verdict, for the terminal and the page: further metrics, sparse networks, and who is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datadiet.pages.report.plain import accuracy_title, is_same_subset, points_with_interval, subset_title
from datadiet.pages.text import (
    NOT_MEASURED,
    compact,
    count,
    is_number,
    percent,
    percent_interval,
    points,
    points_interval,
    printable,
    rounded,
    share,
)

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


CLASS = "class"
MOST_ROWS = 50  # of a grouping on the page; all are in groups.parquet
MOST_WARNINGS = 5
TERMINAL_ROWS = 8
BAR = 100.0
LOSES = "▼"


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
        what = "group loses" if more == 1 else "groups lose"
        found[MOST_WARNINGS:] = [
            f"{count(more)} more {what} more than the whole; groups.parquet has all of them."
        ]
    return found


def groups_table(verdict: Mapping[str, Any]) -> Table | None:
    """The groups that the shown subset treats worst, for `rich` to print; None when no column was asked for.

    >>> groups_table({"subsets": []}) is None
    True
    """
    from rich.table import Table
    from rich.text import Text

    subset = shown_subset(verdict)
    tables = [] if subset is None else _tables_of(verdict, subset)
    if subset is None or all(entry["grouping"] == CLASS for entry in tables):
        return None
    title = f"Who is left out of {subset_title(subset)}, {share(subset['keep'])}, worst first"
    loses = any(row["loses_more"] for entry in tables for row in entry["groups"][:TERMINAL_ROWS])
    caption = Text(f"{LOSES} loses more than the whole, beyond chance") if loses else None
    table = Table(title=Text(title), title_justify="left", caption=caption, caption_justify="left")
    table.add_column("group", overflow="fold")
    for name in ("stay", "examples", "accuracy %", "minus full"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in tables:
        rows = entry["groups"][:TERMINAL_ROWS]
        rest = len(entry["groups"]) - len(rows)
        more = f", {rest} more" if rest else ""
        table.add_row(Text(f"by {printable(str(entry['grouping']), 40)}{more}", style="bold"))
        for row in rows:
            cells = [
                f"{LOSES if row['loses_more'] else ' '} {printable(str(row['group']), 40) or '(no name)'}",
                NOT_MEASURED if row["kept_share"] is None else share(row["kept_share"]),
                count(row["n_train"]),
                NOT_MEASURED if row["accuracy"] is None else percent(row["accuracy"][0], sign=False),
                _difference(row["minus_full"], "-"),
            ]
            table.add_row(*map(Text, cells), style="yellow" if row["loses_more"] else None)
        table.add_section()
    return table


def left_out_view(verdict: Mapping[str, Any], minus: str) -> dict[str, Any]:
    """What the page's section shows: the groups of the shown subset, and folded those of the others.

    >>> left_out_view({}, "-")["shown"] is None
    True
    """
    subset = shown_subset(verdict)
    others = [
        other
        for other in sorted(verdict.get("subsets", ()), key=lambda other: -float(other["keep"]))
        if other["score"] != "random" and subset is not None and not is_same_subset(other, subset)
    ]
    shown = None if subset is None else _subset_view(verdict, subset, minus)
    notes = [note for grouping in verdict.get("groupings") or () for note in grouping.get("notes") or ()]
    return {
        "shown": shown if shown is not None and shown["tables"] else None,
        "recommended": verdict.get("recommended") is not None,
        "others": [view for other in others if (view := _subset_view(verdict, other, minus))["tables"]],
        "notes": notes,
    }


def _tables_of(verdict: Mapping[str, Any], subset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tables of a subset, the columns that were asked for before the classes."""
    found = [entry for entry in verdict.get("groups") or () if is_same_subset(entry, subset)]
    return sorted(found, key=lambda entry: entry["grouping"] == CLASS)


def _subset_view(verdict: Mapping[str, Any], subset: Mapping[str, Any], minus: str) -> dict[str, Any]:
    return {
        "title": f"{subset_title(subset)}, {share(subset['keep'])}",
        "keep": float(subset["keep"]),
        "minus_full": _difference(subset.get("minus_full"), minus),
        "tables": [_table_view(entry, float(subset["keep"]), minus) for entry in _tables_of(verdict, subset)],
    }


def _table_view(entry: Mapping[str, Any], keep: float, minus: str) -> dict[str, Any]:
    rows: Sequence[Mapping[str, Any]] = entry["groups"]
    return {
        "grouping": entry["grouping"],
        "in_test": entry.get("in_test", True),
        "losing": sum(bool(row["loses_more"]) for row in rows),
        "left_out": max(len(rows) - MOST_ROWS, 0),
        "mark": round(BAR * keep, 2),
        "rows": [_row_view(row, minus) for row in rows[:MOST_ROWS]],
    }


def _row_view(row: Mapping[str, Any], minus: str) -> dict[str, Any]:
    stay, accuracy, difference = row["kept_share"], row["accuracy"], row["minus_full"]
    return {
        **{key: row[key] for key in ("group", "n_train", "n_test", "loses_more")},
        "n_kept": round(row["n_kept"]),
        "stay": None if stay is None else share(stay),
        "width": None if stay is None else round(BAR * stay, 2),
        "accuracy": None if accuracy is None else percent(accuracy[0]),
        "interval": percent_interval(None if accuracy is None else accuracy[1:]),
        "difference": None if difference is None else points(difference[0], minus=minus),
        "difference_interval": None if difference is None else _interval(difference, minus),
    }


def _difference(difference: Any, minus: str) -> str:
    if difference is None or not is_number(difference[0]):
        return NOT_MEASURED
    return f"{points(difference[0], minus=minus)} {_interval(difference, minus)}".strip()


def _interval(difference: Sequence[Any], minus: str) -> str:
    return points_interval(difference[1], difference[2], minus=minus) if is_number(difference[1]) else ""
