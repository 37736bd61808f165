"""One key for every example of a data set: ids of its two parts may be the same numbers, keys are not."""

from __future__ import annotations

import re
from typing import Literal

from datadiet.foundation.errors import BadInputError

PartName = Literal["train", "test"]
PARTS: tuple[PartName, PartName] = ("train", "test")
_KEY = re.compile(r"(test:)?(0|[1-9][0-9]{0,18})")


def key_of(part: str, id_: int) -> str:
    """The key of an example: its id, after `test:` in the test part.

    Example:
        >>> key_of("train", 17), key_of("test", 17)
        ('17', 'test:17')
    """
    return f"test:{id_}" if part == "test" else str(id_)


def part_and_id(key: str) -> tuple[PartName, int]:
    """What a key says.

    Raises:
        BadInputError: it is no key.

    Example:
        >>> part_and_id("17"), part_and_id("test:17")
        (('train', 17), ('test', 17))
    """
    found = _KEY.fullmatch(key)
    if found is None or int(found[2]) >= 2**63:
        raise BadInputError(
            f"'{key}' is no id of an example; ids are whole numbers from 0 on, those of the test part after 'test:'."
        )
    return ("test" if found[1] else "train"), int(found[2])
