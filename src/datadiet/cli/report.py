"""`datadiet report`: the page of a finished run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datadiet.cli.options import AsJson, Data, command, data_options
from datadiet.cli.output import print_json


@command
def report(
    folder: Annotated[Path, typer.Argument(help="The folder that `datadiet run` wrote.")],
    source: Annotated[str | None, typer.Option(help="The data, when it has moved.")] = None,
    as_json: AsJson = False,
    *,
    data: Data,
) -> None:
    """Write the HTML page of a finished run again."""
    from datadiet.jobs.report import rewrite_report

    page = rewrite_report(folder, source, data_options(data))
    if as_json:
        print_json({"report": str(page)})
    else:
        typer.echo(str(page))
