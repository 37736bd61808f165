"""The decision, on arms whose right answers are made up for the purpose."""

from __future__ import annotations

import json
import shlex
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_up_arms import arm_of, compared, verdict_of, wrong_on
from scipy import stats

import datadiet as dd
from datadiet.foundation.statistics import FEWEST_SEEDS, Trained
from datadiet.jobs.arms import Arm, as_arms, random_arm, subset_arm
from datadiet.jobs.compare import compare_arms
from datadiet.jobs.race import Seeds
from datadiet.jobs.verdict import alike, decide
from datadiet.jobs.what_next import MOST_SEEDS

N_TEST = 10_000
AUTO = {"seeds": Seeds(8), "plans": (8,)}


def fake_arm(score: str, keep: float, errors: list[int], seconds: float = 10.0, n_test: int = N_TEST) -> Arm:
    """An arm whose i-th run is wrong on the first `errors[i]` test examples."""
    return arm_of(score, keep, wrong_on(errors, n_test), seconds=seconds)


def noisy(score: str, keep: float, accuracy: float, seed: int, seeds: int = 3, n_test: int = 4_000) -> Arm:
    """An arm whose runs are right on examples of their own."""
    return arm_of(score, keep, np.random.default_rng(seed).random((seeds, n_test)) < accuracy)


def said(verdict: dict, name: str) -> list[Any]:
    return [subset[name] for subset in verdict["subsets"]]


def test_the_smallest_subset_whose_loss_is_within_the_tolerance_is_recommended() -> None:
    verdict = verdict_of(
        fake_arm("full", 1.0, [1000, 1002, 1004]),
        fake_arm("el2n", 0.7, [1000, 1003, 1004]),
        fake_arm("el2n", 0.5, [1010, 1012, 1014]),
        fake_arm("el2n", 0.3, [1200, 1205, 1210]),
        fake_arm("random", 0.5, [1100, 1102, 1104]),
    )
    assert said(verdict, "holds") == [True, True, False, False]
    assert said(verdict, "outcome") == ["holds", "holds", "fails", "fails"]
    assert said(verdict, "after") == [None] * 4
    assert verdict["recommended"] == verdict["subsets"][1] and verdict["reason"] is None
    assert verdict["recommended"]["keep"] == 0.5
    assert verdict["recommended"]["minus_full"][0] == pytest.approx(-0.001)
    assert verdict["recommended"]["minus_random"][0] == pytest.approx(0.009)
    assert verdict["answer"]["kind"] == "keep"
    assert verdict["answer"]["would_decide"] is None
    assert verdict["answer"]["stopped"] == "fixed"


def test_of_equally_small_subsets_the_most_accurate_is_recommended() -> None:
    arms = [
        fake_arm("full", 1.0, [1000, 1002, 1004]),
        fake_arm("el2n", 0.5, [1010, 1012, 1014]),
        fake_arm("aum", 0.5, [1000, 1002, 1005]),
        fake_arm("random", 0.5, [1012, 1014, 1016]),
    ]
    verdict = verdict_of(*arms)
    assert said(verdict, "holds") == [True] * 3
    assert verdict["recommended"]["score"] == "aum"


def test_the_tolerance_is_in_percentage_points() -> None:
    arms = [fake_arm("full", 1.0, [1000, 1002, 1004]), fake_arm("el2n", 0.5, [1200, 1202, 1204])]
    outcomes = {}
    for tolerance in (0.02, 1.0, 3.0):
        verdict = verdict_of(*arms, tolerance=tolerance)
        assert verdict["tolerance"] == tolerance
        [outcomes[tolerance]] = said(verdict, "outcome")
    assert outcomes == {0.02: "fails", 1.0: "fails", 3.0: "holds"}, "it loses two points"


