"""Damage for files that are read back: bytes flipped, cut and spliced, and values in a structure exchanged."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

from datadiet.foundation.errors import BadInputError

#: Values that stand where something else is meant to.
ODD = (
    None,
    True,
    -1,
    0,
    1,
    2**63,
    2**70,
    10**400,
    0.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "3",
    "\ud800",
    [],
    {},
    [[]],
    [None],
    {"": 1},
)


def damaged(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """So many damaged forms of a file: bits flipped, pieces cut out, doubled, zeroed, the end lost."""
    generator = random.Random(seed)
    for _ in range(count):
        found = bytearray(content)
        first = generator.randrange(len(found))
        last = min(len(found), first + generator.choice((1, 4, 16, 64, 1024)))
        match generator.randrange(8):
            case 0:
                del found[first:]
            case 1:
                del found[first:last]
            case 2:
                found[first:first] = found[first:last]
            case 3:
                found[first:last] = bytes(last - first)
            case _:  # the smallest damage is the hardest to see
                found[first] ^= 1 << generator.randrange(8)
        if bytes(found) != content:
            yield bytes(found)


def altered(value: Any, count: int, seed: int) -> Iterator[Any]:
    """So many altered copies of a structure: a value of another type, a key gone, a list cut or doubled."""
    generator = random.Random(seed)
    for _ in range(count):
        found = copy.deepcopy(value)
        holder, key = generator.choice(list(_places(found)))
        match generator.randrange(4):
            case 0:
                del holder[key]
            case 1 if isinstance(holder[key], list):
                holder[key] = holder[key] * 2 if generator.random() < 0.5 else holder[key][:-1]
            case _:
                holder[key] = copy.deepcopy(generator.choice(ODD))
        yield found


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def check_each(
    forms: Iterator[Any], read: Callable[[Any], Any], right: Callable[[Any], bool] | None = None
) -> None:
    """See that each form is refused with one sentence, or gives the right answer; without `right`, any answer.

    Some have to be refused.
    """
    refused = 0
    for form in forms:
        try:
            found = read(form)
        except BadInputError as error:
            assert str(error).endswith((".", "?")) and "\n" not in str(error), str(error)
            refused += 1
        else:
            assert right is None or right(found), form
    assert refused


def altered_states(state: dict[str, Any], count: int, seed: int) -> Iterator[dict[str, Any]]:
    """So many altered copies of a mapping of tensors: a part gone, of another size or type, with odd numbers."""
    import torch

    generator = random.Random(seed)
    for _ in range(count):
        found = {name: part.clone() for name, part in state.items()}
        name = generator.choice(list(found))
        part = found[name]
        match generator.randrange(6):
            case 0:
                del found[name]
            case 1:
                found[name] = torch.cat([part.reshape(-1), part.reshape(-1)[:1]])
            case 2:
                found[name] = part.reshape(-1)[:-1]
            case 3:
                found[name] = part.to(generator.choice([torch.float32, torch.int64, torch.bool, torch.uint8]))
            case 4:
                found[name] = generator.choice(ODD)
            case _ if part.numel():
                odd = generator.choice([-1, -(2**62), 2**62, 3, float("nan")])
                if part.dtype in (torch.bool, torch.uint8) or (
                    odd != odd and not part.dtype.is_floating_point
                ):
                    odd = 1
                place = generator.randrange(part.numel())
                part.view(-1)[place] = odd if part.dtype != torch.int32 else -1
        yield found
