"""Options written down once: keywords of a function, their checks, its signature and docs, and flags come from it.

A group of options is a `TypedDict`. A field is an option, its annotation says what it takes, an `Option` in it what
else there is to know, and the docstring of the group has its sentence:

    class VerdictOptions(TypedDict, total=False):
        '''How subsets are judged.

        Args:
            tolerance: Percentage points of accuracy that may be lost.
        '''

        tolerance: Annotated[float, Option(0.5, least=0, most=100)]

    @with_options()
    def judge(data: Data, **options: Unpack[VerdictOptions]) -> Verdict:
        '''...'''
        options["tolerance"]  # is there, and in its range
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from typing_extensions import NotRequired, Required, Unpack

from datadiet.foundation.errors import BadInputError
from datadiet.foundation.parsing import misfit, parse_yaml, shown
from datadiet.foundation.registry import Registry

REQUIRED = inspect.Parameter.empty
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Option:
    """What there is to know of an option; name, type and sentence are filled in from its group.

    Args:
        default: its value where it is not given; `REQUIRED` for none.
        least: the smallest value.
        most: the largest value.
        above: what the value has to be above.
        below: what the value has to be below.
        must: the words of the refusal of others, after the value; made from `least` if left out.
        flag: its flags, where the name does not say them; None for an option of Python alone.
        read: from what is typed on the command line, and the flag's name, to the value.
        flags: a group whose flags are gathered in this option, a mapping.
        panel: the heading that its flag stands under.
        variable: the environment variable that may give it.
        name: of the keyword.
        type: of the value.
        sentence: what it is, for help and docs; a default in square brackets at its end is not said again.
    """

    default: Any = None
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    must: str = ""
    flag: str | None = ""
    read: Callable[[Any, str], Any] | None = None
    flags: type | None = None
    panel: str | None = None
    variable: str | None = None
    name: str = ""
    type: Any = Any
    sentence: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        """The names that it may be; empty where it is not one of several."""
        kinds = [kind for kind in alternatives(self.type) if get_origin(kind) is Literal]
        return get_args(kinds[0]) if kinds else ()

    def check(self, value: Any) -> None:
        """Refuse a value of another type, outside the range, or that is none of the choices.

        Raises:
            BadInputError: it is.
        """
        if value is None:
            return
        if (wrong := misfit(value, self.type, self.name)) is not None:
            number = isinstance(value, float) and self.must
            raise BadInputError(f"{self.name} is {shown(value)}; {self.must}." if number else wrong)
        if self.choices and value not in self.choices:
            raise unknown(self.name, value, self.choices)
        bounds = (
            (self.least, operator.ge),
            (self.most, operator.le),
            (self.above, operator.gt),
            (self.below, operator.lt),
        )
        if not all(bound is None or compare(value, bound) for bound, compare in bounds):  # nor may it be NaN
            words = self.must or f"it must be {self.least:g} or {'more' if self.least else 'above'}"
            raise BadInputError(f"{self.name} is {shown(value)}; {words}.")


def unknown(kind: str, name: object, known: Iterable[str]) -> BadInputError:
    """The error for a name that is none of those known, with the nearest one or all of them."""
    registry: Registry[None] = Registry(kind)
    for there in known:
        registry.add(there, None)
    return registry.missing(name)


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union but for None; of another type itself.

    Example:
        >>> alternatives(float | None), alternatives(str)
        ((<class 'float'>,), (<class 'str'>,))
    """
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(part for part in parts if part is not type(None))


@functools.cache
def options_of(group: type) -> dict[str, Option]:
    """The options of a group by name: those of the groups that it extends first, then its own."""
    sentences, found = _sentences(group), {}
    for name, hint in get_type_hints(group, include_extras=True).items():
        if get_origin(hint) in (Required, NotRequired):
            (hint,) = get_args(hint)
        kind, *facts = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        option = next((fact for fact in facts if isinstance(fact, Option)), Option())
        found[name] = replace(option, name=name, type=kind, sentence=sentences.get(name, ""))
    return found


def _sentences(group: type) -> dict[str, str]:
    """Name -> its sentence in the docstring of a group, else of one that it extends."""
    found: dict[str, str] = {}
    for base in getattr(group, "__orig_bases__", ()):
        found |= _sentences(base) if isinstance(base, type) else {}
    section = (inspect.getdoc(group) or "").partition("Args:\n")[2].partition("\n\n")[0]
    pairs = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", section, flags=re.MULTILINE | re.DOTALL)
    return found | {name: " ".join(words.split()) for name, words in pairs}


def group_of(function: Callable[..., Any]) -> type | None:
    """The group of options that a function takes as `**options: Unpack[Group]`."""
    for hint in get_type_hints(function, include_extras=True).values():
        if get_origin(hint) is Unpack:
            (group,) = get_args(hint)
            return group  # type: ignore[no-any-return]
    return None


def with_options(**defaults: Any) -> Callable[[Function], Function]:
    """Give a function that takes `**options: Unpack[Group]` all of them: those not given by default, each checked.

    Its signature and its docstring say every option.

    Args:
        defaults: of this function, where they are not those of the group.

    Raises:
        BadInputError: when it is called, for an unknown option or a value that an option does not take.
    """

    def decorate(function: Function) -> Function:
        group = group_of(function)
        assert group is not None, function
        options = {
            name: replace(option, default=defaults.get(name, option.default))
            for name, option in options_of(group).items()
        }
        signature = inspect.signature(function)
        named = {p.name: p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD}
        keywords = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=option.type
            )
            for name, option in options.items()
        ]
        signature = signature.replace(parameters=[*named.values(), *keywords])

        @functools.wraps(function)
        def checked(*arguments: Any, **given: Any) -> Any:
            for name, value in given.items():
                if name in options:
                    options[name].check(value)
                elif name not in named:
                    raise unknown(f"option of {function.__name__}", name, [*named, *options])
            bound = signature.bind(*arguments, **given)
            bound.apply_defaults()
            return function(*bound.args, **bound.kwargs)

        checked.__signature__ = signature  # type: ignore[attr-defined]
        before, args, after = (inspect.getdoc(function) or "").partition("Args:\n")
        section, gap, rest = after.partition("\n\n")
        lines = [section, *(f"    {name}: {option.sentence}" for name, option in options.items())]
        checked.__doc__ = before + args + "\n".join(lines) + gap + rest
        return checked  # type: ignore[return-value]

    return decorate