@pytest.mark.parametrize("how", [{}, AUTO], ids=["fixed", "auto"])
def test_what_it_loses_at_most_is_the_bound_of_the_decision(how: dict) -> None:
    arms = [
        noisy("full", 1.0, 0.95, 0),
        noisy("el2n", 0.7, 0.949, 1),
        noisy("el2n", 0.5, 0.94, 2),
        noisy("random", 0.7, 0.93, 3),
    ]
    comparison = compared(*arms, **how)
    evidence = Trained([arm.correct() for arm in arms], [arm.keep for arm in arms])
    error = comparison.race.error_of(3, 0.05 / 2)
    verdict = decide(comparison)
    for place, subset in enumerate(verdict["subsets"], start=1):
        assert subset["loses_at_most"] == pytest.approx(evidence.loses_at_most(place, 0, error=error))
    # At just this tolerance it holds, and at a little less it does not.
    bound = 100 * verdict["subsets"][0]["loses_at_most"]
    assert verdict_of(*arms, tolerance=bound + 1e-6, **how)["subsets"][0]["holds"] is True
    assert verdict_of(*arms, tolerance=bound - 1e-6, **how)["subsets"][0]["holds"] is False


def test_a_smaller_subset_waits_for_the_largest_that_is_not_shown() -> None:
    verdict = verdict_of(
        fake_arm("full", 1.0, [1000, 1002, 1004]),
        fake_arm("el2n", 0.9, [1000, 1002, 1004]),
        fake_arm("el2n", 0.7, [1500, 1502, 1504]),
        fake_arm("el2n", 0.5, [1000, 1002, 1004]),
        fake_arm("el2n", 0.3, [1000, 1002, 1004]),
        fake_arm("el2n", 0.2, [1700, 1702, 1704]),
    )
    assert said(verdict, "outcome") == ["holds", "fails", "undecided", "undecided", "fails"]
    assert said(verdict, "holds") == [True, False, False, False, False]
    assert said(verdict, "after") == [None, None, 0.7, 0.7, None], "what is shown to lose waits for nothing"
    assert max(said(verdict, "loses_at_most")[2:4]) < 0.005
    assert verdict["recommended"]["keep"] == 0.9


def test_scores_share_the_error() -> None:
    full, one = noisy("full", 1.0, 0.95, 0), noisy("el2n", 0.7, 0.95, 1)
    alone = verdict_of(full, one)["subsets"][0]["loses_at_most"]
    more = [noisy(score, 0.7, 0.95, 1) for score in ("aum", "random", "forgetting")]
    many = Trained([arm.correct() for arm in (full, one, *more)], [1.0, *[0.7] * 4])
    shared = verdict_of(full, one, *more)["subsets"][0]["loses_at_most"]
    assert shared == pytest.approx(many.loses_at_most(1, 0, error=0.05 / 4))
    assert shared > alone


def test_the_processor_time_saved_counts_what_the_scores_cost_on_that_clock() -> None:
    def arm(score: str, keep: float, seconds: list[float]) -> Arm:
        made = fake_arm(score, keep, [100] * len(seconds))
        for run, spent in zip(made.runs, seconds, strict=True):
            clock = {"training": spent - 1, "scoring": 0.0, "loading": 1.0, "evaluation": 50.0}
            run.result["ledger"] = {"seconds": clock, "processor_seconds": clock}
        return made

    arms = [arm("full", 1.0, [10, 20]), arm("el2n", 0.5, [4, 9]), arm("random", 0.5, [5, 10])]
    known = decide(compared(*arms), scoring_seconds=99.0, scoring_processor_seconds=2.0)
    unknown = decide(compared(*arms), scoring_seconds=99.0)
    el2n, random = known["subsets"]
    assert el2n["processor_time_saved"][0] == pytest.approx(1 - np.sqrt(6 / 10 * 11 / 20))
    assert random["processor_time_saved"][0] == pytest.approx(0.5)
    assert unknown["subsets"][0]["processor_time_saved"] is None
    assert unknown["subsets"][1]["processor_time_saved"][0] == pytest.approx(0.5)


