"""What is read from outside: JSON and YAML that do no harm, and whether a value has the type that it must have."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from typing_extensions import NotRequired, Required, is_typeddict

from datadiet.foundation.errors import BadInputError

_LEVELS = 100  # of lists and mappings in one another
_VALUES = 1_000_000  # counted as often as they are named
_LARGEST = 2**63 - 1  # whole numbers beyond it are no counts, seeds or ids
_SHOWN = 60  # characters of a value in a sentence
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "nothing"}


def parse_json(text: str | bytes, what: str) -> Any:
    """A JSON value: no name twice in one object, numbers that a computer holds, and not nested without end.

    Args:
        text: in UTF-8.
        what: it is, for messages, such as "The manifest 'a/manifest.json'".

    Raises:
        BadInputError: it is not such JSON.

    Example:
        >>> parse_json('{"a": [1, 2.5]}', "It")
        {'a': [1, 2.5]}
        >>> parse_json('{"a": 1, "a": 2}', "It")
        Traceback (most recent call last):
        ...
        datadiet.foundation.errors.BadInputError: It cannot be read as JSON: 'a' stands more than once in it.
    """
    try:
        found = json.loads(
            text, object_pairs_hook=_once, parse_int=_whole, parse_float=_real, parse_constant=_real
        )
        _bounded(found)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{what} cannot be read as JSON: {_reason(error)}.") from error
    return found


def parse_yaml(text: str, what: str) -> Any:
    """A value of plain YAML: no tags, no name twice in one mapping, and not nested or repeated without end.

    Args:
        text: of one document.
        what: it is, for messages.

    Raises:
        BadInputError: it is not such YAML.

    Example:
        >>> parse_yaml("[1, 0.5, yes]", "It")
        [1, 0.5, True]
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            if isinstance(node, yaml.MappingNode):
                names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
                _refuse_twice(names)
            return super().construct_mapping(node, deep)

    try:
        found = yaml.load(text, Loader)
        _bounded(found)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise BadInputError(f"{what} is not YAML{where}.") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise BadInputError(f"{what} is not YAML that can be used: {_reason(error)}.") from error
    return found


def require(value: Any, kind: Any, name: str) -> Any:
    """The value, when it is of a type.

    Args:
        value: anything.
        kind: a type as annotations write it, or a `TypedDict`.
        name: what the value is called in messages.

    Raises:
        BadInputError: it is of another.

    Example:
        >>> require([3, 4], list[int], "seeds")
        [3, 4]
        >>> require([3, "4"], list[int], "seeds")
        Traceback (most recent call last):
        ...
        datadiet.foundation.errors.BadInputError: seeds is '4' in place 1; it must be a whole number.
    """
    wrong = misfit(value, kind, name)
    if wrong is not None:
        raise BadInputError(wrong)
    return value


def misfit(value: Any, kind: Any, name: str) -> str | None:
    """The sentence on a value that is not of a type; None where it is, or the type is none that values can be held to.

    Numbers are finite, whole ones fit into 64 bits, and truth values are no numbers; numbers of numpy are
    numbers.
    """
    if get_origin(kind) in (Annotated, Required, NotRequired):
        return misfit(value, get_args(kind)[0], name)
    if get_origin(kind) in (Union, UnionType):
        wrong = [misfit(value, part, name) for part in get_args(kind)]
        if None in wrong:
            return None
        inner = next(
            (text for text in wrong if text is not None and not text.startswith(_said(name, value))), None
        )
        return inner or f"{_said(name, value)}; it must be {_words(kind)}."
    if get_origin(kind) is Literal:
        fits = isinstance(value, str) or not all(isinstance(choice, str) for choice in get_args(kind))
        return None if fits else f"{_said(name, value)}; it must be text."
    if is_typeddict(kind):
        return _misfit_fields(value, kind, name)
    whole = get_origin(kind) or kind
    if whole in (list, tuple, Sequence):
        return _misfit_items(value, kind, name)
    if whole in (dict, Mapping):
        return _misfit_values(value, kind, name)
    return None if _is_plain(value, kind) else f"{_said(name, value)}; it must be {_words(kind)}."


