"""Flags that several commands share: of the data, of the recipe, of the machine, of the output."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.errors import BadInputError, DataDietError

Parameters = Mapping[str, tuple[Any, Any]]  # name -> (annotation, default)


@dataclasses.dataclass(frozen=True)
class OptionGroup:
    """Flags that arrive at a command as one dictionary, without those that were not given."""

    parameters: Parameters


def _flag(annotation: Any, help: str, panel: str, **more: Any) -> Any:
    return Annotated[annotation, typer.Option(help=help, rich_help_panel=panel, **more)]


DATA = OptionGroup(
    {
        "input": (
            _flag(str | None, "Input column or columns, separated by commas; found when not given.", "Data"),
            None,
        ),
        "label": (_flag(str | None, "Label column; found when not given.", "Data"), None),
        "task": (
            _flag(
                str | None,
                "classification, intent_slots, token_classification, multilabel or regression; found when not given, "
                "but for regression.",
                "Data",
            ),
            None,
        ),
        "tags": (_flag(str | None, "Column with a tag for each word; found when not given.", "Data"), None),
        "test": (_flag(str | None, "Another source that holds the test part.", "Data"), None),
        "test_fraction": (
            _flag(float | None, "Share that is held out when there is no test part [0.2].", "Data"),
            None,
        ),
        "holdout_seed": (_flag(int | None, "Seed of the held-out part [0].", "Data"), None),
        "on_bad_example": (
            _flag(str | None, "What a corrupt example does: error or skip [error].", "Data"),
            None,
        ),
        "image_size": (_flag(int | None, "Side in pixels that images are brought to.", "Data"), None),
    }
)

MACHINE = OptionGroup(
    {
        "workspace": (
            _flag(
                Path | None,
                "Where trainings live and are found again [runs; for verify, the table's own].",
                "Machine",
                envvar="DATADIET_WORKSPACE",
            ),
            None,
        ),
        "device": (_flag(str, "auto, cpu, cuda or mps.", "Machine"), "auto"),
        "memory_limit": (
            _flag(
                str | None,
                "Hold a part in memory up to this size, such as 4GB; larger ones are streamed.",
                "Machine",
            ),
            None,
        ),
        "num_workers": (_flag(int | None, "Worker processes of data that is streamed [0].", "Machine"), None),
        "checkpoint_every": (_flag(float | None, "Seconds between two checkpoints [30].", "Machine"), None),
    }
)


def _recipe_parameters() -> Parameters:
    """One flag a field of `Recipe`, with the field's own words as help."""
    words = _field_descriptions()
    hints = typing.get_type_hints(Recipe)
    found: dict[str, tuple[Any, Any]] = {
        "recipe": (_flag(str | None, "fast, paper, finetune, or a YAML file [fast].", "Recipe"), None)
    }
    for field in dataclasses.fields(Recipe):
        if field.name in ("name", "model_options", "dynamic", "dynamic_options"):  # the last two are of `run`
            continue
        annotation = _flag_type(hints[field.name])
        found[field.name] = (_flag(annotation, words[field.name], "Recipe"), None)
    found["model_option"] = (
        _flag(list[str] | None, "An argument of the model, as key=value; may be repeated.", "Recipe"),
        None,
    )
    return found


def _flag_type(hint: Any) -> Any:
    """The type of a flag that may be left out: `float | None` for a float, text for choices and lists."""
    if get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Literal or get_origin(hint) is tuple:
        hint = str
    return hint | None


def _field_descriptions() -> dict[str, str]:
    """Field name -> its sentence in the docstring of `Recipe`."""
    text = inspect.getdoc(Recipe) or ""
    section = text.split("Args:", 1)[1].split("Example:", 1)[0] if "Args:" in text else ""
    pairs = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", section, flags=re.MULTILINE | re.DOTALL)
    described = {name: " ".join(words.split()) for name, words in pairs}
    return {field.name: described.get(field.name, "") for field in dataclasses.fields(Recipe)}


RECIPE = OptionGroup(_recipe_parameters())


