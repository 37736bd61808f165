"""The study `time-accuracy` on tiny data: its arms, what they cost by hand, its claims."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.engine.runs import train_run
from datadiet.studies.time_accuracy import METHODS, TimedArm, fewer_examples, saved, timed_arms


@pytest.fixture
def result(done, context):
    return done("time-accuracy", context)


def test_every_method_stands_beside_its_twin_with_as_many_examples(result, context) -> None:
    rows = {(row["method"], row["keep"]): row for row in result.rows}
    assert result.rows[0]["method"] == "full" and rows["full", None]["forwarded"] == 4 * 120
    for method in METHODS:
        keep = 0.5 if method in ("nlu-data-diet", "uncertainty") else None
        own, twin = rows[method, keep], rows[f"random twin of {method}", keep]
        assert own["backwarded"] == twin["backwarded"] and own["trained"] == twin["trained"] < 1
        assert own["seeds"] == twin["seeds"] == 2
    # A choice in each of the epochs 1, 2 and 3, after a pass over everything; epoch 0 is on everything.
    diet = rows["nlu-data-diet", 0.5]
    assert (diet["backwarded"], diet["forwarded"]) == (120 + 3 * 60, 120 + 3 * 60 + 3 * 120)
    assert diet["examples"] == diet["backwarded"] + diet["forwarded"]
    assert diet["examples_saved"] == pytest.approx(1 - (300 + 660) / 960)
    assert diet["examples_saved_low"] < diet["examples_saved"] < diet["examples_saved_high"]


def test_static_scores_are_charged_with_the_trainings_and_passes_they_come_from(result, context) -> None:
    rows = {(row["method"], row["keep"]): row for row in result.rows}
    hardest, random = rows["el2n hardest", 0.5], rows["random subset", 0.5]
    step = context.score_step
    trained = step // 8 * 120 + step % 8 * 16
    assert random["backwarded"] == 4 * 60
    assert hardest["backwarded"] == 4 * 60 + 2 * trained
    assert hardest["forwarded"] == 4 * 60 + 2 * (trained + 120)
    assert (random["examples_saved_low"], random["examples_saved_high"]) == (None, None)  # it is exact
    assert hardest["processor_seconds_saved"] < hardest["processor_seconds_saved_without_scoring"]


def test_claims_compare_with_full_data_and_with_the_twin(result) -> None:
    sentences = [finding.claim.sentence for finding in result.findings]
    assert len(sentences) == 6 + len(METHODS)
    for method in METHODS:
        assert any(s.startswith(method) and "chance with epochs of the same sizes" in s for s in sentences)
    assert all(finding.claim.measurement is not None for finding in result.findings)
    for name in ("processor-time", "wall-time", "examples"):
        assert (result.folder / f"accuracy-against-{name}.svg").exists()


def test_a_second_time_nothing_is_trained(result, done, context) -> None:
    assert done("time-accuracy", context).trained == 0


def test_selectors_take_other_options_than_the_studys(tiny) -> None:
    def retrain(setup, index, ids, label):
        return train_run(setup, 100 + index, ids=ids, label=label)

    trained = {}
    for drop in (0.2, 0.8):
        arms = timed_arms(
            tiny, ["infobatch"], [], 1, 0, None, [], retrain, options={"infobatch": {"drop": drop}}
        )
        by_name = {arm.name: arm for arm in arms}
        assert list(by_name) == ["full", "infobatch", "random twin of infobatch"]
        trained[drop] = [by_name[name].ledgers[0]["backwarded"] for name in by_name]
        assert trained[drop][1] == trained[drop][2] < trained[drop][0]
    assert trained[0.8][1] < trained[0.2][1]


class Made:
    """A run with a made-up ledger."""

    def __init__(self, training: float, scoring: float, forwarded: int, backwarded: int) -> None:
        seconds = {"training": training, "scoring": scoring, "loading": 0.0, "evaluation": 99.0}
        self.result = {
            "ledger": {
                "seconds": seconds,
                "processor_seconds": {key: value / 2 for key, value in seconds.items()},
                "forwarded": forwarded,
                "backwarded": backwarded,
            }
        }


def test_savings_pair_seeds_and_count_scoring() -> None:
    full = TimedArm("full", None, [Made(10, 0, 100, 100), Made(20, 0, 100, 100)])
    before = [Made(1, 0.5, 30, 10).result["ledger"], Made(0, 0.5, 10, 0).result["ledger"]]
    arm = TimedArm("hardest", 0.5, [Made(4, 0, 50, 50), Made(6, 0, 50, 50)], before)
    assert saved(arm, full).estimate == pytest.approx(1 - np.sqrt(6 / 10 * 8 / 20))
    assert saved(arm, full, with_scoring=False).estimate == pytest.approx(1 - np.sqrt(0.4 * 0.3))
    assert saved(arm, full, "processor_seconds").estimate == saved(arm, full).estimate
    assert fewer_examples(arm, full).estimate == pytest.approx(1 - (100 + 50) / 200)
