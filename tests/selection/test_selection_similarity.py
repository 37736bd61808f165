"""Rank correlations, overlaps and class balance against direct, slow ways of computing them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.foundation.errors import BadInputError
from datadiet.selection import similarity
from datadiet.selection.similarity import class_balance, overlap, rank_correlations

small_columns = st.integers(2, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-3, 3), min_size=n, max_size=n)] * 2)
)


def kendall_by_pairs(x: list[int], y: list[int]) -> float | None:
    concordant = discordant = only_x = only_y = 0
    for (a, b), (c, d) in itertools.combinations(zip(x, y, strict=True), 2):
        product = (a - c) * (b - d)
        concordant += product > 0
        discordant += product < 0
        only_x += a == c and b != d
        only_y += b == d and a != c
    decided = concordant + discordant
    scale = math.sqrt((decided + only_x) * (decided + only_y))
    return (concordant - discordant) / scale if scale else None


def mean_ranks(values: list[int]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(v) + (ordered.count(v) + 1) / 2 for v in values]


def spearman_by_hand(x: list[int], y: list[int]) -> float | None:
    a, b = mean_ranks(x), mean_ranks(y)
    middle = (len(x) + 1) / 2
    products = sum((p - middle) * (q - middle) for p, q in zip(a, b, strict=True))
    scale = math.sqrt(sum((p - middle) ** 2 for p in a) * sum((q - middle) ** 2 for q in b))
    return products / scale if scale else None


@given(small_columns)
@settings(max_examples=60, deadline=None)
def test_correlations_are_those_counted_pair_by_pair(columns) -> None:
    x, y = columns
    (row,) = rank_correlations({"x": x, "y": y})
    assert row["spearman"] == pytest.approx(spearman_by_hand(x, y), abs=1e-12)
    assert row["kendall"] == pytest.approx(kendall_by_pairs(x, y), abs=1e-12)
    for name in ("spearman", "kendall"):
        if row[f"{name}_low"] is not None:
            assert (
                -1 <= row[f"{name}_low"] <= row[name] + 1e-12
                and row[name] - 1e-12 <= row[f"{name}_high"] <= 1
            )


@given(small_columns)
@settings(max_examples=40, deadline=None)
def test_the_kendall_of_the_bootstrap_is_the_same_kendall(columns) -> None:
    found = similarity._kendall_matrix(np.array(columns, dtype=float))[0, 1]
    expected = kendall_by_pairs(*columns)
    assert math.isnan(found) if expected is None else found == pytest.approx(expected, abs=1e-12)


def test_correlations_do_not_depend_on_the_order_of_the_rows() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 50))
    order = generator.permutation(50)
    (here,), (there,) = (rank_correlations({"x": a, "y": b}) for a, b in ((x, y), (x[order], y[order])))
    assert here["spearman"] == pytest.approx(there["spearman"])
    assert here["kendall"] == pytest.approx(there["kendall"])


def test_an_infinite_score_is_the_hardest_and_nothing_more() -> None:
    (infinite,) = rank_correlations({"x": [1.0, np.inf, 2.0, 0.0], "y": [1.0, 2.0, 3.0, 4.0]})
    (large,) = rank_correlations({"x": [1.0, 9.0, 2.0, 0.0], "y": [1.0, 2.0, 3.0, 4.0]})
    assert infinite == large


def test_a_constant_column_has_no_rank_correlation() -> None:
    (row,) = rank_correlations({"x": [1.0, 1.0, 1.0], "y": [1.0, 2.0, 3.0]})
    assert row["spearman"] is row["kendall"] is row["spearman_low"] is row["kendall_high"] is None


@pytest.mark.parametrize("tied", [False, True])
def test_intervals_cover_the_truth_about_as_often_as_they_say(tied) -> None:
    generator = np.random.default_rng(0)
    everything = generator.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=20_000)
    if tied:
        everything = np.floor(1.5 * everything)
    (truth,) = rank_correlations(dict(zip("xy", everything.T, strict=True)))
    hits = {"spearman": 0, "kendall": 0}
    for repeat in range(40):
        sample = everything[generator.integers(0, len(everything), 50)]
        (row,) = rank_correlations(dict(zip("xy", sample.T, strict=True)), seed=repeat)
        for name in hits:
            hits[name] += row[f"{name}_low"] <= truth[name] <= row[f"{name}_high"]
    # 95 % of 40 is 38; intervals half as wide would cover about 67 %, which is 27.
    assert min(hits.values()) >= 34


def test_more_examples_give_a_narrower_interval_also_beyond_the_size_of_a_draw(monkeypatch) -> None:
    monkeypatch.setattr(similarity, "ROWS_OF_A_DRAW", 200)
    generator = np.random.default_rng(0)
    x, y = generator.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=9_600).T

    def width(n: int) -> float:
        (row,) = rank_correlations({"x": x[:n], "y": y[:n]})
        return float(row["spearman_high"] - row["spearman_low"])

    assert width(600) / width(9_600) == pytest.approx(4.0, rel=0.3)


def test_kendall_of_very_many_rows_is_taken_over_some_of_them_and_says_so(monkeypatch) -> None:
    monkeypatch.setattr(similarity, "MOST_ROWS_OF_KENDALL", 120)
    generator = np.random.default_rng(0)
    x, y = generator.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=400).T
    (row,) = rank_correlations({"x": x, "y": y})
    assert (row["n"], row["kendall_rows"]) == (400, 120)
    assert row["kendall_low"] < kendall_by_pairs(x.tolist(), y.tolist()) < row["kendall_high"]
    assert row["spearman"] == pytest.approx(np.corrcoef(x.argsort().argsort(), y.argsort().argsort())[0, 1])


@given(st.data(), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_overlap_is_that_of_the_sets(data, total) -> None:
    ids = st.sets(st.integers(0, total - 1), min_size=1)
    first, second = data.draw(ids), data.draw(ids)
    found = overlap(len(first), len(second), len(first & second), total)
    assert found["overlap"] == len(first & second) / min(len(first), len(second))
    assert found["jaccard"] == len(first & second) / len(first | second)
    assert found["chance_low"] <= found["chance"] + 1e-12 and found["chance"] <= found["chance_high"] + 1e-12


def test_chance_is_what_all_random_choices_come_to() -> None:
    mine = {0, 1, 2}
    shares = [len(mine & set(theirs)) / 3 for theirs in itertools.combinations(range(7), 3)]
    found = overlap(3, 3, 2, 7)
    assert found["chance"] == pytest.approx(np.mean(shares))
    inside = np.mean([found["chance_low"] <= share <= found["chance_high"] for share in shares])
    assert inside >= 0.95


@pytest.mark.parametrize("sizes", [(3, 3, 4, 10), (0, 3, 0, 10), (6, 6, 1, 10)])
def test_sizes_that_cannot_be_are_refused(sizes) -> None:
    with pytest.raises(BadInputError):
        overlap(*sizes)


@given(st.data(), st.integers(2, 40))
@settings(max_examples=60, deadline=None)
def test_class_balance_is_counted_class_by_class(data, n) -> None:
    labels = data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    rows = sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1)))
    found = class_balance(np.array(labels), np.array(rows))
    kept = [labels[row] for row in rows]
    ratio, distance = {}, 0.0
    for name in set(labels):
        here, there = labels.count(name) / n, kept.count(name) / len(kept)
        ratio[name] = there / here
        distance += abs(here - there) / 2
    assert found["total_variation"] == pytest.approx(distance)
    assert found["largest_ratio"] == pytest.approx(max(ratio.values()))
    assert ratio[found["largest_class"]] == pytest.approx(max(ratio.values()))
    assert found["smallest_ratio"] == pytest.approx(min(ratio.values()))
    assert found["emptied"] == len(set(labels) - set(kept))


def test_the_balance_of_chance_is_near_that_of_random_choices() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [200, 100, 60])
    drawn = [class_balance(labels, generator.permutation(360)[:90]) for _ in range(400)]
    mean = np.mean([found["total_variation"] for found in drawn])
    assert drawn[0]["chance_total_variation"] == pytest.approx(mean, rel=0.1)


def test_columns_of_different_lengths_and_nan_are_refused() -> None:
    with pytest.raises(BadInputError, match="equally many"):
        rank_correlations({"x": [1.0, 2.0], "y": [1.0]})
    with pytest.raises(BadInputError, match="NaN"):
        rank_correlations({"x": [1.0, np.nan], "y": [1.0, 2.0]})