def shown(value: Any) -> str:
    """A value in a sentence: shortened, whatever it is.

    Example:
        >>> shown(2.5), len(shown(10**5000)) < 100
        ('2.5', True)
    """
    if isinstance(value, float):
        return f"{value:g}"
    try:
        text = repr(value.item() if isinstance(value, np.generic) else value)
    except Exception:  # a number of too many digits to write, a list that holds itself
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _misfit_fields(value: Any, kind: Any, name: str) -> str | None:
    if not isinstance(value, Mapping):
        return f"{_said(name, value)}; it must be a mapping."
    hints = get_type_hints(kind, include_extras=True)
    for field, hint in hints.items():
        needed = get_origin(hint) is Required or (kind.__total__ and get_origin(hint) is not NotRequired)
        if needed and field not in value:
            return f"{name} has no {field!r}."
    wrong = (misfit(value[field], hint, f"{name}.{field}") for field, hint in hints.items() if field in value)
    return next((text for text in wrong if text is not None), None)


def _misfit_items(value: Any, kind: Any, name: str) -> str | None:
    items = [part for part in get_args(kind) if part is not Ellipsis]
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        if isinstance(value, str) and items == [str]:
            return None  # one name is as good as several
        return f"{_said(name, value)}; it must be a list{_of(items)}."
    if not items or not isinstance(value, Sequence):
        return None
    if get_origin(kind) is tuple and Ellipsis not in get_args(kind) and len(value) != len(items):
        return f"{_said(name, value)}; it must be a list of {len(items)}."
    for place, item in enumerate(value):
        if (wrong := misfit(item, items[0], name)) is not None:
            said = _said(name, item)
            return wrong.replace(said, f"{said} in place {place}", 1) if wrong.startswith(said) else wrong
    return None


def _misfit_values(value: Any, kind: Any, name: str) -> str | None:
    if not isinstance(value, Mapping):
        return f"{_said(name, value)}; it must be a mapping."
    if not (kinds := get_args(kind)):
        return None
    if (odd := next((key for key in value if misfit(key, kinds[0], name) is not None), None)) is not None:
        return f"{name} has the key {shown(odd)}; a key must be {_words(kinds[0])}."
    wrong = (misfit(part, kinds[1], f"{name}.{key}") for key, part in value.items())
    return next((text for text in wrong if text is not None), None)


def _is_plain(value: Any, kind: Any) -> bool:
    if kind in (None, NoneType):
        return value is None
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if kind is int:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        return whole and -_LARGEST <= value <= _LARGEST
    if kind is float:
        if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
            return False
        return bool(-_LARGEST <= value <= _LARGEST) if isinstance(value, int) else math.isfinite(value)
    if kind is str:
        return isinstance(value, str)
    return isinstance(value, str | os.PathLike) if _is_path(kind) else True


def _is_path(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, os.PathLike)


def _said(name: str, value: Any) -> str:
    return f"{name} is {shown(value)}"


def _words(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in get_args(kind) if part is not NoneType))
    whole = get_origin(kind) or kind
    if whole in (list, tuple, Sequence):
        return "a list" + _of([part for part in get_args(kind) if part is not Ellipsis])
    if whole in (dict, Mapping) or is_typeddict(kind):
        return "a mapping"
    return _WORDS.get(kind, "a path" if _is_path(kind) else "text")


def _of(items: Sequence[Any]) -> str:
    several = {int: " of whole numbers", float: " of numbers", str: " of texts"}
    return several.get(items[0], "") if len(items) == 1 else ""


def _bounded(value: Any) -> None:
    """Refuse what is nested too deeply, or holds so many values, counted wherever they are named again."""
    level, count = [value], 0
    for _ in range(_LEVELS):
        nested = [part for part in level if isinstance(part, dict | list)]
        level = []
        for part in nested:
            count += len(part)
            if count > _VALUES:
                raise ValueError("it holds too many values")
            level += part.values() if isinstance(part, dict) else part
        if not level:
            return
    raise ValueError(f"it is nested more than {_LEVELS} levels deep")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no name stands twice: the second would silently replace the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        _refuse_twice([name for name, _ in pairs])
    return found


def _refuse_twice(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{name!r} stands more than once in it")
        seen.add(name)


def _whole(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"the number {text[:20]}... has too many digits")
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number that can be used")
    return number


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"it is nested more than {_LEVELS} levels deep"
    return " ".join(str(error).split()).rstrip(".")[:200]
