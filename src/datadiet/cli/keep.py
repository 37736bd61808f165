"""`datadiet keep`: the examples that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datadiet.cli.arguments import AsJson, Data, End, PerClass, Rule, Seed, Start, rule_options
from datadiet.cli.options import command, data_options
from datadiet.cli.output import explain_rules, print_json
from datadiet.errors import BadInputError


@command
def keep(
    scores: Annotated[Path | None, typer.Argument(help="A score table.")] = None,
    by: Annotated[str | None, typer.Option(help="The score; may be left out when there is one.")] = None,
    keep: Annotated[float, typer.Option(help="Fraction that stays.")] = 0.5,
    rule: Rule = "hardest",
    start: Start = None,
    end: End = None,
    per_class: PerClass = False,
    balance: Annotated[str | None, typer.Option(help="'class' for as many of every class.")] = None,
    source: Annotated[
        str | None, typer.Option(help="The data, to check that the table was made from it.")
    ] = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Where the ids go (.parquet, or .txt).")] = Path("kept.parquet"),
    as_json: AsJson = False,
    *,
    data: Data,
) -> None:
    """Choose the examples that stay."""
    if rule == "help":
        explain_rules()
        return
    if scores is None:
        raise BadInputError("Give the score table to keep by.")
    import hashlib

    from datadiet.keeping import Kept
    from datadiet.keeping import keep as keep_ids
    from datadiet.scores import ScoreTable

    table = ScoreTable.read(scores)
    if source is not None:
        from datadiet.data import load

        table.check_data(load(source, **data_options(data)).fingerprint)
    more = rule_options(start, end) | ({"balance": balance} if balance else {})
    ids = keep_ids(table, keep, by=by, rule=rule, per_class=per_class, seed=seed, **more)
    about = {
        "fingerprint": table.provenance.get("fingerprint"),
        "source": table.provenance.get("source"),
        "score": by or (table.names[0] if len(table.names) == 1 else None),
        "rule": rule,
        "keep": keep,
        "options": more,
        "seed": seed,
        "n_from": len(table),
        "scores_sha256": hashlib.sha256(scores.read_bytes()).hexdigest(),
    }
    Kept(ids, about).write(out)
    if as_json:
        print_json({"out": str(out), "n": len(ids), **about})
    else:
        typer.echo(f"{len(ids):,} of {len(table):,} examples stay: {out}")
