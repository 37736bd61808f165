"""`datadiet agree`: where score tables and kept files differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, command
from datadiet.cli.output import explain_rules, say, show
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.options import AgreeOptions

if TYPE_CHECKING:
    from datadiet.jobs.agree import Agreement


MOST_ROWS = 20
SHOWN_FRACTIONS = (0.1, 0.3, 0.5, 0.7)


@command(
    "agree runs/a/scores.parquet runs/b/scores.parquet --by el2n",
    order="scores keep rule start end per_class any_data",
)
def agree(
    tables: Annotated[
        list[str] | None,
        typer.Argument(help="Score tables and kept files, as FILE or NAME=FILE; one table: its own scores."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the table and the figure.")] = Path("agreement"),
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
    from datadiet.jobs.checks import check_folder

    check_folder(out)
    found = agree_on(_named(tables), **options)
    found.write(out)
    show(as_json, {"out": str(out), **found.to_dict()}, lambda: _print(found, out))


def _named(tables: list[str]) -> Any:
    """Names and files where any is named, else the files alone."""
    pairs: list[tuple[str | None, str]] = []
    for item in tables:
        name, equals, path = item.partition("=")
        pairs.append((name, path) if equals and not Path(item).exists() else (None, item))
    if all(name is None for name, _ in pairs):
        return [path for _, path in pairs]
    named: dict[str, str] = {}
    for given, path in pairs:
        name = given or Path(path).stem
        if name in named:
            raise BadInputError(f"Two files are named {name!r}; name them apart, as NAME=FILE.")
        named[name] = path
    return named


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


def _pairs_table(found: Agreement) -> tuple[Any, int]:
    """Every pair in a row, those that agree least first; and how many are left out."""
    from rich.markup import escape
    from rich.table import Table

    correlations = {(row["first"], row["second"]): row for row in found.correlations()}
    of_pair: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in found.pairs:
        of_pair.setdefault((row["first"], row["second"]), []).append(row)
    fractions = _some({row["keep"] for pair in correlations for row in of_pair[pair]})
    table = Table(title="Overlap of what stays, beside what chance gives", title_justify="left")
    table.add_column("pair")
    for title in ("Spearman", "Kendall") if correlations else ():
        table.add_column(title, justify="right")
    for fraction in fractions:
        table.add_column(f"{100 * fraction:g} % kept", justify="right")
    if len(of_pair) > len(correlations):
        table.add_column("kept file", justify="right")

    def worth(pair: tuple[str, str]) -> float:
        value = correlations.get(pair, {}).get("spearman")
        return float(value if value is not None else of_pair[pair][0]["overlap"])

    for pair in sorted(of_pair, key=worth)[:MOST_ROWS]:
        cells = [escape(" – ".join(pair))]
        rows = {row["keep"]: row for row in of_pair[pair]}
        scored = pair in correlations
        if correlations:
            row = correlations.get(pair, {})
            cells += [_with_interval(row, "spearman"), _with_interval(row, "kendall")]
        cells += [_shared(rows[fraction]) if scored else "" for fraction in fractions]
        if len(of_pair) > len(correlations):
            cells.append("" if scored else _shared(of_pair[pair][0]))
        table.add_row(*cells)
    return table, max(0, len(of_pair) - MOST_ROWS)


def _balance_table(found: Agreement) -> Any:
    """How far each choice moves the classes, and which grows most."""
    from rich.markup import escape
    from rich.table import Table

    fractions = _some({row["keep"] for row in found.balance if row["name"] not in _once(found)})
    table = Table(
        title="Classes moved (total variation), and the class that grows most", title_justify="left"
    )
    table.add_column("choice")
    for fraction in fractions:
        table.add_column(f"{100 * fraction:g} % kept", justify="right")
    if _once(found):
        table.add_column("kept file", justify="right")
    for name in dict.fromkeys(row["name"] for row in found.balance):
        rows = {row["keep"]: row for row in found.balance if row["name"] == name}
        alone = name in _once(found)
        cells = ["" if alone else _moved(rows[fraction]) for fraction in fractions]
        if _once(found):
            cells.append(_moved(next(iter(rows.values()))) if alone else "")
        table.add_row(escape(name), *cells)
    return table


def _once(found: Agreement) -> set[str]:
    """Names of the kept files."""
    scored = {name for row in found.correlations() for name in (row["first"], row["second"])}
    listed = [row["name"] for row in found.balance]
    return {name for name in listed if name not in scored and listed.count(name) == 1}


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
    from rich.markup import escape

    return f"{100 * row['total_variation']:.1f} % ({escape(str(row['largest_class']))} × {row['largest_ratio']:.2f})"
