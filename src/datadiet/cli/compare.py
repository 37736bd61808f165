"""`datadiet compare`: subsets beside full data and matched random."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datadiet.cli.options import (
    AsJson,
    Data,
    Group,
    Machine,
    RecipeFlags,
    Seed,
    Source,
    Tolerance,
    command,
    data_options,
    names,
    preparing,
)
from datadiet.cli.output import display, print_verdict
from datadiet.foundation.errors import BadInputError


@command
def compare(
    source: Source,
    kept: Annotated[
        list[str], typer.Option(help="A file of kept ids, as FILE or NAME=FILE; may be repeated.")
    ],
    group: Group = None,
    seeds: Annotated[int, typer.Option(help="Retrainings of each subset.")] = 3,
    seed: Seed = 0,
    tolerance: Tolerance = 0.5,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.")] = None,
    as_json: AsJson = False,
    *,
    data: Data,
    recipe: RecipeFlags,
    machine: Machine,
) -> None:
    """Retrain on subsets beside full data and matched random."""
    from datadiet.data import load
    from datadiet.jobs.keep import Kept
    from datadiet.jobs.run import compare as compare_subsets

    files = {}
    for item in kept:
        name, equals, path = item.partition("=")
        name, path = (name, path) if equals else (Path(item).stem, item)
        if name in files:
            raise BadInputError(f"Two kept files are named {name!r}; name them apart, as --kept NAME=FILE.")
        files[name] = Kept.read(path)
    examples = load(source, **data_options(data))
    for file in files.values():
        file.check_data(examples.fingerprint)
    with display() as shown:
        verdict = compare_subsets(
            examples,
            {name: file.ids for name, file in files.items()},
            groups=names(group or []),
            seeds=seeds,
            seed=seed,
            tolerance=tolerance,
            out=out,
            display=shown,
            **preparing(recipe, machine),
        )
    print_verdict(verdict, as_json)
