"""`datadiet pool`: what to add from a weakly labelled or unlabelled pool."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from datadiet.cli.options import AsJson, Data, Machine, RecipeFlags, Seed, command, data_options, preparing
from datadiet.cli.output import display, is_main_process, print_json


@command
def pool(
    base: Annotated[str, typer.Argument(help="The labelled data, as for `run`.")],
    pool: Annotated[
        str,
        typer.Argument(
            help="The pool, with inputs in columns of the same names: with hypotheses it is added to BASE, without "
            "it is listed for labelling."
        ),
    ],
    pick: Annotated[int, typer.Option(help="How many rows to pick, exactly.")],
    by: Annotated[
        str,
        typer.Option(
            help="entropy, el2n, margin, logit_margin, least_confidence, or random; labels do not count."
        ),
    ] = "entropy",
    end: Annotated[
        str,
        typer.Option(help="hardest: what the models are least sure of; easiest: what they are surest of."),
    ] = "hardest",
    window: Annotated[
        float | None, typer.Option(help="Share of the least sure rows that is passed over first.")
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(help="Leave out less confident rows, by the pool's column, else by the models."),
    ] = None,
    hypothesis: Annotated[
        str | None,
        typer.Option(help="The pool's column of hypotheses [BASE's label column, or 'hypothesis']."),
    ] = None,
    hypothesis_tags: Annotated[
        str | None, typer.Option(help="The pool's column of hypothesised tags [BASE's].")
    ] = None,
    confidence: Annotated[
        str | None, typer.Option(help="The pool's column of confidences ['confidence' if there].")
    ] = None,
    defect: Annotated[
        str | None, typer.Option(help="A column of the pool; rows where it is true are left out.")
    ] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Do not read hypotheses: list what to label next.")
    ] = False,
    seeds: Annotated[int, typer.Option(help="Models that scores are averaged over.")] = 3,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.")] = None,
    as_json: AsJson = False,
    *,
    data: Data,
    recipe: RecipeFlags,
    machine: Machine,
) -> None:
    """Choose what to add from a weakly labelled or unlabelled pool."""
    from datadiet.jobs.pool.job import pool as pick_from_pool

    with display() as shown:
        pooled = pick_from_pool(
            base,
            pool,
            pick=pick,
            by=by,
            end=end,
            window=window,
            min_confidence=min_confidence,
            hypothesis=hypothesis,
            hypothesis_tags=hypothesis_tags,
            confidence=confidence,
            defect=defect,
            unlabelled=unlabelled,
            seeds=seeds,
            seed=seed,
            out=out,
            load_options=data_options(data),
            command=sys.argv,
            display=shown,
            **preparing(recipe, machine),
        )
    if not is_main_process():
        return
    if as_json:
        print_json({**pooled.data, "ids": pooled.ids.tolist(), "folder": str(pooled.folder)})
    else:
        typer.echo(str(pooled))
        typer.echo(str(pooled.folder / ("augmented" if pooled.weak else "to_label.csv")))
