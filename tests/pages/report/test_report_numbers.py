"""Numbers in a report are rounded as a reader would round them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadiet.pages.numbers import (
    compact,
    duration,
    is_number,
    percent,
    percent_interval,
    points,
    points_interval,
    points_with_interval,
    share,
)


@given(st.integers(0, 100_000))
def test_percent_rounds_half_up_on_the_decimal_number_that_is_written(thousandths):
    # In whole numbers: thousandths of a percent to tenths of a percent, half up.
    tenths = (thousandths + 50) // 100
    shown = percent(thousandths / 100_000, sign=False)
    if tenths in (0, 1000) and thousandths not in (0, 100_000):
        assert float(shown) not in (0, 100)
        assert abs(float(shown) - thousandths / 1000) <= 0.0050001
    else:
        assert shown == f"{tenths // 10}.{tenths % 10}"


@given(st.integers(-100_000, 100_000))
def test_points_have_the_right_sign_and_never_minus_zero(thousandths):
    shown = points(thousandths / 100_000)
    tenths = (abs(thousandths) + 50) // 100
    sign = "" if tenths == 0 else "-" if thousandths < 0 else "+"
    assert shown == f"{sign}{tenths // 10}.{tenths % 10}"


@pytest.mark.parametrize(
    ("value", "shown"), [(0.9996, "99.96 %"), (1.0, "100.0 %"), (0.0, "0.0 %"), (0.0001, "0.01 %")]
)
def test_almost_all_is_not_shown_as_all(value, shown):
    assert percent(value) == shown


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_was_not_measured_is_said(value):
    assert percent(value) == points(value) == duration(value) == "not measured"
    assert not is_number(value)


@pytest.mark.parametrize(
    "interval", [[0.1, math.nan], [None, None], [0.0, 1.0], [0.97, 0.97], [-0.1, 1.2], [0.9, 0.8]]
)
def test_an_interval_that_says_nothing_is_not_known(interval):
    assert percent_interval(interval) == "[not known]"


def test_the_whole_range_of_a_difference_is_not_known():
    assert points_interval([-1.0, 1.0]) == "[not known]"
    assert points_interval([-1.0, 0.0]) == "[-100.0, 0.0]"
    assert points_with_interval([-0.004, None, None]) == "-0.4 [not known]"


def test_the_ends_of_an_interval_can_be_told_apart():
    assert percent_interval([0.97121, 0.97128]) == "[97.12, 97.13]"
    assert points_interval([0.0, 0.0004]) == "[0.00, +0.04]"


@pytest.mark.parametrize(
    ("keep", "shown"), [(1.0, "100 %"), (0.7, "70 %"), (0.05, "5 %"), (0.125, "12.5 %"), (0.001, "0.1 %")]
)
def test_kept_fractions_are_short(keep, shown):
    assert share(keep) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0.00 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min"), (3599.6, "1 h"), (90000, "1 d 1 h")],
)
def test_durations_carry_over_to_the_next_unit(seconds, shown):
    assert duration(seconds) == shown


def test_scores_are_cut_to_significant_digits():
    assert compact(0.000123456, 3) == "0.000123"
