"""`datadiet study`: a paper's experiment on anybody's data."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, command
from datadiet.cli.printing import display, print_plan, print_studies, print_study, show
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import picked
from datadiet.jobs.options import ContextOptions, StudyOptions


@command("study keep-fraction digits --scale smoke", order="list_ scale plan seed on_leak out")
def study(
    name: Annotated[str | None, typer.Argument(help="Which study; see --list.")] = None,
    source: Annotated[str | None, typer.Argument(help="The data, as for run.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="All studies, one line each.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the runs and their cost; start nothing.")
    ] = False,
    as_json: AsJson = False,
    **options: Unpack[StudyOptions],
) -> None:
    """Carry out a paper's experiment: tables, figures, and claims that hold or fail here."""
    if list_:
        print_studies(as_json)
        return
    if name is None or source is None:
        raise BadInputError(
            "Give a study and the data, such as: datadiet study keep-fraction digits; or --list."
        )
    from datadiet.studies import STUDIES, open_context, plan_of, run_study
    from datadiet.studies.toolbox.protocol import with_cost

    chosen = STUDIES[name]
    with display(options) as shown:
        if plan:
            context = open_context(source, **picked(ContextOptions, options))
            planned = with_cost(plan_of(chosen, context), context)
            context.setup.close()
            print_plan(name, planned, as_json, shown.said)
            return
        options["command"] = shlex.join(["datadiet", *sys.argv[1:]])
        result = run_study(name, source, **options)
    facts = {
        "study": name,
        "folder": str(result.folder),
        "runs_trained": result.trained,
        "runs_reused": result.reused,
        "claims": [finding.as_dict() for finding in result.findings],
    }
    show(as_json, facts, lambda: print_study(result), said=shown.said)