def test_the_time_saved_pays_for_all_scoring_and_chance_pays_for_none() -> None:
    arms = [
        fake_arm("full", 1.0, [5, 6, 7], 10.0),
        fake_arm("el2n", 0.5, [5, 6, 7], 5.0),
        fake_arm("random", 0.5, [5, 6, 7], 5.0),
    ]
    el2n, random = verdict_of(*arms, scoring=2.0)["subsets"]
    assert (el2n["scoring_seconds"], random["scoring_seconds"]) == (2.0, 0.0)
    assert el2n["time_saved"][0] == pytest.approx(1 - (5 + 2) / 10)
    assert random["time_saved"][0] == pytest.approx(0.5)
    assert el2n["time_saved_without_scoring"][0] == pytest.approx(0.5)


def test_random_is_recommended_where_random_is_as_good() -> None:
    verdict = verdict_of(
        fake_arm("full", 1.0, [500, 501, 502]),
        fake_arm("el2n", 0.3, [900, 900, 901]),
        fake_arm("random", 0.3, [502, 503, 504]),
    )
    assert verdict["recommended"]["score"] == "random" and verdict["recommended"]["minus_random"] is None
    assert verdict["cost"]["scoring_seconds"] == 0, "chance needs no scores"


@pytest.mark.parametrize(("full", "subset"), [(1, 1), (2, 2), (1, 5), (2, 5), (5, 2), (5, 1)])
def test_fewer_than_three_seeds_of_either_do_not_decide_and_it_is_said(full: int, subset: int) -> None:
    most = max(full, subset)
    verdict = verdict_of(
        fake_arm("full", 1.0, [100] * full),
        fake_arm("el2n", 0.7, [100] * subset),
        fake_arm("el2n", 0.5, [5_000] * subset),
        seeds=Seeds(most, fixed=True),
    )
    assert said(verdict, "holds") == [None, None] and verdict["recommended"] is None
    assert said(verdict, "outcome") == ["undecided", "undecided"]
    assert said(verdict, "loses_at_most") == [None, None]
    assert verdict["answer"]["kind"] == "not_for_deciding"
    assert verdict["answer"]["would_decide"] is None
    assert [entry["loses_at_most"] for entry in verdict["answer"]["curve"]] == [None, None]
    assert "not for deciding" in verdict["reason"] and f"--seeds {FEWEST_SEEDS}" in verdict["reason"]


def test_seeds_that_differ_too_much_are_not_taken_for_equal() -> None:
    verdict = verdict_of(fake_arm("full", 1.0, [500, 700, 900]), fake_arm("el2n", 0.5, [500, 700, 900]))
    assert verdict["subsets"][0]["minus_full"][0] == 0 and verdict["subsets"][0]["holds"] is False
    assert verdict["subsets"][0]["outcome"] == "undecided"
    assert verdict["answer"]["kind"] == "undecided"
    assert "more seeds" in verdict["reason"]


def test_seeds_that_leave_everything_open_are_not_called_a_loss() -> None:
    verdict = verdict_of(fake_arm("full", 1.0, [500, 1000, 1500]), fake_arm("el2n", 0.5, [700, 1200, 1800]))
    assert verdict["subsets"][0]["minus_full"][0] < -0.005 and "more seeds" in verdict["reason"]
    assert verdict["subsets"][0]["outcome"] == "undecided"
    assert verdict["answer"]["kind"] == "undecided"


def test_a_clear_loss_is_called_one() -> None:
    verdict = verdict_of(
        fake_arm("full", 1.0, [500, 500, 501]),
        fake_arm("el2n", 0.5, [900, 900, 901]),
        fake_arm("random", 0.5, [800, 800, 801]),
    )
    assert verdict["answer"]["kind"] == "keep_all"
    assert verdict["answer"]["would_decide"] is None
    assert "every subset is shown to lose more than 0.5 points" in verdict["reason"]
    assert "random" in verdict["reason"], "the least of the losses"


