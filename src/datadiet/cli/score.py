"""`datadiet score`: a score for every training example."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, command
from datadiet.cli.printing import display, is_main_process, show
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.options import ScoreFlags


@command(
    "score digits --scores el2n,forgetting --at-epoch 5,10 --out scores.parquet",
    order="scores seeds seed at_epoch grand_parameters encoder embeddings",
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
    out: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("scores.parquet"),
    as_json: AsJson = False,
    **options: Unpack[ScoreFlags],
) -> None:
    """Write a table with a score for every training example."""
    if (source is None) == (not from_logits):
        raise BadInputError("Give either a source to train on, or --from-logits with --labels.")
    from datadiet.jobs.checks import check_folder

    embeddings = options.get("embeddings")
    check_folder(out.parent)
    if embeddings is not None:
        check_folder(Path(embeddings).parent)
        if from_logits:
            raise BadInputError("--embeddings needs a model or an encoder; logits alone give none.")
    said: list[str] = []
    if from_logits:
        table = _score_logits(from_logits, labels, options.get("scores"), options.get("at_epoch"))
    else:
        from datadiet.jobs.score import score as score_examples

        with display(options) as shown:
            table = score_examples(source, **options)
        said = shown.said
    if is_main_process():
        out.parent.mkdir(parents=True, exist_ok=True)
        table.write(out)
    show(
        as_json,
        {"out": str(out), "n": len(table), "scores": list(table.names), "provenance": table.provenance},
        f"{len(table):,} examples, {len(table.names)} scores ({', '.join(table.names)}): {out}",
        said=said,
    )


def _score_logits(paths: list[Path], labels: Path | None, scores: Any, epochs: Any) -> Any:
    """A table from logits in files; without `scores` all that they give: of several epochs also the dynamics."""
    import numpy as np

    from datadiet.scores import cards
    from datadiet.scores.stream import score_logits

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
    if not all(float(epoch).is_integer() for epoch in epochs or ()):
        typed = ",".join(f"{epoch:g}" for epoch in epochs)
        raise BadInputError(
            f"--at-epoch is {typed}; with --from-logits an epoch is a whole number, from 1 on."
        )
    whole = [int(epoch) for epoch in epochs] if epochs else None
    return score_logits(paths[0] if len(paths) == 1 else paths, labels, scores=scores, at_epoch=whole)
