"""What commands print: tables and sentences for people, one JSON object for programs."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import typer


def display() -> Any:
    """Progress on standard error, of the main process only."""
    from datadiet.progress import ProgressDisplay

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

    from datadiet.report import verdict_table

    console = Console()
    console.print(verdict_table(verdict.data))
    console.print(str(verdict), markup=False, highlight=False, soft_wrap=True)
    if verdict.folder is not None:
        page = verdict.folder / "report.html"
        console.print(
            str(page if page.exists() else verdict.folder), markup=False, highlight=False, soft_wrap=True
        )


def explain_rules() -> None:
    """Every rule of selection: when to use it, and when it fails."""
    from datadiet.selection import rule_cards

    for card in rule_cards():
        typer.echo(f"{card.name}\n  use:   {card.when}\n  fails: {card.fails}")
