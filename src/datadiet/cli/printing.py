"""What commands print: tables and sentences for people, one JSON object for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from datadiet.cli.wording import as_flags
from datadiet.foundation.options import options_of
from datadiet.foundation.progress import ProgressDisplay
from datadiet.jobs.options import DataOptions

WIDE = 140  # columns of a terminal that a table of subsets needs for one line a row


@contextmanager
def display(options: Any) -> Iterator[ProgressDisplay]:
    """Inside, the option `display` of a command: notes and progress on standard error, of the main process only."""
    enabled = None if is_main_process() else False
    with ProgressDisplay(enabled, wording=in_flags) as shown:
        options["display"] = shown
        yield shown


def in_flags(sentence: str) -> str:
    """What is said of data and plans, in the words of who types flags."""
    return as_flags(
        sentence, {name: f"--{name.replace('_', '-')}" for name in (*options_of(DataOptions), "tolerance")}
    )


def is_main_process() -> bool:
    """Whether this process is the one of several that speaks."""
    return os.environ.get("RANK", "0") == "0"


def show(
    as_json: bool, data: Mapping[str, Any], *told: str | Callable[[], None], said: Iterable[str] = ()
) -> None:
    """What a command came to: one JSON object of ASCII characters, or lines for people, or what prints them.

    Args:
        as_json: whether a program reads it.
        data: of the object.
        told: to people.
        said: the sentences that a display said meanwhile; the object has them and those of `data` under "notes".
    """
    if not is_main_process():
        return
    if as_json:
        data = {**data, "notes": list(dict.fromkeys([*said, *data.get("notes", ())]))}
        sys.stdout.write(json.dumps(data, ensure_ascii=True) + "\n")
        return
    for one in told:
        typer.echo(one) if isinstance(one, str) else one()


def say(shown: Any, *, wrap: bool = False) -> None:
    """Print a table, or a text as it is; without `wrap` a text is one line however wide the screen is."""
    if isinstance(shown, str):
        Console().print(shown, markup=False, highlight=False, soft_wrap=not wrap)
    elif shown is not None:
        Console().print(shown)


def print_verdict(verdict: Any, as_json: bool, said: Iterable[str]) -> None:
    """A verdict as a table and a sentence, or as JSON with what was said."""
    folder = verdict.folder
    show(
        as_json,
        {**verdict.data, "folder": None if folder is None else str(folder)},
        lambda: _tell_verdict(verdict),
        said=said,
    )


def _tell_verdict(verdict: Any) -> None:
    from datadiet.pages import report

    data, folder = verdict.data, verdict.folder
    warnings = [f"Warning: {warning}" for warning in report.first_warnings(data)]
    sentences = (report.verdict_sentence(data), report.not_trained_sentence(data), report.next_sentence(data))
    costs = (report.cost_table(data), report.cost_sentence(data), report.times_table(data))
    tables = (report.verdict_table(data, narrow=Console().width < WIDE), report.metrics_table(data))
    for shown in (
        *tables,
        *sentences,
        *warnings,
        *costs,
        report.groups_table(data),
        report.sparse_table(data),
        report.wrong_labels_sentence(data),
    ):
        if shown:
            say(shown)
    if folder is not None:
        page = folder / "report.html"
        say(str(page if page.exists() else folder))


def print_kept_shares(shares: dict[str, list[dict[str, Any]]], most: int = 20) -> None:
    """How much of each group stays, smallest share first; `shares` has the rows of each grouping."""
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
    say(table)


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

    width = max(map(len, STUDIES))
    listed = [{"name": s.name, "title": s.title, "source": s.source} for s in STUDIES.cards()]
    show(as_json, {"studies": listed}, *(f"{s.name:<{width}}  {s.title}" for s in STUDIES.cards()))


def print_plan(name: str, planned: Any, as_json: bool, said: Iterable[str]) -> None:
    """The runs of a study and what they will cost."""
    from datadiet.pages.numbers import rough_duration

    rows = [
        {"what": c.planned.what, "runs": c.planned.runs, "steps": c.planned.steps, "seconds": c.seconds}
        for c in planned
    ]
    total = sum(c.seconds for c in planned)
    show(
        as_json,
        {"study": name, "plan": rows, "seconds": total},
        *(
            f"{row['runs']:>5,} {row['what']}, {row['steps']:,} steps each: about {rough_duration(row['seconds'])}"
            for row in rows
        ),
        f"about {rough_duration(total)} in all, less what the workspace has already; nothing was started",
        said=said,
    )


def _interval_in_words(facts: dict[str, Any]) -> str:
    """The interval of a claim's quantity."""
    if facts["exact"]:
        return "exact"
    low, high = facts["interval"]
    if low is None and high is None:
        return "interval not known"
    return " to ".join("not known" if bound is None else f"{bound:+.4g}" for bound in (low, high))


def print_study(result: Any) -> None:
    """What became of a study's claims, and where its tables and figures are."""
    for finding in result.findings:
        facts = finding.as_dict()
        outcome = "FAILS" if finding.outcome == "fails" else finding.outcome
        line = f"{outcome:>9}  {facts['sentence']}"
        if facts["measured"] is not None:
            found = f"{facts['quantity']}: {facts['measured']:+.4g}, {_interval_in_words(facts)}"
            line += f" [{found}, {facts['n']} {facts['unit']}]"
        say(line)
        if finding.outcome in ("undecided", "not asked"):
            say(f"{'':>11}{facts['reason']}")
    say(f"{result.trained} runs trained, {result.reused} found in the workspace: {result.folder}")
