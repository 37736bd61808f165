"""`datadiet run`: the whole job."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, Source, command, was_given
from datadiet.cli.printing import (
    display,
    explain_rules,
    explain_selectors,
    in_flags,
    print_verdict,
    say,
    show,
)
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.options import RunOptions

_ORDER = (
    "scores keep rule start end rule_options per_class groups balance floor allow_empty_class seeds max_seeds time "
    "quick plan score_seeds seed at_epoch grand_parameters encoder tolerance price_per_hour on_leak dynamic "
    "dynamic_options sparsity allow_empty_layer out"
)
# All others say how to score and keep beforehand, which a dynamic run does not do.
_DYNAMIC_TOO = (
    "seeds", "max_seeds", "time", "seed", "tolerance", "price_per_hour", "on_leak", "dynamic", "dynamic_options", "out",
)  # fmt: skip


@command("run digits --keep 0.7,0.5 --out runs/digits", order=_ORDER)
def run(
    context: typer.Context,
    source: Source,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Print the trainings, their cost and the chances to decide; start nothing."
        ),
    ] = False,
    as_json: AsJson = False,
    **options: Unpack[RunOptions],
) -> None:
    """Score, keep, retrain, compare, decide and report; or, with --dynamic, choose while training."""
    if options.get("rule") == "help":
        explain_rules()
        return
    if options.get("dynamic") == "help":
        explain_selectors()
        return
    if options.get("dynamic") is not None:
        _refuse_unused(context, str(options["dynamic"]))
    from datadiet.jobs.plan import plan_text
    from datadiet.jobs.run import plan as plan_job
    from datadiet.jobs.run import run as run_job

    if plan:
        with display(options) as shown:
            planned = plan_job(source, **options)
        show(as_json, planned.as_dict(), lambda: say(in_flags(plan_text(planned))), said=shown.said)
        return
    options["command"] = shlex.join(["datadiet", *sys.argv[1:]])
    with display(options) as shown:
        verdict = run_job(source, **options)
    print_verdict(verdict, as_json, shown.said)


def _refuse_unused(context: typer.Context, dynamic: str) -> None:
    """Raise `BadInputError` where flags were given that --dynamic makes no use of."""
    unused = set(_ORDER.split()) - set(_DYNAMIC_TOO)
    given = [
        flag.opts[0]
        for flag in context.command.params
        if flag.name in unused and was_given(context, flag.name)
    ]
    if given:
        raise BadInputError(
            f"With --dynamic {dynamic} nothing is scored or left out beforehand, so {', '.join(given)} would do "
            f"nothing; leave {'it' if len(given) == 1 else 'them'} out, or give the selector its own options with "
            "--dynamic-option."
        )
