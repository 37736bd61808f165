"""Arguments and single flags that several commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from datadiet.cli.options import DATA, MACHINE, RECIPE, key_values, machine_options, recipe_overrides
from datadiet.errors import BadInputError

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
RuleOption = Annotated[
    list[str] | None,
    typer.Option(help="An option of the rule, as key=value, such as beta=0.1; may be repeated."),
]
Group = Annotated[
    list[str] | None,
    typer.Option(
        help="Column by which to say who is left out; several with commas, a+b for both at once. Classes always are."
    ),
]
Balance = Annotated[
    str | None,
    typer.Option(help="class or group: equal counts of every class, or of every group of --group."),
]
Floor = Annotated[
    str | None,
    typer.Option(
        help="Fewest examples to stay of each group (class without --group): 20, or 0.1 for a tenth of the group."
    ),
]
AllowEmptyClass = Annotated[
    bool, typer.Option("--allow-empty-class", help="Go on where a class would lose all its examples.")
]
Tolerance = Annotated[float, typer.Option(help="Percentage points of accuracy that may be lost.")]
Encoder = Annotated[
    str | None,
    typer.Option(
        help="Folder or hub id of transformers that gives embeddings, for what needs them [the trained model]."
    ),
]
Data = Annotated[dict[str, Any], DATA]
RecipeFlags = Annotated[dict[str, Any], RECIPE]
Machine = Annotated[dict[str, Any], MACHINE]


def rule_options(start: float | None, end: float | None, pairs: list[str] | None = None) -> dict[str, Any]:
    """Options of a rule of selection from their flags.

    Raises:
        BadInputError: a pair that is not key=value.

    Example:
        >>> rule_options(0.1, None, ["beta=0.2"])
        {'start': 0.1, 'beta': 0.2}
    """
    found = {key: value for key, value in (("start", start), ("end", end)) if value is not None}
    return found | key_values(pairs or [], "rule-option", "beta=0.1")


def floor_number(text: str | None) -> int | float | None:
    """A floor from its flag: a whole number is a count, one with a point a fraction of the group.

    Raises:
        BadInputError: it is neither.

    Example:
        >>> floor_number("20"), floor_number("0.1"), floor_number(None)
        (20, 0.1, None)
    """
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError as error:
        raise BadInputError(
            f"--floor is {text!r}; give a count of examples such as 20, or a fraction such as 0.1."
        ) from error


def preparing(recipe: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `datadiet.setup.prepare` from the flags of the recipe and the machine."""
    return {
        "recipe": recipe.get("recipe", "fast"),
        "overrides": recipe_overrides(recipe),
        **machine_options(machine),
    }
