"""`datadiet verify`: a sample of a score table computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, command
from datadiet.cli.printing import display, show
from datadiet.jobs.options import VerifyOptions


@command("verify runs/digits/scores.parquet --sample 100", order="source sample")
def verify(
    scores: Annotated[Path, typer.Argument(help="A score table.")],
    as_json: AsJson = False,
    **options: Unpack[VerifyOptions],
) -> None:
    """Compute a sample of a score table again from its checkpoints and compare."""
    from datadiet.jobs.verify import verify as verify_table

    with display(options) as shown:
        outcome = verify_table(scores, **options)
    show(as_json, outcome.as_dict(), str(outcome), said=shown.said)
    if not outcome.agrees:
        raise typer.Exit(1)
