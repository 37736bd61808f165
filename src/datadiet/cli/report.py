"""`datadiet report`: the page of a finished run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, command
from datadiet.cli.printing import display, show
from datadiet.jobs.options import ReportOptions


@command("report runs/digits", order="source")
def report(
    folder: Annotated[Path, typer.Argument(help="The folder that `datadiet run` wrote.")],
    as_json: AsJson = False,
    **options: Unpack[ReportOptions],
) -> None:
    """Write the HTML page of a finished run again."""
    from datadiet.jobs.report import rewrite_report

    with display(options) as shown:
        page = str(rewrite_report(folder, **options))
    show(as_json, {"report": page}, page, said=shown.said)
