"""`datadiet run`: the whole job."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from datadiet.cli.options import (
    AllowEmptyClass,
    AsJson,
    Balance,
    Data,
    Encoder,
    End,
    Floor,
    Group,
    Machine,
    PerClass,
    RecipeFlags,
    Rule,
    RuleOption,
    Seed,
    Source,
    Start,
    Tolerance,
    command,
    data_options,
    floor_number,
    key_values,
    names,
    numbers,
    preparing,
    rule_options,
)
from datadiet.cli.output import display, explain_rules, explain_selectors, print_verdict
from datadiet.foundation.errors import BadInputError

# What says how to score and keep beforehand, which a dynamic run does not do.
_BEFOREHAND = (
    "scores",
    "keep",
    "rule",
    "start",
    "end",
    "rule_option",
    "per_class",
    "group",
    "balance",
    "floor",
    "allow_empty_class",
    "score_seeds",
    "at_epoch",
    "grand_parameters",
    "encoder",
    "sparsity",
    "allow_empty_layer",
)


@command
def run(
    context: typer.Context,
    source: Source,
    scores: Annotated[list[str], typer.Option(help="Scores to choose subsets by.")] = ["el2n"],  # noqa: B006
    keep: Annotated[list[str], typer.Option(help="Fractions that stay.")] = ["0.7,0.5,0.3"],  # noqa: B006
    rule: Rule = "hardest",
    start: Start = None,
    end: End = None,
    rule_option: RuleOption = None,
    per_class: PerClass = False,
    group: Group = None,
    balance: Balance = None,
    floor: Floor = None,
    allow_empty_class: AllowEmptyClass = False,
    seeds: Annotated[int, typer.Option(help="Retrainings of each subset.")] = 3,
    score_seeds: Annotated[
        int | None, typer.Option(help="Models that scores are averaged over [as --seeds].")
    ] = None,
    seed: Seed = 0,
    at_epoch: Annotated[
        float | None, typer.Option(help="Epoch of the scores [two fifths of the run].")
    ] = None,
    grand_parameters: Annotated[
        str | None,
        typer.Option(
            help="GraNd over all, head, or the parameters that a pattern matches [all; of a pre-trained model, head]."
        ),
    ] = None,
    encoder: Encoder = None,
    tolerance: Tolerance = 0.5,
    dynamic: Annotated[
        str | None,
        typer.Option(
            help="Choose anew while training, beside full data and chance: a selector such as infobatch; 'help' "
            "explains each."
        ),
    ] = None,
    dynamic_option: Annotated[
        list[str] | None,
        typer.Option(help="An option of --dynamic or its schedule, such as keep=0.5; may be repeated."),
    ] = None,
    sparsity: Annotated[
        float | None,
        typer.Option(help="Also train networks with this share of weights removed, on the same examples."),
    ] = None,
    allow_empty_layer: Annotated[
        bool, typer.Option(help="Go on where --sparsity leaves no weight of a layer.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.")] = None,
    as_json: AsJson = False,
    *,
    data: Data,
    recipe: RecipeFlags,
    machine: Machine,
) -> None:
    """Score, keep, retrain, compare, decide and report; or, with --dynamic, choose while training."""
    if rule == "help":
        explain_rules()
        return
    if dynamic == "help":
        explain_selectors()
        return
    prepared = preparing(recipe, machine)
    if dynamic is not None:
        _refuse_unused(context, dynamic)
        prepared["overrides"]["dynamic"] = dynamic
    if dynamic_option:
        prepared["overrides"]["dynamic_options"] = key_values(dynamic_option, "dynamic-option", "keep=0.5")
    from datadiet.jobs.run import run as run_diet

    with display() as shown:
        verdict = run_diet(
            source,
            scores=names(scores),
            keep=numbers(keep, "keep"),
            rule=rule,
            rule_options=rule_options(start, end, rule_option),
            per_class=per_class,
            groups=names(group or []),
            balance=balance,
            floor=floor_number(floor),
            allow_empty_class=allow_empty_class,
            seeds=seeds,
            score_seeds=score_seeds,
            seed=seed,
            at_epoch=at_epoch,
            grand_parameters=grand_parameters,
            encoder=encoder,
            tolerance=tolerance,
            sparsity=sparsity,
            allow_empty_layer=allow_empty_layer,
            out=out,
            load_options=data_options(data),
            command=shlex.join(["datadiet", *sys.argv[1:]]),
            display=shown,
            **prepared,
        )
    print_verdict(verdict, as_json)


def _refuse_unused(context: typer.Context, dynamic: str) -> None:
    """Raise `BadInputError` where flags were given that --dynamic makes no use of."""
    sources = {name: context.get_parameter_source(name) for name in _BEFOREHAND}
    given = [name for name, found in sources.items() if found is not None and found.name == "COMMANDLINE"]
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise BadInputError(
            f"With --dynamic {dynamic} nothing is scored or left out beforehand, so {flags} would do nothing; leave "
            f"{'it' if len(given) == 1 else 'them'} out, or give the selector its own options with --dynamic-option."
        )