def test_a_subset_for_which_there_was_no_time_leaves_it_open() -> None:
    arms = [fake_arm("full", 1.0, [500, 500, 501]), fake_arm("el2n", 0.7, [900, 900, 901])]
    smaller, other = arm_of("el2n", 0.5), arm_of("random", 0.7)
    closed = verdict_of(*arms, smaller)
    assert closed["answer"]["kind"] == "keep_all", "nothing smaller of a score that loses is asked"
    named = {"score": "el2n", "rule": "hardest", "keep": 0.5, "n": 500}
    assert closed["not_trained"] == [{**named, "why": "a larger one loses more"}]
    verdict = verdict_of(*arms, other)
    assert verdict["answer"]["kind"] == "undecided"
    assert verdict["answer"]["would_decide"] is None
    named = {"score": "random", "rule": "random", "keep": 0.7, "n": 700}
    assert verdict["not_trained"] == [{**named, "why": "time"}]
    assert [subset["score"] for subset in verdict["subsets"]] == ["el2n"]
    assert verdict["subsets"][0]["minus_random"] is None
    assert json.loads(json.dumps(verdict)) == verdict


def test_what_a_loss_closes_is_said_and_by_which_subset() -> None:
    verdict = verdict_of(
        noisy("full", 1.0, 0.95, 1),
        noisy("el2n", 0.9, 0.945, 2),
        noisy("el2n", 0.7, 0.90, 3),
        noisy("el2n", 0.5, 0.95, 4),
        noisy("random", 0.5, 0.95, 5),
    )
    assert said(verdict, "outcome") == ["undecided", "fails", "undecided", "undecided"]
    assert said(verdict, "after") == [None, None, 0.9, None]
    assert said(verdict, "closed_by") == [None, None, 0.7, None]


def test_where_there_was_time_for_full_data_alone_nothing_is_decided() -> None:
    verdict = verdict_of(fake_arm("full", 1.0, [500, 500, 501]), arm_of("el2n", 0.5))
    assert verdict["recommended"] is None and verdict["subsets"] == []
    assert verdict["answer"]["curve"] == []
    assert len(verdict["not_trained"]) == 1


def test_the_curve_has_the_least_loss_of_every_fraction_the_largest_first() -> None:
    verdict = verdict_of(
        fake_arm("full", 1.0, [1000, 1002, 1004]),
        fake_arm("el2n", 0.3, [1500, 1502, 1504]),
        fake_arm("aum", 0.5, [1010, 1012, 1014]),
        fake_arm("el2n", 0.5, [1310, 1312, 1314]),
        fake_arm("random", 0.5, [1100, 1102, 1104]),
        fake_arm("random", 0.3, [1400, 1402, 1404]),
    )
    curve = verdict["answer"]["curve"]
    assert [(entry["keep"], entry["n"], entry["score"], entry["rule"]) for entry in curve] == [
        (0.5, 500, "aum", "hardest"), (0.3, 300, "random", "random"),
    ]  # fmt: skip
    assert [entry["loses_at_most"] for entry in curve] == [
        verdict["subsets"][1]["loses_at_most"], verdict["subsets"][4]["loses_at_most"],
    ]  # fmt: skip


def test_the_curve_of_two_seeds_goes_by_the_means() -> None:
    verdict = verdict_of(
        fake_arm("full", 1.0, [1000, 1002]),
        fake_arm("el2n", 0.5, [1300, 1302]),
        fake_arm("random", 0.5, [1100, 1102]),
    )
    [entry] = verdict["answer"]["curve"]
    assert (entry["score"], entry["loses_at_most"]) == ("random", None)


COMMAND = "datadiet run 'my data' --seeds 3 --max-seeds=8 --time 30m --quick --keep=0.5 --plan"


