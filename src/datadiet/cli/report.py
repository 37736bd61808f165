"""`datadiet report`: the page of a finished run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, command
from datadiet.cli.printing import show
from datadiet.jobs.options import SourceOption


@command("report runs/digits", order="source")
def report(
    folder: Annotated[Path, typer.Argument(help="The folder that `datadiet run` wrote.")],
    as_json: AsJson = False,
    **options: Unpack[SourceOption],
) -> None:
    """Write the HTML page of a finished run again."""
    from datadiet.jobs.report import rewrite_report

    page = str(rewrite_report(folder, **options))
    show(as_json, {"report": page}, page)
