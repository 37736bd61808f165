"""Lengths of time: what is written comes to the seconds that it says, and all else is one sentence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadiet.foundation.durations import seconds_of
from datadiet.foundation.errors import BadInputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m", 1800), ("90s", 90), ("2h", 7200), ("1h30m", 5400), ("1h 30m 5s", 5405), ("1h5s", 3605), ("45", 45),
        (" 45 ", 45), (45, 45), (0.5, 0.5), ("1.5h", 5400), (".5m", 30), ("30 min", 1800), ("30M", 1800), ("90m", 5400),
        (np.float64(2.5), 2.5), (np.int64(3), 3),
    ],
)  # fmt: skip
def test_a_length_of_time_is_so_many_seconds(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


@given(st.integers(0, 50), st.integers(0, 59), st.integers(1, 59))
def test_parts_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert seconds_of(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


NONE = [
    "", " ", "m", "h", "soon", "30x", "-30m", "30m1h", "1h-5m", "0", "0m", 0, -1.0, math.nan, math.inf, "nan", "inf",
    "1e3", "9" * 400 + "h", "1..5m", "1m2m", "1h30", True, None, [30], 10**400, "٣٠m",
]  # fmt: skip


@pytest.mark.parametrize("text", NONE, ids=lambda text: ascii(text)[:20])
def test_anything_else_is_refused_in_one_sentence(text: Any) -> None:
    with pytest.raises(BadInputError, match=r"^[^\n]{1,110} is no length of time above zero; write .*\.$"):
        seconds_of(text)
