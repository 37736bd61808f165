"""`datadiet study`: a paper's experiment on anybody's data."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from datadiet.cli.options import (
    AsJson,
    Data,
    Machine,
    RecipeFlags,
    Seed,
    command,
    data_options,
    machine_options,
    recipe_overrides,
)
from datadiet.cli.output import display, is_main_process, print_json, print_plan, print_studies, print_study
from datadiet.foundation.errors import BadInputError


@command
def study(
    name: Annotated[str | None, typer.Argument(help="Which study; see --list.")] = None,
    source: Annotated[str | None, typer.Argument(help="The data, as for run.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="All studies, one line each.")] = False,
    scale: Annotated[str, typer.Option(help="smoke, fast or paper: seeds, epochs and sizes.")] = "fast",
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the runs and their cost; start nothing.")
    ] = False,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the results [WORKSPACE/studies/NAME].")] = None,
    as_json: AsJson = False,
    *,
    data: Data,
    recipe: RecipeFlags,
    machine: Machine,
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
    from datadiet.studies.toolbox.study import with_cost

    chosen = STUDIES[name]
    options = {
        "scale": scale,
        "seed": seed,
        "recipe": recipe.get("recipe"),  # else each scale has its own
        "overrides": recipe_overrides(recipe),
        "load_options": data_options(data),
        **machine_options(machine),
    }
    with display() as shown:
        if plan:
            context = open_context(source, display=shown, **options)
            planned = with_cost(plan_of(chosen, context), context)
            context.setup.close()
            print_plan(name, planned, as_json)
            return
        result = run_study(
            name, source, out=out, display=shown, command=shlex.join(["datadiet", *sys.argv[1:]]), **options
        )
    if is_main_process():
        if as_json:
            print_json(
                {
                    "study": name,
                    "folder": str(result.folder),
                    "runs_trained": result.trained,
                    "runs_reused": result.reused,
                    "claims": [finding.as_dict() for finding in result.findings],
                }
            )
        else:
            print_study(result)