def recipe_overrides(given: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe fields from their flags: lists are split, `key=value` pairs are read.

    Example:
        >>> recipe_overrides({"lr": 0.1, "milestones": "0.5,0.75", "model_option": ["width=16"]})
        {'lr': 0.1, 'milestones': (0.5, 0.75), 'model_options': {'width': 16}}
    """
    fields = {key: value for key, value in given.items() if key not in ("recipe", "model_option")}
    if "milestones" in fields:
        fields["milestones"] = tuple(numbers(fields["milestones"], "milestones"))
    if given.get("model_option"):
        fields["model_options"] = key_values(given["model_option"], "model-option", "width=16")
    return fields


def key_values(pairs: list[str], flag: str, example: str) -> dict[str, Any]:
    """`key=value` pairs with the values read as YAML: numbers, booleans, lists, text.

    Raises:
        BadInputError: a pair without an equals sign.
    """
    import yaml

    parts = [pair.partition("=") for pair in pairs]
    if any(not equals or not key for key, equals, _ in parts):
        raise BadInputError(f"--{flag} takes key=value, such as --{flag} {example}.")
    return {key: yaml.safe_load(value) for key, _, value in parts}


def data_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `datadiet.load` from their flags."""
    found = dict(given)
    if "input" in found:
        names = [name.strip() for name in found["input"].split(",")]
        found["input"] = names[0] if len(names) == 1 else names
    return found


def machine_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `datadiet.engine.setup.prepare` from their flags."""
    found = dict(given)
    for flag in ("num_workers", "checkpoint_every"):
        if not found.get(flag, 0) >= 0:
            raise BadInputError(f"{flag} is {found[flag]}; it must be 0 or above.")
    if "memory_limit" in found:
        found["memory_limit"] = size_in_bytes(found["memory_limit"])
    return found


def size_in_bytes(text: str) -> int:
    """Bytes of a size with a unit.

    Example:
        >>> size_in_bytes("2 GB"), size_in_bytes("512")
        (2000000000, 512)
    """
    match = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]?i?b?)\s*", text.lower())
    if not match:
        raise BadInputError(f"{text!r} is not a size; write it like 500MB or 4GB.")
    unit = match[2].rstrip("b")
    scale = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30}
    if unit not in scale:
        raise BadInputError(f"{text!r} is not a size; write it like 500MB or 4GB.")
    try:
        return int(float(match[1]) * scale[unit])
    except ValueError as error:
        raise BadInputError(f"{text!r} is not a size; write it like 500MB or 4GB.") from error


def names(values: str | list[str]) -> list[str]:
    """Names from a flag that may be repeated or hold several, separated by commas.

    Example:
        >>> names(["el2n,aum", "margin"])
        ['el2n', 'aum', 'margin']
    """
    given = [values] if isinstance(values, str) else values
    return [name.strip() for value in given for name in value.split(",") if name.strip()]


def numbers(values: str | list[str], flag: str) -> list[float]:
    """Numbers from a flag that may be repeated or hold several, separated by commas.

    Raises:
        BadInputError: one is not a number.

    Example:
        >>> numbers("0.7,0.5", "keep")
        [0.7, 0.5]
    """
    try:
        return [float(name) for name in names(values)]
    except ValueError as error:
        raise BadInputError(f"--{flag} takes numbers, separated by commas: {error}.") from error


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function whose parameters may be annotated with an `OptionGroup`.

    Each group becomes its flags; the function receives a dictionary of those that were given. Errors of
    the package become one sentence on standard error and the exit status of their kind.
    """
    signature = inspect.signature(function)
    hints = typing.get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, OptionGroup] = {}
    for name, parameter in signature.parameters.items():
        group = next((extra for extra in get_args(hints[name]) if isinstance(extra, OptionGroup)), None)
        if group is None:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[name] = group
        parameters += [
            inspect.Parameter(flag, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for flag, (annotation, default) in group.parameters.items()
        ]

    @functools.wraps(function)
    def wrapped(**arguments: Any) -> None:
        for name, group in groups.items():
            taken = {flag: arguments.pop(flag) for flag in group.parameters}
            arguments[name] = {flag: value for flag, value in taken.items() if value is not None}
        try:
            function(**arguments)
        except DataDietError as error:
            typer.echo(f"datadiet: {_plain(str(error))}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            typer.echo("datadiet: interrupted; the same command goes on where this one stopped.", err=True)
            raise typer.Exit(130) from None

    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return wrapped


def _plain(text: str) -> str:
    """A message without control characters: part of it may come from the data."""
    from datadiet.pages.text import printable

    return printable(text, limit=2_000)


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
    """Arguments of `datadiet.engine.setup.prepare` from the flags of the recipe and the machine."""
    return {
        "recipe": recipe.get("recipe", "fast"),
        "overrides": recipe_overrides(recipe),
        **machine_options(machine),
    }