def options_table(group: type) -> str:
    """A Markdown table of a group: keyword, flags, default, sentence; without what stands under a heading of its own.

    Example:
        >>> from typing_extensions import TypedDict
        >>> class Options(TypedDict):
        ...     '''How models are trained.
        ...
        ...     Args:
        ...         seeds: How many models.
        ...     '''
        ...     seeds: Annotated[int, Option(3)]
        >>> print(options_table(Options))
        | keyword | flag | default | what it is |
        | --- | --- | --- | --- |
        | `seeds` | `--seeds` | `3` | How many models. |
    """
    lines = ["| keyword | flag | default | what it is |", "| --- | --- | --- | --- |"]
    for name, option in options_of(group).items():
        if option.panel is None:
            gathered = [f"`--{part}`" for part in options_of(option.flags)] if option.flags else []
            declared = option.flag or f"--{name.replace('_', '-')}"
            own = [f"`{flag}`" for flag in declared.split()] if option.flag is not None else []
            default = "required" if option.default is REQUIRED else f"`{option.default!r}`"
            lines.append(f"| `{name}` | {' '.join(gathered + own)} | {default} | {option.sentence} |")
    return "\n".join(lines)


def picked(group: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some options that another group has too."""
    return {name: options[name] for name in options_of(group) if name in options}


def names(values: str | Sequence[str], flag: str = "") -> list[str]:
    """Names from a flag that may be repeated or hold several, separated by commas.

    Example:
        >>> names(["el2n,aum", "margin"])
        ['el2n', 'aum', 'margin']
    """
    given = [values] if isinstance(values, str) else values
    return [name.strip() for value in given for name in value.split(",") if name.strip()]


def numbers(values: str | Sequence[str], flag: str) -> tuple[float, ...]:
    """Numbers from a flag that may be repeated or hold several, separated by commas.

    Raises:
        BadInputError: one is not a number.

    Example:
        >>> numbers("0.7,0.5", "keep")
        (0.7, 0.5)
    """
    try:
        return tuple(finite(name) for name in names(values))
    except ValueError as error:
        raise BadInputError(f"--{flag} takes numbers, separated by commas: {error}.") from error


def finite(text: str) -> float:
    """A number from text that is neither infinite nor NaN.

    Raises:
        ValueError: it is no such number.

    Example:
        >>> finite("0.5")
        0.5
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{shown(text)} is no number that can be used")
    return number


def key_values(pairs: Sequence[str], flag: str, *, example: str) -> dict[str, Any]:
    """`key=value` pairs with the values read as YAML: numbers, booleans, lists, text.

    Raises:
        BadInputError: a pair without an equals sign, or with a value that is no plain one.

    Example:
        >>> key_values(["beta=0.2"], "rule-option", example="beta=0.1")
        {'beta': 0.2}
    """
    parts = [pair.partition("=") for pair in pairs]
    if any(not equals or not key for key, equals, _ in parts):
        raise BadInputError(f"--{flag} takes key=value, such as --{flag} {example}.")
    found: dict[str, Any] = {}
    for key, _, text in parts:
        value = parse_yaml(text, f"The value of --{flag} {key}")
        if not _is_plain(value):
            raise BadInputError(
                f"--{flag} {key} is {shown(text)}; give a number, true or false, text, or a list of them."
            )
        found[key] = value
    return found


def _is_plain(value: Any) -> bool:
    """Whether a value is nothing, text, a truth value, a finite number, or a list or mapping of such."""
    if isinstance(value, list | dict):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return misfit(value, str | bool | int | float | None, "it") is None


def named_files(items: Sequence[str], flag: str = "") -> dict[str, str]:
    """Files by name, from FILE or NAME=FILE; one that has no name is called as it is without its ending.

    Raises:
        BadInputError: two have the same name.

    Example:
        >>> named_files(["runs/a.parquet", "b=runs/a.parquet"])
        {'a': 'runs/a.parquet', 'b': 'runs/a.parquet'}
    """
    found: dict[str, str] = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not equals or Path(item).exists():
            name, path = Path(item).stem, item
        if name in found:
            raise BadInputError(f"Two files are named {name!r}; name them apart, as NAME=FILE.")
        found[name] = path
    return found


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def size_in_bytes(text: str, flag: str = "") -> int:
    """Bytes of a size with a unit.

    Raises:
        BadInputError: it is no size.

    Example:
        >>> size_in_bytes("2 GB"), size_in_bytes("512")
        (2000000000, 512)
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([kmgt]?i?)b?\s*", text.lower())
    if match is None or match[2] not in _UNITS:
        raise BadInputError(f"{text!r} is not a size; write it like 500MB or 4GB.")
    size = float(match[1]) * _UNITS[match[2]]
    if size >= 2**63:
        raise BadInputError(f"{shown(text)} is more than any disk holds; write a size like 500MB or 4GB.")
    return int(size)
