"""`datadiet score`: a score for every training example."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from datadiet.cli.options import (
    AsJson,
    Data,
    Encoder,
    Machine,
    RecipeFlags,
    Seed,
    command,
    data_options,
    names,
    numbers,
    preparing,
)
from datadiet.cli.output import display, is_main_process, print_json
from datadiet.foundation.errors import BadInputError


@command
def score(
    source: Annotated[str | None, typer.Argument(help="As for run; not with --from-logits.")] = None,
    scores: Annotated[
        list[str] | None, typer.Option(help="Scores [all that come for free; grand has to be asked for].")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Models that scores are averaged over.")] = 3,
    seed: Seed = 0,
    at_epoch: Annotated[
        str | None, typer.Option(help="Epochs of the scores, separated by commas [two fifths of the run].")
    ] = None,
    grand_parameters: Annotated[
        str | None,
        typer.Option(
            help="GraNd over all, head, or the parameters that a pattern matches [all; of a pre-trained model, head]."
        ),
    ] = None,
    encoder: Encoder = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Also write every example's embedding here, for rules of `keep` that need them."),
    ] = None,
    from_logits: Annotated[
        list[Path] | None,
        typer.Option(
            help="Logits as .npy instead of training: (n, classes), (epochs, n, classes), or a file an epoch."
        ),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels as .npy, with --from-logits.")] = None,
    out: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("scores.parquet"),
    as_json: AsJson = False,
    *,
    data: Data,
    recipe: RecipeFlags,
    machine: Machine,
) -> None:
    """Write a table with a score for every training example."""
    if (source is None) == (not from_logits):
        raise BadInputError("Give either a source to train on, or --from-logits with --labels.")
    from datadiet.jobs.checks import check_folder

    check_folder(out.parent)
    if embeddings is not None:
        check_folder(embeddings.parent)
        if from_logits:
            raise BadInputError("--embeddings needs a model or an encoder; logits alone give none.")
    if from_logits:
        from datadiet.scores.stream import score_logits

        if labels is None:
            raise BadInputError("--from-logits needs --labels, a .npy file with one label a row.")
        paths = list(from_logits)
        table = score_logits(
            paths[0] if len(paths) == 1 else paths,
            labels,
            scores=names(scores) if scores else _scores_of_logits(paths),
            at_epoch=_whole_epochs(at_epoch) if at_epoch else None,
        )
    else:
        from datadiet.data import load
        from datadiet.engine.reloading import loading_facts
        from datadiet.jobs.score import score as score_examples

        examples = load(source, **data_options(data))
        with display() as shown:
            table = score_examples(
                examples,
                scores=names(scores) if scores else None,
                seeds=seeds,
                seed=seed,
                at_epoch=numbers(at_epoch, "at-epoch") if at_epoch else None,
                grand_parameters=grand_parameters,
                encoder=encoder,
                embeddings=embeddings,
                display=shown,
                **preparing(recipe, machine),
            )
        facts = {**table.provenance, **loading_facts(examples, data_options(data))}
        table = dataclasses.replace(table, provenance=facts)
    if not is_main_process():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    table.write(out)
    if as_json:
        print_json(
            {"out": str(out), "n": len(table), "scores": list(table.names), "provenance": table.provenance}
        )
    else:
        typer.echo(f"{len(table):,} examples, {len(table.names)} scores ({', '.join(table.names)}): {out}")


def _scores_of_logits(paths: list[Path]) -> list[str]:
    """All scores that such files give: of one epoch those of the outputs, of several also the dynamics."""
    import numpy as np

    from datadiet.scores import cards

    several = len(paths) > 1
    if not several and paths[0].is_file():
        with contextlib.suppress(ValueError, OSError, EOFError):  # `score_logits` says what is wrong with it
            several = getattr(np.load(paths[0], mmap_mode="r"), "ndim", 2) == 3
    return [c.name for c in cards() if c.needs == "outputs" or (several and c.needs == "trace")]


def _whole_epochs(text: str) -> list[int]:
    epochs = numbers(text, "at-epoch")
    if not all(epoch.is_integer() for epoch in epochs):
        raise BadInputError(
            f"--at-epoch is {text}; with --from-logits an epoch is a whole number, from 1 on."
        )
    return [int(epoch) for epoch in epochs]
