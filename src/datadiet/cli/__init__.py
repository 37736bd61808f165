"""The command line: one file a command, each a thin call of one public function."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from datadiet import __version__
from datadiet.cli.agree import agree
from datadiet.cli.compare import compare
from datadiet.cli.export import export
from datadiet.cli.keep import keep
from datadiet.cli.pool import pool
from datadiet.cli.report import report
from datadiet.cli.review import review
from datadiet.cli.run import run
from datadiet.cli.score import score
from datadiet.cli.study import study
from datadiet.cli.suspects import suspects
from datadiet.cli.tune import tune
from datadiet.cli.verify import verify

app = typer.Typer(
    name="datadiet",
    help="Find out which of your training examples matter.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"datadiet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Score training examples, keep those that matter, and see what it costs."""


app.command(epilog="Example: datadiet run digits --keep 0.7,0.5 --out runs/digits")(run)
app.command(
    epilog="Example: datadiet score digits --scores el2n,forgetting --at-epoch 5,10 --out scores.parquet"
)(score)
app.command(epilog="Example: datadiet keep scores.parquet --by el2n --keep 0.5 --out kept.parquet")(keep)
app.command(epilog="Example: datadiet compare digits --kept el2n=kept.parquet --seeds 3")(compare)
app.command(epilog="Example: datadiet agree runs/a/scores.parquet runs/b/scores.parquet --by el2n")(agree)
app.command(epilog="Example: datadiet tune digits --score el2n --keep 0.5 --trials 20")(tune)
app.command(epilog="Example: datadiet export photos/ --kept kept.parquet --to smaller")(export)
app.command(
    epilog="Example: datadiet pool labelled.parquet logs.parquet --pick 2000 --by entropy --defect complaint"
)(pool)
app.command(epilog="Example: datadiet study keep-fraction digits --scale smoke")(study)
app.command(epilog="Example: datadiet report runs/digits")(report)
app.command(epilog="Example: datadiet suspects scores.parquet --top 20 --out suspects.parquet")(suspects)
app.command(epilog="Example: datadiet review suspects.parquet --limit 1000")(review)
app.command(epilog="Example: datadiet verify runs/digits/scores.parquet --sample 100")(verify)


def main() -> None:
    """Entry point of `datadiet`; a model may be a `package.module:factory` of the current folder."""
    sys.path.append(str(Path.cwd()))  # at the end, so that no file there hides an installed package
    app()