def more_of(arm: Arm, seeds: int, seed: int = 0) -> Arm:
    """The same noisy arm with further seeds of the same accuracies, each wrong on examples of its own."""
    generator = np.random.default_rng([seed, seeds])
    right = arm.correct()
    n, rows = right.shape[1], list(right)
    while len(rows) < seeds:
        row = np.ones(n, dtype=bool)
        row[generator.choice(n, n - int(right[len(rows) % len(right)].sum()), replace=False)] = False
        rows.append(row)
    return arm_of(arm.score, arm.keep, np.stack(rows))


@pytest.mark.parametrize(
    ("accuracy", "how", "decided", "less"),
    [
        (0.95, {}, "holds", 3),
        (0.952, AUTO, "holds", 4),
        (0.95, AUTO, "holds", 3),
        (0.938, AUTO, "fails", 4),
    ],
)
def test_so_many_seeds_as_are_said_do_decide(accuracy: float, how: dict, decided: str, less: int) -> None:
    arms = [noisy("full", 1.0, 0.95, 10), noisy("el2n", 0.5, accuracy, 11)]
    verdict = verdict_of(*arms, command=COMMAND, **how)
    assert verdict["answer"]["kind"] == "undecided"
    would = verdict["answer"]["would_decide"]
    seeds = would["seeds"]
    assert (would["score"], would["keep"], would["n"]) == ("el2n", 0.5, 500)
    assert would["trainings"] == 2 * (seeds - 3)
    assert would["seconds"] == pytest.approx(10.0 * would["trainings"])
    assert would["test_examples"] is None

    def outcome(number: int) -> str:
        then = dict(how)
        if how:
            then = {"seeds": Seeds(max(8, number)), "plans": (8,) if number <= 8 else (8, number)}
        [found] = said(verdict_of(*(more_of(arm, number) for arm in arms), **then), "outcome")
        return found

    assert less < seeds <= MOST_SEEDS
    assert (outcome(less), outcome(seeds)) == ("undecided", decided)


@pytest.mark.parametrize(("scores", "accuracy"), [(1, 0.95), (1, 0.938), (2, 0.952), (2, 0.94)])
def test_so_many_seeds_as_are_said_are_the_fewest_by_the_formula(scores: int, accuracy: float) -> None:
    full, arm = noisy("full", 1.0, 0.95, 10), noisy("el2n", 0.5, accuracy, 11)
    others = [fake_arm("random", 0.5, [1000, 1002, 1004], n_test=4_000)] * (scores - 1)
    would = verdict_of(full, arm, *others)["answer"]["would_decide"]
    rights = [one.correct().astype(float) for one in (full, arm, *others)]
    n = 4_000
    spread = sum(Trained(rights, [1.0, *[0.5] * scores]).spread.typical(place) ** 2 for place in (0, 1))
    by_luck = 0.0  # of the residuals of a two-way table of seeds and examples
    for right in rights[:2]:
        rest = right - right.mean(axis=0) - right.mean(axis=1, keepdims=True) + right.mean()
        by_luck += float((rest**2).sum()) / (2 * (n - 1)) / n
    differences = rights[1].mean(axis=0) - rights[0].mean(axis=0)
    lasting = max(0.0, float(differences.var(ddof=1)) / n - by_luck / 3)

    def decides(seeds: int) -> bool:
        error = float(np.sqrt(lasting + (by_luck + spread) / seeds))
        holds = -differences.mean() + stats.norm.isf(0.05 / scores) * error <= 0.005
        return bool(holds or -differences.mean() - stats.norm.isf(0.05 / 2) * error > 0.005)

    assert would["score"] == "el2n"
    assert [decides(seeds) for seeds in range(4, would["seeds"] + 1)] == [False] * (would["seeds"] - 4) + [
        True
    ]


