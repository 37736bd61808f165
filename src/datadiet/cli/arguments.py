"""Arguments and single flags that several commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from datadiet.cli.options import DATA, MACHINE, RECIPE, machine_options, recipe_overrides

Source = Annotated[
    str,
    typer.Argument(
        help="A built-in name (digits), an image folder, a Parquet, CSV or JSON lines file or folder, a folder "
        "saved by datasets, or a hub id."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Seed = Annotated[int, typer.Option(help="Base of all seeds.")]
Rule = Annotated[str, typer.Option(help="How scores become a subset; 'help' explains each.")]
PerClass = Annotated[bool, typer.Option("--per-class", help="Keep the same fraction of every class.")]
Start = Annotated[
    float | None, typer.Option(help="Window: share of the hardest examples that is left out first.")
]
End = Annotated[float | None, typer.Option(help="Window: where it ends, as a share from the hardest.")]
Tolerance = Annotated[float, typer.Option(help="Percentage points of accuracy that may be lost.")]
Data = Annotated[dict[str, Any], DATA]
RecipeFlags = Annotated[dict[str, Any], RECIPE]
Machine = Annotated[dict[str, Any], MACHINE]


def rule_options(start: float | None, end: float | None) -> dict[str, Any]:
    """Options of a rule of selection from their flags."""
    return {key: value for key, value in (("start", start), ("end", end)) if value is not None}


def preparing(recipe: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `datadiet.setup.prepare` from the flags of the recipe and the machine."""
    return {"recipe": recipe["recipe"], "overrides": recipe_overrides(recipe), **machine_options(machine)}
