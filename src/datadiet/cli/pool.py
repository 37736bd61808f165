"""`datadiet pool`: what to add from a weakly labelled or unlabelled pool."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, command
from datadiet.cli.printing import display, show
from datadiet.jobs.options import PoolOptions


@command(
    "pool labelled.parquet logs.parquet --pick 2000 --by entropy --defect complaint",
    order="pick by end window min_confidence hypothesis hypothesis_tags confidence defect unlabelled",
)
def pool(
    base: Annotated[str, typer.Argument(help="The labelled data, as for `run`.")],
    pool: Annotated[
        str,
        typer.Argument(
            help="The pool, with inputs in columns of the same names: with hypotheses it is added to BASE, without "
            "it is listed for labelling."
        ),
    ],
    as_json: AsJson = False,
    **options: Unpack[PoolOptions],
) -> None:
    """Choose what to add from a weakly labelled or unlabelled pool."""
    from datadiet.jobs.pool.job import pool as pick_from_pool

    options["command"] = sys.argv
    with display(options) as shown:
        pooled = pick_from_pool(base, pool, **options)
    facts = {**pooled.data, "ids": pooled.ids.tolist(), "folder": str(pooled.folder)}
    written = pooled.folder / ("augmented" if pooled.weak else "to_label.csv")
    show(as_json, facts, str(pooled), str(written), said=shown.said)
