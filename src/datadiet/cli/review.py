"""`datadiet review`: a page to decide on suspects by keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, command
from datadiet.cli.printing import display, show
from datadiet.jobs.options import ReviewOptions


@command("review suspects.parquet --limit 1000", order="by limit")
def review(
    suspects: Annotated[Path, typer.Argument(help="What `datadiet suspects` wrote, or a score table.")],
    as_json: AsJson = False,
    **options: Unpack[ReviewOptions],
) -> None:
    """Write a page on which suspects are kept, relabelled or dropped."""
    from datadiet.jobs.review import review as write_page

    with display(options) as shown:
        written = write_page(suspects, **options)
    following = [f"  {written.export}"] if written.export is not None else []
    of_all = f" of {written.in_all:,}" if written.n < written.in_all else ""
    show(
        as_json,
        written.as_dict(),
        f"{written.n:,}{of_all} examples to review: {written.out}",
        *([written.why] if written.why else []),
        f"Open it in a browser (? lists the keys), download decisions.json{', then:' if following else '.'}",
        *following,
        said=shown.said,
    )
