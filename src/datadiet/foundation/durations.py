"""Lengths of time as people write them."""

from __future__ import annotations

import math
import re

from datadiet.foundation.errors import BadInputError
from datadiet.foundation.parsing import misfit, shown

_NUMBER = r"(\d+\.?\d*|\.\d+)"
_WRITTEN = re.compile(
    rf"\s*(?:{_NUMBER}\s*h)?\s*(?:{_NUMBER}\s*m(?:in)?)?\s*(?:{_NUMBER}\s*s)?\s*", re.IGNORECASE | re.ASCII
)
_PLAIN = re.compile(rf"\s*{_NUMBER}\s*", re.ASCII)
_EACH = (3600, 60, 1)


def seconds_of(text: str | float, flag: str = "") -> float:
    """Seconds of a length of time: hours, minutes and seconds, or a number, of seconds.

    Args:
        text: such as "1h30m", or a number.
        flag: that it was given with, for the refusal.

    Raises:
        BadInputError: it is no length of time, or is not above zero.

    Example:
        >>> seconds_of("30m"), seconds_of("1h30m"), seconds_of("90s"), seconds_of(45)
        (1800.0, 5400.0, 90.0, 45.0)
    """
    found = _seconds(text)
    if not (0 < found < math.inf):
        what = f"--{flag} is {shown(text)}, which" if flag else shown(text)
        raise BadInputError(f"{what} is no length of time above zero; write it like 30m, 90s or 1h30m.")
    return found


def _seconds(text: str | float) -> float:
    if isinstance(text, str):
        if plain := _PLAIN.fullmatch(text):
            return float(plain[1])
        written = _WRITTEN.fullmatch(text)
        parts = written.groups() if written else ()
        return sum(float(part or 0) * each for part, each in zip(parts, _EACH, strict=False))
    return float(text) if misfit(text, float, "") is None else math.nan
