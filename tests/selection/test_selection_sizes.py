"""Sizes and quotas: exact in total, exact in each group."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.foundation.errors import BadInputError
from datadiet.selection import kept_size
from datadiet.selection.sizes import ceiling_share, equal_quotas, proportional_quotas, rounded_share

SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(lambda sizes: sum(sizes) > 0)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 10**7), st.integers(1, 1000))
def test_a_fraction_of_thousandths_rounds_as_schoolbook_decimals_do(n, thousandths):
    wanted = int((Decimal(thousandths) / 1000 * n).quantize(Decimal(1), rounding=ROUND_HALF_UP))
    if wanted == 0:
        with pytest.raises(BadInputError, match="leaves none"):
            kept_size(n, thousandths / 1000)
    else:
        assert kept_size(n, thousandths / 1000) == wanted


@pytest.mark.parametrize(
    ("n", "keep", "size"),
    [
        (10, 0.7, 7),
        (20, 0.35, 7),
        (100, 0.29, 29),
        (100, 0.145, 15),
        (5, 0.5, 3),
        (3, 0.1666667, 1),
        (7, 1.0, 7),
    ],
)
def test_products_that_floating_point_misses_come_out_right(n, keep, size):
    assert kept_size(n, keep) == size


def test_an_integer_is_a_count_and_not_a_fraction():
    assert kept_size(10, 1) == 1
    assert kept_size(10, 1.0) == 10
    assert kept_size(10, np.int32(4)) == 4
    assert kept_size(10, np.float32(0.7)) == 7


@pytest.mark.parametrize(
    "keep", [0.0, -0.1, 1.0001, float("nan"), float("inf"), 0, -1, 11, True, "0.5", None, 0.04]
)
def test_a_keep_that_makes_no_sense_is_refused(keep):
    with pytest.raises(BadInputError, match="keep is"):
        kept_size(10, keep)


def test_no_examples_are_refused():
    with pytest.raises(BadInputError, match="no examples"):
        kept_size(0, 0.5)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(0, 1000))
def test_shares_bracket_the_exact_product(n, thousandths):
    exact = Fraction(thousandths, 1000) * n
    assert abs(rounded_share(n, thousandths / 1000) - exact) <= Fraction(1, 2)
    assert 0 <= ceiling_share(n, thousandths / 1000) - exact < 1


@settings(deadline=None, max_examples=60)
@given(SIZES, st.data())
def test_proportional_quotas_add_up_and_lie_within_one_of_the_exact_share(sizes, data):
    total = data.draw(st.integers(0, sum(sizes)))
    quotas = proportional_quotas(sizes, total).tolist()
    assert sum(quotas) == total
    for size, quota in zip(sizes, quotas, strict=True):
        assert abs(quota - Fraction(size * total, sum(sizes))) < 1
        assert quota <= size


def test_the_largest_remainders_get_what_rounding_down_left():
    # 45 of 70 + 20 + 10: exact shares 31.5, 9, 4.5; one is left, and of two equal remainders the first gets
    # it.
    assert proportional_quotas([70, 20, 10], 45).tolist() == [32, 9, 4]
    # 10 of 33 + 33 + 34: 3.3, 3.3, 3.4.
    assert proportional_quotas([33, 33, 34], 10).tolist() == [3, 3, 4]


@settings(deadline=None, max_examples=60)
@given(SIZES, st.data())
def test_equal_quotas_add_up_and_only_a_group_that_gives_all_gets_less(sizes, data):
    total = data.draw(st.integers(0, sum(sizes)))
    quotas = equal_quotas(sizes, total).tolist()
    assert sum(quotas) == total
    most = max(quotas)
    for size, quota in zip(sizes, quotas, strict=True):
        assert quota <= size
        assert quota == size or quota >= most - 1


def test_equal_quotas_follow_the_budget_worked_by_hand():
    # 40 of strata 5, 100, 8, 30. Smallest first: 40 // 4 = 10 > 5 -> 5; 35 // 3 = 11 > 8 -> 8; 27 // 2 = 13
    # -> 13; 14.
    assert equal_quotas([5, 100, 8, 30], 40).tolist() == [5, 14, 8, 13]
    # An empty stratum gives its part to the others: 9 over two -> 4 and 5.
    assert equal_quotas([0, 50, 20], 9).tolist() == [0, 5, 4]


def test_more_than_there_is_cannot_be_shared():
    with pytest.raises(BadInputError, match="6 examples cannot be taken from 5"):
        equal_quotas([2, 3], 6)
    with pytest.raises(BadInputError, match="6 examples cannot be taken from 5"):
        proportional_quotas([2, 3], 6)