def test_the_cheapest_decision_of_all_scores_is_named_and_full_data_is_counted_once() -> None:
    arms = [
        noisy("full", 1.0, 0.95, 10, seeds=5),
        noisy("el2n", 0.5, 0.952, 11),
        noisy("random", 0.5, 0.946, 12),
    ]
    for number, arm in enumerate(arms):
        for run in arm.runs:
            run.result["seconds"] = (10.0, 6.0, 5.0)[number]
    would = verdict_of(*arms, seeds=Seeds(5, fixed=True))["answer"]["would_decide"]
    assert would["score"] == "el2n"
    seeds = would["seeds"]
    assert would["trainings"] == max(0, seeds - 5) + seeds - 3
    assert would["seconds"] == pytest.approx(10.0 * max(0, seeds - 5) + 6.0 * (seeds - 3))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (COMMAND, ["datadiet", "run", "my data", "--keep=0.5"]),
        ("datadiet run digits --seeds=3 --time=1h", ["datadiet", "run", "digits"]),
        ("datadiet run digits --max-seeds 8 --score-seeds 2", ["datadiet", "run", "digits", "--score-seeds", "2"]),
        ("datadiet run \"it's; rm -rf\" --out '$HOME'", ["datadiet", "run", "it's; rm -rf", "--out", "$HOME"]),
    ],
)  # fmt: skip
def test_the_command_that_would_decide_asks_for_so_many_seeds_at_most(
    command: str, expected: list[str]
) -> None:
    arms = [noisy("full", 1.0, 0.95, 10), noisy("el2n", 0.5, 0.95, 11)]
    would = verdict_of(*arms, command=command)["answer"]["would_decide"]
    assert shlex.split(would["command"]) == [*expected, "--max-seeds", str(would["seeds"])]
    assert verdict_of(*arms)["answer"]["would_decide"]["command"] is None


