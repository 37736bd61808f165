"""`datadiet suspects`: likely label errors, ranked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datadiet.cli.options import AsJson, Data, Machine, Seed, command, data_options, machine_options
from datadiet.cli.output import display, is_main_process, print_json
from datadiet.foundation.errors import BadInputError


@command
def suspects(
    scores: Annotated[Path, typer.Argument(help="A score table.")],
    source: Annotated[str | None, typer.Option(help="The data, when it has moved.")] = None,
    method: Annotated[
        str,
        typer.Option(
            help="combination, late_el2n, aum, aum_threshold, probability, forgetting, or cleanlab (if installed)."
        ),
    ] = "combination",
    folds: Annotated[
        int | None, typer.Option(help="Predict by cross-validation with so many folds: one training each.")
    ] = None,
    second_pass: Annotated[
        bool,
        typer.Option(
            "--second-pass/--no-second-pass",
            help="Train once more for each scoring run, without its suspects (combination only).",
        ),
    ] = True,
    top: Annotated[int, typer.Option(help="How many are printed; the file has all.")] = 20,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Where the suspects go.")] = Path("suspects.parquet"),
    as_json: AsJson = False,
    *,
    data: Data,
    machine: Machine,
) -> None:
    """Rank likely label errors, and say how many there are."""
    from datadiet.jobs.checks import check_folder
    from datadiet.jobs.suspects.job import find_suspects

    if top < 0:
        raise BadInputError(f"--top is {top}; it must be 0 or above.")
    check_folder(out.parent)
    with display() as shown:
        found = find_suspects(
            scores,
            source=source,
            method=method,  # type: ignore[arg-type]  # held against the methods there
            folds=folds,
            second_pass=second_pass,
            seed=seed,
            load_options=data_options(data),
            display=shown,
            **machine_options(machine),
        )
    if not is_main_process():
        return
    found.write(out)
    shown_rows = range(min(top, len(found)))
    if as_json:
        print_json(
            {
                "out": str(out),
                "n": len(found),
                "method": method,
                "noise_rate": found.noise_rate.as_dict(),
                "more_trainings": found.provenance["more_trainings"],
                "top": [
                    {
                        "id": int(found.ids[row]),
                        "label": found.class_name(int(found.labels[row])),
                        "proposed": None
                        if found.proposed[row] < 0
                        else found.class_name(int(found.proposed[row])),
                        "probability_wrong": float(found.probability_wrong[row]),
                        "suspicion": float(found.suspicion[row]),
                    }
                    for row in shown_rows
                ],
            }
        )
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    printed = Table("id", "given", "proposed", "probability wrong", title="Likely label errors")
    for row in shown_rows:
        names = (found.class_name(int(labels[row])) for labels in (found.labels, found.proposed))
        printed.add_row(str(found.ids[row]), *map(escape, names), f"{found.probability_wrong[row]:.3f}")
    console.print(printed)
    sentence = str(found.noise_rate)
    console.print(
        f"{sentence[0].upper()}{sentence[1:]}: {out}", markup=False, highlight=False, soft_wrap=True
    )
