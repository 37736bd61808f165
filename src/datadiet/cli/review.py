"""`datadiet review`: a page to decide on suspects by keyboard."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from datadiet.cli.options import AsJson, Data, command, data_options
from datadiet.cli.output import print_json


@command
def review(
    suspects: Annotated[Path, typer.Argument(help="What `datadiet suspects` wrote, or a score table.")],
    by: Annotated[
        str | None, typer.Option(help="The score that a score table is ranked by; may be left out for one.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many, the most suspicious first.")] = 5000,
    source: Annotated[str | None, typer.Option(help="The data, when it has moved.")] = None,
    out: Annotated[Path | None, typer.Option(help="The page [review.html beside the suspects].")] = None,
    as_json: AsJson = False,
    *,
    data: Data,
) -> None:
    """Write a page on which suspects are kept, relabelled or dropped."""
    from datadiet.jobs.review import review as write_page

    written = write_page(
        suspects, out=out, limit=limit, source=source, by=by, load_options=data_options(data)
    )
    if as_json:
        print_json(written.as_dict())
        return
    of_all = f" of {written.in_all:,}" if written.n < written.in_all else ""
    typer.echo(f"{written.n:,}{of_all} examples to review: {written.out}")
    typer.echo("Open it in a browser (? lists the keys), download decisions.json, then:")
    typer.echo(f"  datadiet export {shlex.quote(written.source)} --decisions decisions.json --to DIR")
