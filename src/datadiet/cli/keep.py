"""`datadiet keep`: the examples that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datadiet.cli.options import (
    AllowEmptyClass,
    AsJson,
    Balance,
    Data,
    End,
    Floor,
    Group,
    PerClass,
    Rule,
    RuleOption,
    Seed,
    Start,
    command,
    data_options,
    floor_number,
    names,
    rule_options,
)
from datadiet.cli.output import explain_rules, print_json, print_kept_shares
from datadiet.foundation.errors import BadInputError


@command
def keep(
    scores: Annotated[Path | None, typer.Argument(help="A score table.")] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="The score, or several mixed by rank, as el2n,forgetting or el2n=2,forgetting=1; may be left out "
            "when there is one."
        ),
    ] = None,
    keep: Annotated[float, typer.Option(help="Fraction that stays.")] = 0.5,
    rule: Rule = "hardest",
    start: Start = None,
    end: End = None,
    rule_option: RuleOption = None,
    per_class: PerClass = False,
    group: Group = None,
    balance: Balance = None,
    floor: Floor = None,
    allow_empty_class: AllowEmptyClass = False,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="For rules that need them: a file of `score --embeddings`, or .npy in id order."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="The data, to check that the table was made from it [for --group, the table's own]."
        ),
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

    import numpy as np

    from datadiet.engine.reloading import data_of_table
    from datadiet.jobs.groups import groupings_for_table, subset_forms
    from datadiet.jobs.keep import Kept, default_score
    from datadiet.jobs.keep import keep as keep_ids
    from datadiet.jobs.left_out import kept_shares
    from datadiet.scores import ScoreTable
    from datadiet.selection import explain_auto

    table = ScoreTable.read(scores)
    columns = names(group or [])
    examples = data_of_table(table, source, data_options(data)) if columns or source is not None else None
    more = rule_options(start, end, rule_option)
    ids = keep_ids(
        table,
        keep,
        by=_scores(by),
        rule=rule,
        per_class=per_class,
        allow_empty_class=allow_empty_class,
        seed=seed,
        embeddings=embeddings,
        **subset_forms(examples, columns, balance, floor_number(floor), ids=table.ids),
        **more,
    )
    groupings = groupings_for_table(table, examples, columns)
    shares = {grouping.name: kept_shares(grouping, table.ids, [ids]) for grouping in groupings}
    about = {
        "fingerprint": table.provenance.get("fingerprint"),
        "source": table.provenance.get("source"),
        "score": by or default_score(table, rule),
        "rule": rule,
        "keep": keep,
        "options": {**more, **_given(balance=balance, floor=floor_number(floor), group=columns)},
        "seed": seed,
        "n_from": len(table),
        "scores_sha256": hashlib.sha256(scores.read_bytes()).hexdigest(),
    }
    if rule == "auto":
        choice = explain_auto(len(table), len(ids), len(np.unique(table.labels)))
        why = f"auto took {choice.rule}: {choice.reason}"
        about["auto"] = why
    Kept(ids, about).write(out)
    if as_json:
        print_json({"out": str(out), "n": len(ids), **about, "groups": shares})
    else:
        typer.echo(f"{len(ids):,} of {len(table):,} examples stay: {out}")
        if rule == "auto":
            typer.echo(why)
        if columns:
            print_kept_shares(shares)
        for note in (note for grouping in groupings for note in grouping.notes):
            typer.echo(note, err=True)


def _given(**options: object) -> dict[str, object]:
    return {name: value for name, value in options.items() if value}


def _scores(by: str | None) -> str | dict[str, float] | None:
    """One score, or the weights of several."""
    if by is None or not any(mark in by for mark in ",="):
        return by
    pairs = [name.partition("=") for name in names(by)]
    try:
        return {name.strip(): float(weight) if equals else 1.0 for name, equals, weight in pairs}
    except ValueError as error:
        raise BadInputError(
            f"--by is {by!r}; it takes a score, or several with weights, such as el2n=2,forgetting=1."
        ) from error
