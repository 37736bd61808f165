"""`datadiet keep`: the examples that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, command
from datadiet.cli.printing import display, explain_rules, print_kept_shares, show
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.options import KeepOptions


@command(
    "keep scores.parquet --by el2n --keep 0.5 --out kept.parquet",
    order="by keep rule start end rule_options per_class groups balance floor allow_empty_class embeddings source seed",
)
def keep(
    scores: Annotated[Path | None, typer.Argument(help="A score table.")] = None,
    as_json: AsJson = False,
    **options: Unpack[KeepOptions],
) -> None:
    """Choose the examples that stay."""
    if options.get("rule") == "help":
        explain_rules()
        return
    if scores is None:
        raise BadInputError("Give the score table to keep by.")
    from datadiet.jobs.keep import keep_from

    out = options.setdefault("out", "kept.parquet")
    with display(options) as shown:
        choice = keep_from(scores, **options)
    ids, about = choice.kept.ids, choice.kept.about

    def tell() -> None:
        typer.echo(f"{len(ids):,} of {about['n_from']:,} examples stay: {out}")
        if "auto" in about:
            typer.echo(about["auto"])
        if options.get("groups"):
            print_kept_shares(choice.shares)

    show(as_json, {"out": str(out), "n": len(ids), **about, "groups": choice.shares}, tell, said=shown.said)
