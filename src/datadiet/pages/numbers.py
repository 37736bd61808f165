"""Numbers as a reader should see them: rounded half up, percentages, points, intervals, times."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from typing import Any, TypeGuard

NOT_MEASURED = "not measured"
NOT_KNOWN = "not known"
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def rounded(value: float, decimals: int) -> Decimal:
    """The value rounded half away from zero as its shortest decimal form reads, and never minus zero.

    >>> rounded(28.5, 0), rounded(2.675, 2), rounded(-0.04, 1)
    (Decimal('29'), Decimal('2.68'), Decimal('0.0'))
    """
    result = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
    return abs(result) if result == 0 else result


def is_number(value: object) -> TypeGuard[float]:
    """Whether the value is a finite number.

    >>> is_number(0.5), is_number(None), is_number(float("nan")), is_number(True)
    (True, False, False, False)
    """
    return hasattr(value, "__float__") and not isinstance(value, bool) and math.isfinite(float(value))


def are_numbers(values: Any) -> TypeGuard[Sequence[float]]:
    """Whether there are values, and every one is a finite number.

    >>> are_numbers([0.1, 0.2]), are_numbers([0.1, None]), are_numbers(None)
    (True, False, False)
    """
    return values is not None and all(is_number(value) for value in values)


def times_hundred(value: float) -> float:
    """The value times 100 as its shortest decimal form reads.

    In binary 0.285 * 100 is 28.499999999999996, and would round the wrong way.

    >>> times_hundred(0.285)
    28.5
    """
    return float(Decimal(repr(float(value))) * 100)


def percent(value: float | None, decimals: int = 1, sign: bool = True) -> str:
    """A fraction in percent; all or nothing is written only where it is exactly so.

    >>> percent(0.97154), percent(1.0), percent(0.99996), percent(None)
    ('97.2 %', '100.0 %', '99.996 %', 'not measured')
    """
    if not is_number(value):
        return NOT_MEASURED
    hundredfold = times_hundred(value)
    while decimals < 6 and hundredfold not in (0.0, 100.0) and rounded(hundredfold, decimals) in (0, 100):
        decimals += 1
    return f"{rounded(hundredfold, decimals):f}" + (" %" if sign else "")


def share(value: float) -> str:
    """A kept fraction in percent, without needless zeros.

    >>> share(0.7), share(0.125), share(1 / 3), share(0.0005)
    ('70 %', '12.5 %', '33.3 %', '0.05 %')
    """
    text = percent(value, decimals=1 if abs(value) >= 0.01 else 3, sign=False)
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


def points(value: float | None, decimals: int = 1, minus: str = "-") -> str:
    """A difference of two fractions in percentage points, with its sign.

    >>> points(-0.0012), points(0.004), points(0.0), points(-0.006, minus="−")
    ('-0.1', '+0.4', '0.0', '−0.6')
    """
    if not is_number(value):
        return NOT_MEASURED
    number = rounded(times_hundred(value), decimals)
    sign = minus if number < 0 else "+" if number > 0 else ""
    return f"{sign}{abs(number):f}"


def is_known(interval: Any, whole: tuple[float, float] = (0.0, 1.0)) -> TypeGuard[Sequence[float]]:
    """Whether an interval says something: it has two ends, apart, and is not all that there can be, `whole`.

    >>> is_known([0.9, 0.95]), is_known([None, None]), is_known([0.9, 0.9]), is_known([0.0, 1.0])
    (True, False, False, False)
    """
    return are_numbers(interval) and interval[0] < interval[1] and not _covers(interval, whole)


def _covers(interval: Sequence[float], whole: tuple[float, float]) -> bool:
    return interval[0] <= whole[0] and interval[1] >= whole[1]


def _brackets(
    interval: Any, whole: tuple[float, float], shown: Callable[[float, int], str], decimals: int = 1
) -> str:
    """Both ends, with as many digits as it takes to tell them apart."""
    if not is_known(interval, whole):
        return f"[{NOT_KNOWN}]"
    while decimals < 6 and shown(interval[0], decimals) == shown(interval[1], decimals):
        decimals += 1
    return f"[{shown(interval[0], decimals)}, {shown(interval[1], decimals)}]"


def points_interval(interval: Any, decimals: int = 1, minus: str = "-") -> str:
    """The two ends of a difference's interval, in percentage points.

    >>> points_interval([-0.006, 0.004]), points_interval([None, None]), points_interval([-0.00012, -0.00011])
    ('[-0.6, +0.4]', '[not known]', '[-0.012, -0.011]')
    """
    return _brackets(interval, (-1.0, 1.0), partial(points, minus=minus), decimals)


def points_with_interval(difference: Any, minus: str = "-") -> str:
    """A difference [mean, low, high] in percentage points with its interval.

    >>> points_with_interval([-0.001, -0.004, 0.003]), points_with_interval([-0.001, None, None])
    ('-0.1 [-0.4, +0.3]', '-0.1 [not known]')
    >>> points_with_interval(None)
    'not measured'
    """
    if difference is None or not is_number(difference[0]):
        return NOT_MEASURED
    return f"{points(difference[0], minus=minus)} {points_interval(difference[1:], minus=minus)}"


def percent_interval(interval: Any) -> str:
    """The two ends of an accuracy's interval, in percent; nothing where there is none.

    >>> percent_interval([0.965, 0.9789]), percent_interval([0.0, 1.0]), percent_interval(None)
    ('[96.5, 97.9]', '[not known]', '')
    """
    return "" if interval is None else _brackets(interval, (0.0, 1.0), partial(percent, sign=False))


def tolerance_points(tolerance: float) -> str:
    """A tolerance, given in percentage points, in words.

    >>> tolerance_points(0.5), tolerance_points(1)
    ('0.5 points', '1 point')
    """
    number = f"{rounded(tolerance, 3):f}".rstrip("0").rstrip(".")
    return f"{number} point" if number == "1" else f"{number} points"


def count(value: int) -> str:
    """A whole number with commas between the thousands.

    >>> count(1006), count(50000)
    ('1,006', '50,000')
    """
    return f"{int(value):,}"


def several(number: int, what: str) -> str:
    """A count and what it is of, in the plural where it is not one.

    Example:
        >>> several(1, "seed"), several(3000, "seed")
        ('1 seed', '3,000 seeds')
    """
    return f"{count(number)} {what}" + ("" if number == 1 else "s")


def duration(seconds: float | None) -> str:
    """A time in the two units that matter.

    >>> duration(0.042), duration(7.26), duration(59.7), duration(200), duration(7500), duration(200000)
    ('0.04 s', '7.3 s', '1 min', '3 min 20 s', '2 h 5 min', '2 d 7 h')
    """
    if not is_number(seconds):
        return NOT_MEASURED
    if seconds < 9.95:
        return f"{rounded(seconds, 2 if seconds < 1 else 1):f} s"
    whole = int(rounded(seconds, 0))
    for (large, name), (small, small_name) in itertools.pairwise(_UNITS):
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def rough_duration(seconds: float) -> str:
    """A time that is only guessed, in the unit that fits.

    >>> rough_duration(40), rough_duration(843), rough_duration(9000)
    ('40 s', '14 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def money(amount: float) -> str:
    """A price in two decimals, and in more where it is small.

    >>> money(1234.5), money(0.0042), money(0.0)
    ('1,234.50', '0.004', '0.00')
    """
    decimals = 2
    while decimals < 6 and amount != 0 and rounded(amount, decimals) == 0:
        decimals += 1
    return f"{rounded(amount, decimals):,f}"


def compact(value: float, digits: int = 4) -> str:
    """A score's value in at most so many significant digits.

    >>> compact(1.23456), compact(12), compact(0.00001234), compact(float("inf"))
    ('1.235', '12', '1.234e-05', 'inf')
    """
    return f"{float(value):.{digits}g}"
