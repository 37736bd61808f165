"""`datadiet score`: a score for every training example."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, command
from datadiet.cli.printing import display, show
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.options import ScoreFlags


@command(
    "score digits --scores el2n,forgetting --at-epoch 5,10 --out scores.parquet",
    order="scores seeds seed at_epoch grand_parameters encoder out embeddings overwrite",
)
def score(
    source: Annotated[str | None, typer.Argument(help="As for run; not with --from-logits.")] = None,
    from_logits: Annotated[
        list[Path] | None,
        typer.Option(
            help="Logits as .npy instead of training: (n, classes), (epochs, n, classes), or a file an epoch."
        ),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels as .npy, with --from-logits.")] = None,
    as_json: AsJson = False,
    **options: Unpack[ScoreFlags],
) -> None:
    """Write a table with a score for every training example."""
    if (source is None) == (not from_logits):
        raise BadInputError("Give either a source to train on, or --from-logits with --labels.")
    out = options.setdefault("out", "scores.parquet")
    said: list[str] = []
    if from_logits:
        if options.get("embeddings") is not None:
            raise BadInputError("--embeddings needs a model or an encoder; logits alone give none.")
        table = _score_logits(from_logits, labels, options)
    else:
        from datadiet.jobs.score import score as score_examples

        with display(options) as shown:
            table = score_examples(source, **options)
        said = shown.said
    show(
        as_json,
        {"out": str(out), "n": len(table), "scores": list(table.names), "provenance": table.provenance},
        f"{len(table):,} examples, {len(table.names)} scores ({', '.join(table.names)}): {out}",
        said=said,
    )


def _score_logits(paths: list[Path], labels: Path | None, options: Mapping[str, Any]) -> Any:
    """A table from logits in files; without `scores` all that they give: of several epochs also the dynamics."""
    import numpy as np

    from datadiet.foundation.outputs import check_file
    from datadiet.jobs.outputs import Inputs, check_output, write_file
    from datadiet.scores import cards
    from datadiet.scores.stream import score_logits

    scores, overwrite = options.get("scores"), options.get("overwrite", False)
    epochs = options.get("at_epoch") or ()
    out = check_output(options["out"], Inputs((*paths, *([labels] if labels else []))))
    check_file(out, "score table", overwrite=overwrite)
    if labels is None:
        raise BadInputError("--from-logits needs --labels, a .npy file with one label a row.")
    if not scores:
        several = len(paths) > 1
        if not several and paths[0].is_file():
            with contextlib.suppress(
                ValueError, OSError, EOFError
            ):  # `score_logits` says what is wrong with it
                several = getattr(np.load(paths[0], mmap_mode="r"), "ndim", 2) == 3
        scores = [c.name for c in cards() if c.needs == "outputs" or (several and c.needs == "trace")]
    if not all(float(epoch).is_integer() for epoch in epochs):
        typed = ",".join(f"{epoch:g}" for epoch in epochs)
        raise BadInputError(
            f"--at-epoch is {typed}; with --from-logits an epoch is a whole number, from 1 on."
        )
    whole = [int(epoch) for epoch in epochs] if epochs else None
    table = score_logits(paths[0] if len(paths) == 1 else paths, labels, scores=scores, at_epoch=whole)
    write_file(out, "score table", table.write, overwrite=overwrite)
    return table
