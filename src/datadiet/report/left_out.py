"""Who is left out: the groups of a verdict as a table for the terminal and as a section of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datadiet.report.numbers import (
    NOT_MEASURED,
    count,
    is_number,
    percent,
    percent_interval,
    points,
    points_interval,
    share,
)
from datadiet.report.plain import is_same_subset, subset_title
from datadiet.report.safe_text import printable

if TYPE_CHECKING:
    from rich.table import Table

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
