"""The decision, on arms whose right answers are made up for the purpose."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

import datadiet as dd
from datadiet.data.duplicates import Repeats
from datadiet.jobs.arms import Arm, as_arms, random_arm, subset_arm
from datadiet.jobs.compare import Comparison, compare_arms
from datadiet.jobs.verdict import decide


def fake_arm(score: str, keep: float, errors: list[int], n_test: int, seconds: float = 10.0) -> Arm:
    """An arm whose i-th run is wrong on the first `errors[i]` test examples."""
    runs = []
    for wrong in errors:
        correct = np.arange(n_test) >= wrong
        runs.append(
            SimpleNamespace(
                seed=0,
                result={"accuracy": float(correct.mean()), "seconds": seconds, "steps": 1, "epochs": 1.0},
                test_predictions=lambda correct=correct: {"correct": correct},
            )
        )
    rule = {"full": "all", "random": "random"}.get(score, "hardest")
    return Arm(score, rule, keep, int(keep * 1_000), lambda index: None, runs)


def verdict_setup(n_test: int) -> SimpleNamespace:
    return SimpleNamespace(
        examples=SimpleNamespace(
            source="made up",
            train=range(1_000),
            test=range(n_test),
            task="classification",
            repeats=Repeats(),
        ),
        recipe=SimpleNamespace(budget="steps"),
        n_test=n_test,
        tested=None,
    )


def verdict_of(*arms: Arm, tolerance: float = 0.5, n_test: int = 10_000, scoring: float = 5.0) -> dict:
    setup = verdict_setup(n_test)
    seeds = list(range(len(arms[0].runs)))
    return decide(Comparison(setup, seeds, list(arms)), tolerance=tolerance, scoring_seconds=scoring)


def test_the_smallest_subset_whose_lower_bound_is_above_minus_the_tolerance_is_recommended() -> None:
    verdict = verdict_of(
        fake_arm("full", 1.0, [1000, 1002, 1004], 10_000),
        fake_arm("el2n", 0.7, [1000, 1003, 1004], 10_000),
        fake_arm("el2n", 0.5, [1010, 1012, 1014], 10_000),
        fake_arm("el2n", 0.3, [1200, 1205, 1210], 10_000),
        fake_arm("random", 0.5, [1100, 1102, 1104], 10_000),
    )
    assert [s["holds"] for s in verdict["subsets"]] == [True, True, False, False]
    assert [s["outcome"] for s in verdict["subsets"]] == ["holds", "holds", "fails", "fails"]
    assert verdict["recommended"] == verdict["subsets"][1] and verdict["reason"] is None
    assert verdict["recommended"]["keep"] == 0.5
    assert verdict["recommended"]["minus_full"][0] == pytest.approx(-0.001)
    assert verdict["recommended"]["minus_random"][0] == pytest.approx(0.009)


def test_the_processor_time_saved_counts_what_the_scores_cost_on_that_clock() -> None:
    def arm(score: str, keep: float, seconds: list[float]) -> Arm:
        made = fake_arm(score, keep, [100] * len(seconds), 1000)
        for run, spent in zip(made.runs, seconds, strict=True):
            clock = {"training": spent - 1, "scoring": 0.0, "loading": 1.0, "evaluation": 50.0}
            run.result["ledger"] = {"seconds": clock, "processor_seconds": clock}
        return made

    arms = [arm("full", 1.0, [10, 20]), arm("el2n", 0.5, [4, 9]), arm("random", 0.5, [5, 10])]
    setup = verdict_setup(10_000)
    known = decide(Comparison(setup, [0, 1], arms), scoring_seconds=99.0, scoring_processor_seconds=2.0)
    unknown = decide(Comparison(setup, [0, 1], arms), scoring_seconds=99.0)
    el2n, random = known["subsets"]
    assert el2n["processor_time_saved"][0] == pytest.approx(1 - np.sqrt(6 / 10 * 11 / 20))
    assert random["processor_time_saved"][0] == pytest.approx(0.5)
    assert unknown["subsets"][0]["processor_time_saved"] is None
    assert unknown["subsets"][1]["processor_time_saved"][0] == pytest.approx(0.5)


def test_random_is_recommended_where_random_is_as_good() -> None:
    verdict = verdict_of(
        fake_arm("full", 1.0, [500, 501, 502], 10_000),
        fake_arm("el2n", 0.3, [900, 900, 901], 10_000),
        fake_arm("random", 0.3, [502, 503, 504], 10_000),
    )
    assert verdict["recommended"]["score"] == "random" and verdict["recommended"]["minus_random"] is None


def test_one_seed_cannot_decide_and_says_so() -> None:
    verdict = verdict_of(fake_arm("full", 1.0, [100], 10_000), fake_arm("el2n", 0.5, [100], 10_000))
    assert verdict["subsets"][0]["holds"] is None and verdict["recommended"] is None
    assert verdict["subsets"][0]["outcome"] == "undecided"
    assert "too few" in verdict["reason"] and "--seeds 3" in verdict["reason"]


def test_seeds_that_differ_too_much_are_not_taken_for_equal() -> None:
    verdict = verdict_of(
        fake_arm("full", 1.0, [500, 700, 900], 10_000), fake_arm("el2n", 0.5, [500, 700, 900], 10_000)
    )
    assert verdict["subsets"][0]["minus_full"][0] == 0 and verdict["subsets"][0]["holds"] is False
    assert verdict["subsets"][0]["outcome"] == "undecided"
    assert "more seeds" in verdict["reason"]


def test_seeds_that_leave_everything_open_are_not_called_a_loss() -> None:
    verdict = verdict_of(
        fake_arm("full", 1.0, [500, 1500], 10_000), fake_arm("el2n", 0.5, [1000, 2000], 10_000)
    )
    assert verdict["subsets"][0]["minus_full"][0] < -0.005 and "more seeds" in verdict["reason"]


def test_a_clear_loss_is_called_one() -> None:
    verdict = verdict_of(
        fake_arm("full", 1.0, [500, 500, 501], 10_000), fake_arm("el2n", 0.5, [900, 900, 901], 10_000)
    )
    assert "every subset loses more than 0.5 points" in verdict["reason"]


def test_scoring_pays_after_as_many_trainings_as_make_up_for_it() -> None:
    arms = [fake_arm("full", 1.0, [5, 6, 7], 10_000, 10.0), fake_arm("el2n", 0.5, [5, 6, 7], 10_000, 6.0)]
    cost = verdict_of(*arms, scoring=9.0)["cost"]
    assert cost["pays_after_trainings"] == 3  # 4 seconds saved each time
    assert (cost["full_training_seconds"], cost["kept_training_seconds"]) == (10.0, 6.0)
    arms[1] = fake_arm("el2n", 0.5, [5, 6, 7], 10_000, 10.0)
    assert verdict_of(*arms)["cost"]["pays_after_trainings"] is None


def test_full_and_matched_random_are_trained_beside_every_subset(tiny, tmp_path) -> None:
    ids = tiny.examples.train.ids
    arms = [subset_arm("el2n", "hardest", 0.5, ids[::2]), subset_arm("aum", "hardest", 0.5, ids[1::2])]
    comparison = compare_arms(tiny, arms, seeds=2, seed=3)
    assert [(a.score, a.n) for a in comparison.arms] == [
        ("full", 120),
        ("el2n", 60),
        ("aum", 60),
        ("random", 60),
    ]
    assert comparison.seeds == [1003, 1004]
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
    arm = compare_arms(tiny, [beside], seeds=1, forms=quotas).random_of(12)
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