@pytest.mark.parametrize("how", [{}, AUTO], ids=["fixed", "auto"])
def test_where_no_seeds_would_do_the_test_examples_are_told_that_would(how: dict) -> None:
    n = 1_000
    right = wrong_on([50, 51, 52], n)
    apart = np.roll(right, 500, axis=1)  # as good, on other examples: seeds do not help
    arms = [arm_of("full", 1.0, right), arm_of("el2n", 0.5, apart)]
    verdict = verdict_of(*arms, command=COMMAND, **how)
    would = verdict["answer"]["would_decide"]
    assert (would["seeds"], would["trainings"], would["command"]) == (None, 0, None)
    needed = would["test_examples"]
    assert needed > n

    def outcome(times: int) -> str:
        larger = [arm_of(arm.score, arm.keep, np.tile(arm.correct(), (1, times))) for arm in arms]
        fixed = {"seeds": Seeds(MOST_SEEDS, fixed=True)}
        many = [arm_of(arm.score, arm.keep, np.tile(arm.correct(), (MOST_SEEDS // 3, 1))) for arm in larger]
        return said(verdict_of(*many, **fixed), "outcome")[0]

    assert outcome(2 * round(needed / n)) == "holds"
    assert outcome(max(1, round(needed / n / 2))) == "undecided"


def test_nothing_would_decide_a_subset_that_loses_just_the_tolerance() -> None:
    arms = [arm_of(score, keep, wrong_on([wrong] * 3, 2_000)) for score, keep, wrong in
            (("full", 1.0, 100), ("el2n", 0.5, 110))]  # fmt: skip
    verdict = verdict_of(*arms)
    assert verdict["answer"]["kind"] == "undecided"
    assert verdict["answer"]["would_decide"] is None


def test_seeds_that_are_copies_are_warned_of_and_perfect_ones_are_not() -> None:
    generator = np.random.default_rng(0)
    row = generator.random(500) < 0.9
    copies = arm_of("el2n", 0.7, np.stack([row] * 3))
    nearly = arm_of("el2n", 0.5, np.stack([row, row, row ^ (np.arange(500) == 7)]))
    full = arm_of("full", 1.0, generator.random((3, 500)) < 0.9)
    perfect = arm_of("random", 0.7, np.ones((3, 500), dtype=bool))
    one = arm_of("random", 0.5, row[None])
    assert alike([full, nearly, perfect, one]) == []
    [warning] = alike([full, copies, nearly, perfect])
    assert warning.startswith("All 3 trainings of el2n hardest 0.7 are right on the very same test examples")
    assert warning in verdict_of(full, copies, nearly, perfect)["warnings"]


@pytest.mark.parametrize(("seeds", "by"), [(Seeds(3, fixed=True), "fixed"), (Seeds(8), "auto")])
def test_it_is_said_who_chose_the_seeds_and_how_many_there_are(seeds: Seeds, by: str) -> None:
    arms = [fake_arm("full", 1.0, [5, 6, 7, 8]), fake_arm("el2n", 0.5, [5, 6, 7])]
    verdict = verdict_of(*arms, seeds=seeds, plans=(8,))
    assert (verdict["seeds_by"], verdict["seeds"]) == (by, 4)
    assert (verdict["full"]["seeds"], verdict["subsets"][0]["seeds"]) == (4, 3)
    assert verdict["quick"] is None
    assert decide(compared(*arms), quick={"rows": 200, "of": 1000})["quick"] == {"rows": 200, "of": 1000}


def test_no_interval_is_of_width_zero_nor_of_everything() -> None:
    perfect = wrong_on([0] * 3, 40)
    verdict = verdict_of(
        arm_of("full", 1.0, perfect),
        arm_of("el2n", 0.5, perfect),
        arm_of("random", 0.5, wrong_on([0, 20, 40], 40)),
    )
    for mean, low, high in (*said(verdict, "minus_full"), [1.0, *verdict["full"]["interval"]]):
        assert (low is None and high is None) or (low <= mean <= high and low < high)
    assert said(verdict, "minus_full")[0][1] < 0
    assert verdict["full"]["interval"][0] < 1.0
    single = verdict_of(arm_of("full", 1.0, perfect[:1, :1]), arm_of("el2n", 0.5, perfect[:1, :1]))
    assert single["subsets"][0]["minus_full"][1:] == [None, None]


def test_scoring_pays_after_as_many_trainings_as_make_up_for_it() -> None:
    arms = [fake_arm("full", 1.0, [5, 6, 7], 10.0), fake_arm("el2n", 0.5, [5, 6, 7], 6.0)]
    cost = verdict_of(*arms, scoring=9.0, budget="epochs")["cost"]
    assert cost["pays_after_trainings"] == 3  # 4 seconds saved each time
    assert (cost["full_training_seconds"], cost["kept_training_seconds"]) == (10.0, 6.0)
    assert cost["today_seconds"] == 9 + 3 * 10 + 3 * 6
    assert verdict_of(*arms, scoring=9.0)["cost"]["pays_after_trainings"] is None, "with the same steps"
    arms[1] = fake_arm("el2n", 0.5, [5, 6, 7], 10.0)
    assert verdict_of(*arms, budget="epochs")["cost"]["pays_after_trainings"] is None


def test_full_and_matched_random_are_trained_beside_every_subset(tiny, tmp_path) -> None:
    ids = tiny.examples.train.ids
    arms = [subset_arm("el2n", "hardest", 0.5, ids[::2]), subset_arm("aum", "hardest", 0.5, ids[1::2])]
    comparison = compare_arms(tiny, arms, seeds=Seeds(2, fixed=True), seed=3)
    assert [(a.score, a.n) for a in comparison.arms] == [
        ("full", 120),
        ("el2n", 60),
        ("aum", 60),
        ("random", 60),
    ]
    assert all([run.seed for run in arm.runs] == [1003, 1004] for arm in comparison.arms)
    comparison.write(tmp_path / "results.parquet")
    table = pq.read_table(tmp_path / "results.parquet")
    assert table.num_rows == 8 and set(table.column("budget").to_pylist()) == {"steps"}
    assert json.dumps(decide(comparison))


def test_every_random_subset_has_a_seed_of_its_own(tiny) -> None:
    arm = random_arm(tiny, 0.5, 60, seed=0)
    first, second = arm.ids_for(0), arm.ids_for(1)
    assert len(first) == len(second) == 60
    assert not np.array_equal(first, second) and np.array_equal(first, arm.ids_for(0))
    assert not np.array_equal(first, random_arm(tiny, 0.5, 60, seed=1).ids_for(0))
    assert set(first) <= set(tiny.examples.train.ids)


@pytest.mark.parametrize("form", ["floor", "balance", "per_class"])
def test_random_subsets_keep_to_the_quotas_of_what_they_stand_beside(tiny, form) -> None:
    train = tiny.examples.train
    groups = np.where(np.arange(len(train)) < 6, "rare", "common")
    quotas = {
        "floor": {"floor": 5, "groups": groups},
        "balance": {"balance": "group", "groups": groups},
        "per_class": {"per_class": True},
    }[form]
    beside = subset_arm("el2n", "hardest", 0.1, train.ids[:12])
    arm = compare_arms(tiny, [beside], seeds=Seeds(1, fixed=True), forms=quotas).random_of(12)
    assert arm is not None
    draws = [train.positions_of(arm.ids_for(index)) for index in range(20)]
    if form == "per_class":
        shares = np.bincount(train.labels) / len(train) * 12
        for drawn in draws:
            assert (np.abs(np.bincount(train.labels[drawn], minlength=len(shares)) - shares) < 1).all()
    else:
        rare = [int((groups[drawn] == "rare").sum()) for drawn in draws]
        assert min(rare) >= 5, "without the quota about one of twelve would be rare"
        assert form == "floor" or set(rare) == {6}
    assert len({tuple(drawn) for drawn in draws}) > 1


@pytest.mark.parametrize(
    ("ids", "words"),
    [([], "one or more"), ([0, 0], "twice"), ([10**9], "not in this part"), ([0.5], "whole numbers")],
)
def test_kept_ids_that_do_not_fit_the_data_are_refused(tiny, ids, words) -> None:
    with pytest.raises(dd.BadInputError, match=words):
        as_arms(tiny, {"mine": ids})


def test_keep_turns_scores_that_fall_with_difficulty_around() -> None:
    table = dd.ScoreTable.from_seeds(
        [0, 1, 2, 3], [0, 0, 1, 1], [{"aum": [3.0, -2.0, 1.0, 0.0], "el2n": [0.0, 1.0, 0.2, 0.3]}]
    )
    assert dd.keep(table, 0.5, by="aum").tolist() == dd.keep(table, 0.5, by="el2n").tolist() == [1, 3]
    assert dd.keep(table, 0.5, by="aum", rule="easiest").tolist() == [0, 2]
    assert dd.keep(table, 0.5, by="aum", per_class=True).tolist() == [1, 3]
    with pytest.raises(dd.BadInputError, match="which score"):
        dd.keep(table, 0.5)


def test_kept_ids_survive_their_file_and_know_their_data(tmp_path) -> None:
    kept = dd.Kept(np.array([2, 5, 2**40]), {"fingerprint": "abc", "keep": 0.5})
    kept.write(tmp_path / "kept.parquet")
    back = dd.Kept.read(tmp_path / "kept.parquet")
    assert back.ids.tolist() == [2, 5, 2**40] and back.about == kept.about
    back.check_data("abc")
    with pytest.raises(dd.BadInputError, match="other data"):
        back.check_data("def")
    (tmp_path / "kept.txt").write_text("2\n5\n")
    assert dd.Kept.read(tmp_path / "kept.txt").ids.tolist() == [2, 5]
