"""`datadiet agree`: where score tables and kept files differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, command
from datadiet.cli.printing import explain_rules, say, show
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import named_files
from datadiet.jobs.options import AgreeOptions

if TYPE_CHECKING:
    from datadiet.jobs.agree import Agreement


MOST_ROWS = 20
SHOWN_FRACTIONS = (0.1, 0.3, 0.5, 0.7)


@command(
    "agree runs/a/scores.parquet runs/b/scores.parquet --by el2n",
    order="scores keep rule start end per_class any_data out overwrite",
)
def agree(
    tables: Annotated[
        list[str] | None,
        typer.Argument(help="Score tables and kept files, as FILE or NAME=FILE; one table: its own scores."),
    ] = None,
    as_json: AsJson = False,
    **options: Unpack[AgreeOptions],
) -> None:
    """See where scores and selections differ: rank correlation, overlap, class balance."""
    if options.get("rule") == "help":
        explain_rules()
        return
    if not tables:
        raise BadInputError("Give the score tables or kept files to compare.")
    from datadiet.jobs.agree import agree as agree_on

    named = any("=" in item and not Path(item).exists() for item in tables)
    found = agree_on(named_files(tables) if named else tables, default="agreement", **options)
    out = found.folder or Path("agreement")
    show(as_json, {"out": str(out), **found.to_dict()}, lambda: _print(found, out))


def _print(found: Agreement, out: Path) -> None:
    shown, hidden = _pairs_table(found)
    say(shown)
    if hidden:
        say(f"{hidden} more pairs, which agree better, are in {out / 'agreement.csv'}.", wrap=True)
    if found.balance:
        say(_balance_table(found))
    for note in found.notes:
        say(note, wrap=True)
    say(str(out))


def _pairs_table(found: Agreement) -> tuple[Table, int]:
    """Every pair in a row, those that agree least first; and how many are left out."""
    correlations = {(row["first"], row["second"]): row for row in found.correlations()}
    of_pair: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in found.pairs:
        of_pair.setdefault((row["first"], row["second"]), []).append(row)
    fractions = _some({row["keep"] for pair in correlations for row in of_pair[pair]})
    kept_files = len(of_pair) > len(correlations)

    def worth(pair: tuple[str, str]) -> float:
        value = correlations.get(pair, {}).get("spearman")
        return float(value if value is not None else of_pair[pair][0]["overlap"])

    table = _table(
        "Overlap of what stays, beside what chance gives",
        "pair",
        ("Spearman", "Kendall") if correlations else (),
        fractions,
        kept_files,
    )
    for pair in sorted(of_pair, key=worth)[:MOST_ROWS]:
        row, rows = correlations.get(pair, {}), {row["keep"]: row for row in of_pair[pair]}
        cells = [_with_interval(row, name) for name in ("spearman", "kendall") if correlations]
        cells += [_shared(rows[fraction]) if row else "" for fraction in fractions]
        if kept_files:
            cells.append("" if row else _shared(of_pair[pair][0]))
        table.add_row(escape(" – ".join(pair)), *cells)
    return table, max(0, len(of_pair) - MOST_ROWS)


def _balance_table(found: Agreement) -> Table:
    """How far each choice moves the classes, and which grows most."""
    scored = {name for row in found.correlations() for name in (row["first"], row["second"])}
    listed = [row["name"] for row in found.balance]
    kept_files = {name for name in listed if name not in scored and listed.count(name) == 1}
    fractions = _some({row["keep"] for row in found.balance if row["name"] not in kept_files})
    title = "Classes moved (total variation), and the class that grows most"
    table = _table(title, "choice", (), fractions, bool(kept_files))
    for name in dict.fromkeys(listed):
        rows = {row["keep"]: row for row in found.balance if row["name"] == name}
        alone = name in kept_files
        cells = ["" if alone else _moved(rows[fraction]) for fraction in fractions]
        if kept_files:
            cells.append(_moved(next(iter(rows.values()))) if alone else "")
        table.add_row(escape(name), *cells)
    return table


def _table(
    title: str, first: str, measures: Sequence[str], fractions: list[float], kept_files: bool
) -> Table:
    """An empty table with a column for each measure, each fraction, and, if there are any, for kept files."""
    table = Table(first, title=title, title_justify="left")
    shares = [f"{100 * fraction:g} % kept" for fraction in fractions]
    for name in (*measures, *shares, *(["kept file"] if kept_files else [])):
        table.add_column(name, justify="right")
    return table


def _some(fractions: set[float]) -> list[float]:
    known = sorted(fractions)
    return [fraction for fraction in known if fraction in SHOWN_FRACTIONS] or known[:4]


def _with_interval(row: dict[str, Any], name: str) -> str:
    if row.get(name) is None:
        return "–"
    text = f"{row[name]:.3f}"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return text if low is None else f"{text} ({low:.3f} to {high:.3f})"


def _shared(row: dict[str, Any]) -> str:
    text = f"{100 * row['overlap']:.1f} %"
    return text if row["chance"] is None else f"{text} ({100 * row['chance']:.0f} %)"


def _moved(row: dict[str, Any]) -> str:
    return f"{100 * row['total_variation']:.1f} % ({escape(str(row['largest_class']))} × {row['largest_ratio']:.2f})"
