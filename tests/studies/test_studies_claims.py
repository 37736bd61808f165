"""Intervals of claims: what three alike values show, what is exact, and what a scale does not ask."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from scipy import stats

from datadiet.foundation.statistics import Estimate
from datadiet.studies.toolbox import accuracy
from datadiet.studies.toolbox import claims as toolbox
from datadiet.studies.toolbox.accuracy import (
    accuracy_columns,
    difference,
    evenness,
    in_percent,
    points_by_epoch,
    rank_correlation,
    rank_resolution,
    trained_arms,
)
from datadiet.studies.toolbox.claims import (
    NOT_KNOWN,
    Claim,
    Measurement,
    accuracy_difference,
    judge,
    mean_correlation,
    mean_difference,
    mean_of,
    mean_within,
    share_saved,
)
from datadiet.studies.toolbox.figures import bars, draw_groups, draw_lines, panel

MEANS = {
    "mean": mean_of,
    "correlation": mean_correlation,
    "saved": share_saved,
    "within": partial(mean_within, low=0.0, high=1.0),
    "difference": lambda values, unit, **more: mean_difference(values, np.zeros(len(values)), unit, **more),
}


def decided(found: Measurement, **bound: float) -> str:
    return judge([Claim("x is there.", "made up", "x", found, **bound)])[0].outcome


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_values_that_all_agree_have_no_interval_unless_their_step_is_known(name, count) -> None:
    values = [0.4] * count
    found = MEANS[name](values, "seeds")
    assert found.interval(0.95) == NOT_KNOWN and found.unseen
    assert decided(found, above=-9.0) == ("undecided" if count > 2 else "not asked")
    (finding,) = judge([Claim("x.", "made up", "x", MEANS[name]([0.4] * 3, "seeds"))])
    assert finding.reason == "the spread between seeds cannot be seen, all of which agree"

    stepped = MEANS[name](values, "seeds", resolution=0.03)
    low, high = stepped.interval(0.95)
    assert not stepped.unseen and low < stepped.estimate < high
    coarser = MEANS[name](values, "seeds", resolution=0.06).interval(0.95)
    assert coarser[0] < low < high < coarser[1]


def test_the_least_deviation_is_that_of_a_value_anywhere_within_its_step() -> None:
    uniform = np.random.default_rng(0).uniform(-0.03 / 2, 0.03 / 2, 1_000_000).std()
    reach = stats.t.ppf(0.975, 2) * uniform / np.sqrt(3)
    assert mean_of([0.4] * 3, "seeds", resolution=0.03).interval(0.95) == pytest.approx(
        (0.4 - reach, 0.4 + reach), rel=1e-3
    )
    # A step is no floor under a spread that is larger, and one of rounding is none.
    wide = mean_of([0.1, 0.4, 0.7], "seeds", resolution=0.03)
    assert wide.interval(0.95) == mean_of([0.1, 0.4, 0.7], "seeds").interval(0.95)
    assert mean_of([0.3, 0.1 + 0.2, 0.3], "seeds").interval(0.95) == NOT_KNOWN


def test_one_value_has_no_interval_whatever_its_step_and_two_have_students() -> None:
    for name in MEANS:
        assert MEANS[name]([0.4], "seeds", resolution=0.1).interval(0.95) == NOT_KNOWN
    reach = stats.t.ppf(0.975, 1) * 0.5  # of 1 and 2: the standard error is a half
    assert mean_of([1.0, 2.0], "seeds").interval(0.95) == pytest.approx((1.5 - reach, 1.5 + reach))


def test_a_step_of_correlations_and_ratios_is_taken_to_their_scales() -> None:
    step, t = 0.02, stats.t.ppf(0.975, 2) / np.sqrt(12) / np.sqrt(3)
    z = np.arctanh(0.6)
    reach = t * (np.arctanh(0.61) - np.arctanh(0.59))
    found = mean_correlation([0.6] * 3, "seeds", resolution=step)
    assert found.interval(0.95) == pytest.approx((np.tanh(z - reach), np.tanh(z + reach)))
    low, high = mean_correlation([1.0] * 3, "seeds", resolution=step).interval(0.95)
    assert 0.5 < low < high <= 1.0
    saved = share_saved([0.5] * 3, "seeds", resolution=step)
    reach = t * step / 0.5
    assert saved.interval(0.95) == pytest.approx((1 - 0.5 * np.exp(reach), 1 - 0.5 * np.exp(-reach)))


def test_what_is_exact_is_decided_without_an_interval_and_however_few() -> None:
    found = share_saved([0.5, 0.5], "seeds", exact=True)
    (holds,) = judge([Claim("x.", "made up", "x", found, above=0.4)])
    facts = holds.as_dict()
    assert (facts["outcome"], facts["interval"], facts["exact"]) == ("holds", None, True)
    assert decided(found, above=0.6) == "fails" and decided(found, below=0.6) == "holds"
    assert decided(found, above=0.5) == decided(found, below=0.5) == "fails"  # the bound is on neither side
    differing = share_saved([0.5, 0.6, 0.55], "seeds", exact=True)
    assert not differing.exact and differing.interval(0.95)[0] > -np.inf
    assert (
        judge([Claim("x.", "made up", "x", mean_of([1.0, 2.0, 4.0], "seeds"))])[0].as_dict()["exact"] is False
    )


def test_an_interval_that_is_the_whole_range_is_not_known_and_one_that_ends_inside_is_cut() -> None:
    wide = mean_within([0.0, 0.9, 0.6], "seeds", 0.0, 1.0)
    assert wide.interval(0.95) == NOT_KNOWN
    (finding,) = judge([Claim("x.", "made up", "x", wide, above=0.2)])
    assert finding.outcome == "undecided" and "as wide as all" in str(finding.reason)
    assert json.loads(json.dumps(finding.as_dict()))["interval"] == [None, None]
    free = mean_of([0.0, 0.1, 0.2], "seeds").interval(0.95)
    assert free[0] < 0
    assert mean_within([0.0, 0.1, 0.2], "seeds", 0.0, 1.0).interval(0.95) == (0.0, free[1])
    assert mean_within([0.8, 0.9, 1.0], "seeds", 0.0, 1.0).interval(0.95) == pytest.approx((1 - free[1], 1.0))
    assert mean_correlation([0.99, -0.99, 1.0, -1.0], "seeds").interval(0.999) == NOT_KNOWN
    assert mean_correlation([0.3], "seeds").interval(0.95) == NOT_KNOWN


def test_two_units_ask_nothing_and_take_no_level_from_those_that_are_asked() -> None:
    asked = Claim("x.", "made up", "x", mean_of([1.0, 1.1, 0.9, 1.05], "seeds"))
    few = Claim("y.", "made up", "y", mean_of([1.0, 1.1], "seeds"))
    exact = Claim("z.", "made up", "z", mean_of([1.0, 1.0], "seeds", exact=True))
    findings = judge([asked, few, few, exact])
    assert [finding.outcome for finding in findings] == ["holds", "not asked", "not asked", "holds"]
    assert findings[0].level == pytest.approx(1 - 0.05 / 2)
    assert findings[1].reason == "3 seeds are the fewest that decide; there are 2"
    more = Claim("y.", "made up", "y", mean_of([1.0, 1.1, 0.9], "seeds"), least=4)
    assert "4 seeds are the fewest" in str(judge([more])[0].reason)


def test_a_smoke_scale_decides_nothing_and_still_shows_what_was_measured() -> None:
    sure = mean_of([1.0, 1.01, 0.99, 1.0], "seeds")
    exact = share_saved([0.5] * 3, "seeds", exact=True)
    found = judge([Claim("x.", "made up", "x", each) for each in (sure, exact, None)], decides=False)
    assert [finding.outcome for finding in found] == ["smoke"] * 3
    assert found[0].as_dict()["measured"] == pytest.approx(1.0)
    assert found[0].as_dict()["interval"] == list(sure.interval(found[0].level))
    assert "decides nothing" in str(found[0].reason)


def test_a_difference_knows_of_every_arm_and_of_nothing_else_that_was_remembered(monkeypatch) -> None:
    generator = np.random.default_rng(1)
    arms = {name: generator.random((3, 50)) < 0.8 for name in ("a", "b", "c")}
    seen, interval = [], toolbox.difference_interval

    def watched(arm, reference, *, level, among):
        seen.append((level, among))
        return interval(arm, reference, level=level, among=among)

    monkeypatch.setattr(toolbox, "difference_interval", watched)
    found = difference({**arms, "scores": generator.random((3, 50)), "variation": {}}, "a", "b")
    low, high = found.interval(0.9)
    assert low <= found.estimate <= high
    ((level, among),) = seen
    assert level == 0.9 and [id(each) for each in among] == [id(each) for each in arms.values()]
    assert difference(arms, "a", "d") is None and difference(arms, "d", "a") is None


def test_only_arms_of_seeds_and_examples_are_trained_arms() -> None:
    arm = np.ones((2, 3), bool)
    assert trained_arms({"arm": arm, "mask": np.ones(3, bool), "scores": np.ones((2, 3)), "words": {}}) == [
        arm
    ]


def test_units_of_a_difference_are_the_seeds_of_the_arm_that_has_fewer() -> None:
    generator = np.random.default_rng(2)
    few, many = generator.random((2, 60)) < 0.9, generator.random((5, 60)) < 0.6
    assert accuracy_difference(few, many).n == accuracy_difference(many, few).n == 2
    assert accuracy_difference(few, many).estimate == pytest.approx(few.mean() - many.mean())
    assert decided(accuracy_difference(few, many)) == "not asked"


def test_a_difference_that_could_be_any_has_no_bounds(monkeypatch) -> None:
    arm = np.array([[True], [False], [True]])
    for bounds, expected in (((-1.0, 1.0), NOT_KNOWN), ((-0.2, 1.0), (-0.2, 1.0))):
        monkeypatch.setattr(
            toolbox, "difference_interval", lambda *arms, bounds=bounds, **more: Estimate(0.0, *bounds)
        )
        assert accuracy_difference(arm, ~arm).interval(0.95) == expected


def test_bounds_that_are_not_known_are_empty_cells_and_no_bars(monkeypatch) -> None:
    monkeypatch.setattr(accuracy, "accuracy_interval", lambda correct, among: Estimate(0.5, 0.0, 1.0))
    row = accuracy_columns(np.array([[True, False]]))
    assert (row["low"], row["high"]) == (None, None)
    x, height, low, high = in_percent(3.0, row)
    assert (x, height) == (3.0, 50.0) and np.isnan([low, high]).all()
    monkeypatch.setattr(accuracy, "accuracy_interval", lambda correct, among: Estimate(0.9, 0.7, 1.0))
    assert in_percent(3.0, accuracy_columns(np.array([[True]]))) == pytest.approx((3.0, 90.0, 70.0, 100.0))

    points = points_by_epoch([{"epoch": 1.0}], lambda epoch: mean_of([0.5] * 3, "seeds"))
    assert np.isnan(bars(*zip(*(point[1:] for point in points), strict=True))).all()
    assert bars([1.0], [1.2], [1.5]).tolist() == [[0.0], [0.5]]
    for draw in (draw_lines, partial(draw_groups, names=["x"], apart=0.1)):
        _, axes = panel(4, 3)
        draw(axes, {"a": points, "b": [(0.0, 1.0, 0.5, 2.0)]})
        ends = [
            segment
            for container in axes.containers
            for lines in container[2]
            for segment in lines.get_segments()
            if len(segment) and np.isfinite(segment).all()
        ]
        assert len(ends) == 1 and sorted(ends[0][:, 1]) == [0.5, 2.0]
        assert np.isfinite(axes.get_ylim()).all()


def test_the_step_of_a_rank_correlation_is_that_of_two_neighbours_that_change_places() -> None:
    for count in (3, 4, 7):
        order = np.arange(float(count))
        swapped = order.copy()
        swapped[[0, 1]] = swapped[[1, 0]]
        assert 1 - rank_correlation(order, swapped) == pytest.approx(rank_resolution(count))


def test_two_examples_have_a_rank_correlation_and_two_classes_an_evenness() -> None:
    assert rank_correlation(np.array([1.0, 2.0]), np.array([5.0, 3.0])) == pytest.approx(-1.0)
    assert np.isnan(rank_correlation(np.array([1.0, np.nan]), np.array([5.0, 3.0])))
    assert evenness(np.array([0, 0, 0, 1]), 2) == pytest.approx(0.8112781)
    assert evenness(np.zeros(3, int), 1) == 1.0


def test_means_hold_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(3)
    truth, draws = 0.7, 600
    inside = {"mean": 0, "correlation": 0, "saved": 0}
    for _ in range(draws):
        normal = truth + 0.1 * generator.normal(size=4)
        z = np.tanh(truth + 0.1 * generator.normal(size=4))
        ratios = np.exp(np.log(1 - truth) + 0.1 * generator.normal(size=4))
        for name, values in (("mean", normal), ("correlation", z), ("saved", ratios)):
            low, high = MEANS[name](values.tolist(), "seeds").interval(0.9)
            inside[name] += low < (np.tanh(truth) if name == "correlation" else truth) < high
    for count in inside.values():
        assert count / draws == pytest.approx(0.9, abs=0.04)
