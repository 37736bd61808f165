"""The command line: one file a command, each a thin call of one public function."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from datadiet import __version__
from datadiet.cli.command import app as app
from datadiet.cli.command import tell
from datadiet.cli.endings import prepare
from datadiet.foundation.errors import DataDietError

# Importing a file makes its command; the order here is that of the help.
# isort: off
from datadiet.cli import run as run
from datadiet.cli import score as score
from datadiet.cli import keep as keep
from datadiet.cli import compare as compare
from datadiet.cli import agree as agree
from datadiet.cli import tune as tune
from datadiet.cli import export as export
from datadiet.cli import pool as pool
from datadiet.cli import study as study
from datadiet.cli import report as report
from datadiet.cli import suspects as suspects
from datadiet.cli import review as review
from datadiet.cli import verify as verify

# isort: on


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


def main() -> None:
    """Entry point of `datadiet`."""
    code: object = 0
    try:
        prepare()
        try:
            app()
        except SystemExit as ended:
            code = ended.code
        sys.stdout.flush()
    except DataDietError as error:
        tell(str(error))
        code = code or error.exit_code
    sys.exit(code)  # type: ignore[arg-type]
