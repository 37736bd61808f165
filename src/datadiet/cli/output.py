"""What commands print: tables and sentences for people, one JSON object for programs."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import typer


def display() -> Any:
    """Progress on standard error, of the main process only."""
    from datadiet.foundation.progress import ProgressDisplay

    return ProgressDisplay(enabled=None if is_main_process() else False)


def is_main_process() -> bool:
    """Whether this process is the one of several that speaks."""
    return os.environ.get("RANK", "0") == "0"


def print_json(data: dict[str, Any]) -> None:
    """One JSON object on standard output, of ASCII characters only."""
    sys.stdout.write(json.dumps(data, ensure_ascii=True) + "\n")


def print_verdict(verdict: Any, as_json: bool) -> None:
    """A verdict as a table and a sentence, or as JSON."""
    if not is_main_process():
        return
    if as_json:
        folder = None if verdict.folder is None else str(verdict.folder)
        print_json({**verdict.data, "folder": folder})
        return
    from rich.console import Console

    from datadiet.pages.report import first_warnings, groups_table, metrics_table, times_table, verdict_table
    from datadiet.pages.report.tables import sparse_table

    console = Console()
    console.print(verdict_table(verdict.data))
    metrics = metrics_table(verdict.data)
    if metrics is not None:
        console.print(metrics)
    console.print(str(verdict), markup=False, highlight=False, soft_wrap=True)
    for warning in first_warnings(verdict.data):
        console.print(f"Warning: {warning}", markup=False, highlight=False, soft_wrap=True)
    for more in (times_table(verdict.data), groups_table(verdict.data), sparse_table(verdict.data)):
        if more is not None:
            console.print(more)
    if verdict.folder is not None:
        page = verdict.folder / "report.html"
        console.print(
            str(page if page.exists() else verdict.folder), markup=False, highlight=False, soft_wrap=True
        )


def print_kept_shares(shares: dict[str, list[dict[str, Any]]], most: int = 20) -> None:
    """How much of each group stays, smallest share first; `shares` has the rows of each grouping."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from datadiet.pages.numbers import count, share
    from datadiet.pages.report import printable

    table = Table("group")
    for name in ("stay", "examples", "of"):
        table.add_column(name, justify="right")
    for grouping, rows in shares.items():
        more = f", {len(rows) - most} more" if len(rows) > most else ""
        table.add_row(Text(f"by {printable(grouping, 40)}{more}", style="bold"))
        for row in rows[:most]:
            part = "-" if row["kept_share"] is None else share(row["kept_share"])
            name = printable(row["group"], 40) or "(no name)"
            table.add_row(*map(Text, (f"  {name}", part, count(row["n_kept"]), count(row["n_train"]))))
        table.add_section()
    Console().print(table)


def explain_rules() -> None:
    """Every rule of selection: when to use it, and when it fails."""
    from datadiet.selection import rule_cards

    for card in rule_cards():
        typer.echo(f"{card.name}\n  use:   {card.when}\n  fails: {card.fails}")


def explain_selectors() -> None:
    """Every dynamic selector: when to use it, when it fails, and its options."""
    from datadiet.dynamic import selector_cards

    for card in selector_cards():
        typer.echo(f"{card.name}\n  use:   {card.when}\n  fails: {card.fails}")
        for name, what in card.options.items():
            typer.echo(f"  {name}: {what}")
    typer.echo(
        "options of all: warmup, every, full_tail (epochs on everything, between choices, share at the end)"
    )


def print_studies(as_json: bool) -> None:
    """Every study, one line each."""
    from datadiet.studies import STUDIES

    if as_json:
        print_json(
            {"studies": [{"name": s.name, "title": s.title, "source": s.source} for s in STUDIES.cards()]}
        )
        return
    width = max(map(len, STUDIES))
    for found in STUDIES.cards():
        typer.echo(f"{found.name:<{width}}  {found.title}")


def print_plan(name: str, planned: Any, as_json: bool) -> None:
    """The runs of a study and what they will cost."""
    if not is_main_process():
        return
    if as_json:
        rows = [
            {"what": c.planned.what, "runs": c.planned.runs, "steps": c.planned.steps, "seconds": c.seconds}
            for c in planned
        ]
        print_json({"study": name, "plan": rows, "seconds": sum(c.seconds for c in planned)})
        return
    for cost in planned:
        item = cost.planned
        typer.echo(f"{item.runs:>5,} {item.what}, {item.steps:,} steps each: about {_duration(cost.seconds)}")
    total = sum(cost.seconds for cost in planned)
    typer.echo(f"about {_duration(total)} in all, less what the workspace has already; nothing was started")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_study(result: Any) -> None:
    """What became of a study's claims, and where its tables and figures are."""
    from rich.console import Console

    marks = {"holds": "holds", "fails": "FAILS", "undecided": "undecided"}
    console = Console()
    for finding in result.findings:
        facts = finding.as_dict()
        line = f"{marks[finding.outcome]:>9}  {facts['sentence']}"
        if facts["measured"] is not None:
            low, high = (
                "-inf" if bound is None else f"{bound:+.4g}" for bound in facts["interval"] or (None, None)
            )
            line += f" [{facts['quantity']}: {facts['measured']:+.4g}, {low} to {high}, {facts['n']} {facts['unit']}]"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        if facts["reason"] and finding.outcome == "undecided":
            console.print(f"{'':>11}{facts['reason']}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{result.trained} runs trained, {result.reused} found in the workspace: {result.folder}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
