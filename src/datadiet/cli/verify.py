"""`datadiet verify`: a sample of a score table computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datadiet.cli.options import AsJson, Data, Machine, Seed, command, data_options, machine_options
from datadiet.cli.output import print_json


@command
def verify(
    scores: Annotated[Path, typer.Argument(help="A score table.")],
    source: Annotated[str | None, typer.Option(help="The data, when it has moved.")] = None,
    sample: Annotated[int, typer.Option(help="Examples that are computed again.")] = 100,
    seed: Seed = 0,
    as_json: AsJson = False,
    *,
    data: Data,
    machine: Machine,
) -> None:
    """Compute a sample of a score table again from its checkpoints and compare."""
    from datadiet.jobs.verify import verify as verify_table

    outcome = verify_table(
        scores,
        source=source,
        sample=sample,
        seed=seed,
        load_options=data_options(data),
        **machine_options(machine),
    )
    if as_json:
        print_json(outcome.as_dict())
    else:
        typer.echo(str(outcome))
    if not outcome.agrees:
        raise typer.Exit(1)
