"""A command from a function and the options that it takes: their flags, what was typed, and how errors end."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import typer

from datadiet.cli.endings import as_sentence
from datadiet.cli.wording import as_flags
from datadiet.foundation.options import Option, alternatives, group_of, options_of

app = typer.Typer(
    name="datadiet",
    help="Find out which of your training examples matter.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

Source = Annotated[
    str,
    typer.Argument(
        help="A built-in name (digits), an image folder, a Parquet, CSV or JSON lines file or folder, a folder "
        "saved by datasets, or a hub id."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
PANELS = (None, "Data", "Recipe", "Machine")  # in this order

Command = Callable[..., None]


def command(example: str, *, order: str = "") -> Callable[[Command], Command]:
    """Make a command of `datadiet` of a function that takes `**options: Unpack[Group]`, beside parameters of its own.

    The function receives the options whose flags were given. Errors of the package become one sentence on standard
    error and the exit status of their kind.

    Args:
        example: a command line, for the end of the help.
        order: flags that come first, by the names of their parameters, where that is not the order of the function's
            arguments, of the group and of the function's other parameters.
    """

    def register(function: Command) -> Command:
        app.command(epilog=f"Example: datadiet {example}")(_as_command(function, order.split()))
        return function

    return register


def _as_command(function: Command, first: Sequence[str]) -> Command:
    hints = typing.get_type_hints(function, include_extras=True)
    own, group = inspect.signature(function).parameters.values(), group_of(function)
    flags = {} if group is None else dict(_flags(group))
    parameters = [
        p.replace(annotation=hints[p.name], kind=p.KEYWORD_ONLY) for p in own if p.kind is not p.VAR_KEYWORD
    ] + [_parameter(flag, option) for flag, (option, _) in flags.items()]

    def place(parameter: inspect.Parameter) -> tuple[int, int, int]:
        facts = getattr(parameter.annotation, "__metadata__", ())
        panel = getattr(facts[0], "rich_help_panel", None) if facts else None
        among = first.index(parameter.name) if parameter.name in first else len(first)
        argument = any(isinstance(fact, typer.models.ArgumentInfo) for fact in facts)
        return PANELS.index(panel), among, 0 if argument else 1 if parameter.name in flags else 2

    parameters.sort(key=place)
    if "context" not in hints:
        parameters.append(
            inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        )

    @functools.wraps(function)
    def wrapped(**arguments: Any) -> None:
        context = arguments["context"] if "context" in hints else arguments.pop("context")
        typed = {flag: arguments.pop(flag) for flag in flags}
        try:
            function(**arguments, **_given(context, flags, typed))
        except Exception as unknown:
            if (error := as_sentence(unknown)) is None:
                raise
            # A field of the recipe may have come from its file, where it has no flag.
            shown = {
                name: flag_of(name, option)
                for name, (option, into) in flags.items()
                if into != "overrides" or was_given(context, name)
            }
            tell(as_flags(str(error), shown))
            raise typer.Exit(error.exit_code) from unknown
        except KeyboardInterrupt:
            typer.echo("datadiet: interrupted; the same command goes on where this one stopped.", err=True)
            raise typer.Exit(130) from None

    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return wrapped


def _flags(group: type) -> Iterator[tuple[str, tuple[Option, str | None]]]:
    """Every flag of a group: the name of its parameter, its option, and the option that it is gathered in."""
    for name, option in options_of(group).items():
        if option.flags is not None:
            for part, gathered in options_of(option.flags).items():
                if gathered.flag is not None:
                    yield part, (dataclasses.replace(gathered, panel=option.panel), name)
        if option.flag is not None:
            yield name, (option, None)


def _parameter(name: str, option: Option) -> inspect.Parameter:
    """The parameter of a flag, as typer takes it."""
    kind, default = _flag_type(option), option.default
    if option.sentence.endswith("]."):  # it says the default itself
        default = None
    if isinstance(default, tuple):
        default = [",".join(map(str, default))] if default else None
    declared = option.flag.split() if option.flag else []
    if kind is bool and default is False and not declared:
        declared = [f"--{name.replace('_', '-')}"]  # one that is off is not switched off
    info = typer.Option(
        *declared,
        help=option.sentence,
        rich_help_panel=option.panel,
        envvar=option.variable,
        metavar="PATH" if Path in alternatives(option.type) else None,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind | None if default is None else kind, info],
    )


def _flag_type(option: Option) -> Any:
    """The type of what is typed: lists for lists and `key=value` pairs, text for choices and what is read from text."""
    kinds = alternatives(option.type)
    if len(kinds) == 1 and get_origin(kinds[0]) in (Sequence, Mapping):
        return list[str]
    if option.read is not None or kinds[0] is Any or get_origin(kinds[0]) in (Literal, tuple):
        return str
    return Path if Path in kinds and str not in kinds else kinds[0]


def _given(
    context: typer.Context, flags: Mapping[str, tuple[Option, str | None]], typed: Mapping[str, Any]
) -> dict[str, Any]:
    """The options that flags were given for, read, and those gathered in one mapping."""
    found: dict[str, Any] = {}
    for flag, (option, into) in flags.items():
        value = typed[flag]
        if value is None or not was_given(context, flag):
            continue
        if value and {str, Path} <= set(alternatives(option.type)):
            value = Path(value)
        if option.read is not None:
            value = option.read(value, flag_of(flag, option).lstrip("-"))
        if into is not None:
            found.setdefault(into, {})[flag] = value
        elif option.flags is not None:
            found[flag] = {**found.get(flag, {}), **value}
        else:
            found[flag] = value
    return found


def flag_of(name: str, option: Option) -> str:
    """The flag of an option as it is typed."""
    return option.flag.split()[0].split("/")[0] if option.flag else f"--{name.replace('_', '-')}"


def was_given(context: typer.Context, flag: str) -> bool:
    """Whether a flag was typed, or named by the environment."""
    source = context.get_parameter_source(flag)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def tell(sentence: str) -> None:
    """Say on standard error how a command ended, without control characters: part of it may come from the data."""
    from datadiet.pages.text import printable

    typer.echo(f"datadiet: {printable(sentence, limit=2_000)}", err=True)
