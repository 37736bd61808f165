"""The plan of a run against what is then trained, and its chances against drawing."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from datadiet.engine.estimates import Costs
from datadiet.engine.setup import Setup
from datadiet.foundation.statistics import Trained
from datadiet.jobs.compare import compare_arms
from datadiet.jobs.plan import (
    DISAGREEMENTS,
    PlannedArm,
    RunPlan,
    cannot_show,
    chance_to_decide,
    expected_arms,
    needed_test_examples,
    no_decision,
    plan_line,
    plan_run,
    plan_text,
)
from datadiet.jobs.race import Seeds
from datadiet.jobs.score import score_with

COSTS = Costs(step=0.5, evaluation=3.0, scoring_pass=2.0)


def an_arm(score: str, keep: float, seconds: float = 10.0, there: int = 0, most: int = 8) -> PlannedArm:
    return PlannedArm(
        score, "hardest", keep, round(1000 * keep), 100, seconds, (True,) * there + (False,) * (most - there)
    )


def a_plan(**changes: object) -> RunPlan:
    arms = (
        an_arm("full", 1.0),
        *(an_arm(score, keep) for score in ("el2n", "random") for keep in (0.7, 0.5, 0.3)),
    )
    plan = RunPlan(40, 20.0, (False,) * 3, arms, seeds=3, max_seeds=8, n_test=10_000, tolerance=0.5, chains=2)
    return replace(plan, **changes)  # type: ignore[arg-type]


def plan_of(setup: Setup, **options: object) -> RunPlan:
    told = {"models": 2, "model_steps": 10, "seeds": 2, "max_seeds": 3, "costs": COSTS, **options}
    return plan_run(setup, expected_arms(setup, ["el2n"], {0.7: "hardest", 0.5: "hardest"}), **told)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_test", [360, 10_000])
@pytest.mark.parametrize("seeds", [3, 8])
@pytest.mark.parametrize("disagreement", DISAGREEMENTS)
def test_chances_are_those_of_drawing(n_test: int, seeds: int, disagreement: float) -> None:
    generator = np.random.default_rng(0)
    draws, level, tolerance = 200_000, 0.98, 0.6
    # Two arms whose examples differ lastingly, whose predictions and accuracies differ by luck of each seed.
    by_luck, spread = 0.4 * disagreement, 0.04 * disagreement
    lasting = generator.normal(0, math.sqrt(disagreement / 5 / n_test), draws)
    luck = sum(
        sign * generator.normal(0, math.sqrt((by_luck / n_test + spread**2) / seeds), draws)
        for sign in (1, -1)
    )
    found = lasting + luck
    shown = found - stats.norm.ppf(level) * found.std() > -tolerance / 100
    assert chance_to_decide(n_test, seeds, tolerance, level, disagreement) == pytest.approx(
        shown.mean(), abs=0.01
    )


@pytest.mark.parametrize(("n", "tolerance"), [(30, 0.5), (234, 0.5), (235, 0.5), (5000, 0.02)])
def test_what_a_test_part_cannot_show_is_the_bound_of_two_arms_that_agree(n: int, tolerance: float) -> None:
    agree = np.ones((1, n), dtype=bool)  # one seed, so that nothing is added for seeds
    bound = Trained([agree, agree]).loses_at_most(1, 0, error=0.05)
    found = cannot_show(n, tolerance, 0.95)
    assert found == (pytest.approx(bound, rel=1e-5) if bound > tolerance / 100 else None)


def test_the_test_examples_that_are_needed_are_the_fewest() -> None:
    for tolerance, level in ((0.5, 0.95), (2.0, 0.99), (0.1, 0.95), (60.0, 0.95)):
        needed = needed_test_examples(tolerance, level)
        assert needed is not None
        assert cannot_show(needed, tolerance, level) is None
        assert needed == 1 or cannot_show(needed - 1, tolerance, level) is not None
    assert needed_test_examples(0.0, 0.95) is None


def test_the_plan_has_what_is_then_trained(tiny: Setup) -> None:
    plan = plan_of(tiny)
    assert plan.trainings(2) == 2 + 2 * 5
    assert plan.trainings(3) == 2 + 3 * 5
    assert plan.trainings(3, there=True) == 0
    steps = 4 * math.ceil(120 / 16)
    assert [arm.steps for arm in plan.arms] == [steps] * 5, "subsets train for the full data's steps"
    assert plan.seconds(2) == pytest.approx(2 * (10 * 0.5 + 2) + 2 * 5 * (steps * 0.5 + 3))
    scoring = score_with(tiny, ["el2n"], seeds=2, at_epoch=10 / 8)
    subsets = expected_arms(tiny, ["random"], {0.7: "", 0.5: ""})
    comparison = compare_arms(tiny, subsets, seeds=Seeds(2, fixed=True))
    assert len(scoring.runs) + sum(len(arm.runs) for arm in comparison.arms) == 2 + 2 * 3
    after = plan_of(tiny)
    assert after.models_there == (True, True)
    assert [arm.there for arm in after.arms] == [
        (True, True, False), (False,) * 3, (False,) * 3, (True, True, False), (True, True, False)
    ]  # fmt: skip
    assert after.seconds(2) == pytest.approx(2 * 2 * (steps * 0.5 + 3))
    known = plan_run(tiny, comparison.arms[1:], costs=COSTS, models=2, model_steps=10, seeds=2, max_seeds=2)
    assert known.seconds(2) == 0, "nothing is trained again"
    assert known.trainings(2, there=True) == known.trainings(2) == 2 + 2 * 3


def test_another_length_is_another_training(tiny: Setup) -> None:
    compare_arms(tiny, [], seeds=Seeds(1, fixed=True))
    assert plan_of(tiny).arms[0].there == (True, False, False)
    tiny.recipe = tiny.recipe.replace(epochs=5)
    assert plan_of(tiny).arms[0].there == (False, False, False)
    tiny.recipe = tiny.recipe.replace(epochs=4, budget="epochs")
    assert [arm.steps for arm in plan_of(tiny).arms] == [32, 24, 16, 24, 16], "of ceil(n / 16) steps an epoch"


def test_time_is_shared_out_in_order() -> None:
    seconds = 3 * 20 + 7 * 3 * 10
    assert a_plan(time=seconds).fitting() == (7, 3)
    assert a_plan(time=seconds + 2 * 70 - 1).fitting() == (7, 4)
    assert a_plan(time=1e6).fitting() == (7, 8)
    assert a_plan(time=seconds - 1).fitting() == (6, 3)
    assert a_plan(time=60 + 29).fitting() == (0, 3)
    there = a_plan(models_there=(True,) * 3, time=30)
    assert there.fitting() == (1, 3), "scoring models that are there take no time"
    assert "in 1 h 30 min there is time for 8 seeds;" in plan_line(a_plan(time=5400))
    assert "there is time for 3 seeds of 6 of the 7 arms;" in plan_line(a_plan(time=seconds - 1))
    assert "1 min 29 s are not enough for 3 seeds of full data;" in plan_line(a_plan(time=89))


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_the_chances_of_a_plan_are_at_the_level_of_its_looks_and_chains(seeds: int) -> None:
    shared = 0.05 / 2
    spent = 0.95 * shared * (seeds / 8) ** 2
    assert a_plan().level(seeds) == pytest.approx(1 - spent)
    assert a_plan(fixed=True).level(seeds) == pytest.approx(1 - shared)
    assert a_plan().chances(seeds) == tuple(
        chance_to_decide(10_000, seeds, 0.5, 1 - spent, disagreement) for disagreement in DISAGREEMENTS
    )
    assert a_plan().chances(2) == (0, 0)


def test_too_few_seeds_have_no_chance_and_it_is_said() -> None:
    assert plan_line(a_plan(seeds=1, max_seeds=1)).endswith("1 seed cannot decide, 3 are the fewest.")
    assert plan_line(a_plan(seeds=2, max_seeds=2)).endswith("2 seeds cannot decide, 3 are the fewest.")
    assert "7 arms of 1 seed: 10 trainings" in plan_line(a_plan(seeds=1, max_seeds=1))


def test_a_plan_in_one_line() -> None:
    assert plan_line(a_plan()) == (
        "Plan: 3 scoring models, 7 arms of 3 to 8 seeds: 24 to 59 trainings, 4 min 30 s to 10 min 20 s here; chance to "
        "show that a subset that loses nothing is within 0.5 points: 99 % if trainings differ on 1 % of the test "
        "examples, 32 % to 88 % if trainings differ on 5 % of the test examples."
    )
    some = a_plan(models_there=(), max_seeds=3, arms=(an_arm("full", 1.0, there=2, most=3),), n_test=10**7)
    assert plan_line(some).startswith(
        "Plan: 1 arm of 3 seeds: 3 trainings (2 of them there already), 10 s here; chance "
    )
    assert plan_line(replace(some, tolerance=5.0)).endswith(
        "within 5 points: 99 % if trainings differ on 1 % of the test examples, 99 % if trainings differ on 5 % of "
        "the test examples."
    )


def test_a_plan_line_by_line() -> None:
    text = plan_text(a_plan(arms=(an_arm("full", 1.0, there=2), an_arm("el2n", 0.3), an_arm("random", 0.3))))
    assert text.splitlines() == [
        "       3 scoring models, 40 steps each: about 1 min",
        "  3 to 8 trainings on all 1,000 examples, 100 steps each: about 1 min, 2 there already",
        "  3 to 8 trainings on 30 % by el2n hardest (300 examples), 100 steps each: about 1 min 20 s",
        "  3 to 8 trainings on 30 % at random (300 examples), 100 steps each: about 1 min 20 s",
        "12 to 27 trainings in all, 2 min 10 s to 4 min 40 s here",
        "Chance to show that a subset that loses nothing is within 0.5 points: 99 % if trainings differ on 1 % of the "
        "test examples, 32 % to 88 % if trainings differ on 5 % of the test examples",
        "nothing was started",
    ]


def test_what_no_number_of_seeds_decides_is_said(tiny: Setup) -> None:
    assert tiny.n_test == 30
    plan = plan_of(tiny)
    told = no_decision(plan)
    assert told == (
        "With 30 test examples a subset that is just as good as full data is shown to lose at most 7.1 points, with "
        "any number of seeds: only one that does better is shown to be within the tolerance of 0.5 points; it takes "
        "about 399 test examples, or tolerance=7.1 or more."
    )
    assert told[1:-1] in plan_line(plan)
    assert told[1:-1] in plan_text(plan)
    assert "if trainings differ" not in plan_text(plan)
    assert plan.chances(3) == (0, 0)
    assert no_decision(plan_of(tiny, tolerance=7.1)) is None
    nothing = no_decision(plan_of(tiny, tolerance=0.0))
    assert nothing is not None
    assert "within the tolerance of 0 points; it takes tolerance=7.1 or more" in nothing


def test_a_plan_is_plain_data(tiny: Setup) -> None:
    plan = plan_of(tiny, time=100.0)
    data = json.loads(json.dumps(plan.as_dict()))
    assert data == plan.as_dict(), "lists and numbers alone"
    assert [(at["seeds"], at["trainings"]) for at in data["at"]] == [(2, 12), (3, 17)]
    assert data["at"][1]["seconds"] == plan.seconds(3)
    assert data["fits"] == {"arms": 2, "seeds": 2}, "14 s for scores, 38 s an arm"
    assert data["arms"][1] == {
        "score": "el2n", "rule": "hardest", "keep": 0.7, "n": 84, "steps": 32, "seconds": 19.0,
        "there": [False, False, False],
    }  # fmt: skip


def test_fractions_that_keep_everything_are_no_arms(tiny: Setup) -> None:
    arms = expected_arms(tiny, ["el2n", "random", "el2n"], dict.fromkeys([1.0, 0.999, 0.5], "hardest"))
    assert [(arm.score, arm.n) for arm in arms] == [("el2n", 60), ("random", 60)]
