"""Options of a rule tuned on data with a planted best value."""

from __future__ import annotations

import numpy as np
import pytest

import datadiet as dd
from datadiet.jobs.tune import tune
from datadiet.jobs.tune.trials import Trial, best_trial, ranges_of

pytest.importorskip("optuna", reason="optuna is not installed")
WRONG = 0.35  # of the training labels; their examples are the hardest


def planted() -> tuple[dd.Examples, np.ndarray]:
    """Three classes of points, a third of the training labels wrong, and the ids of those."""
    generator = np.random.default_rng(0)
    labels = np.arange(600) % 3
    inputs = (generator.normal(size=(3, 5)) * 3.0)[labels] + generator.normal(size=(600, 5))
    train = labels[:450].copy()
    wrong = generator.choice(450, int(WRONG * 450), replace=False)
    train[wrong] = (train[wrong] + 1) % 3
    inputs = inputs.astype(np.float32)
    examples = dd.load((inputs[:450], train), test=(inputs[450:], labels[450:]), name="mislabelled")
    return examples, np.sort(examples.train.ids)[np.sort(wrong)]


def mislabelled() -> dd.Examples:
    return planted()[0]


@pytest.fixture(scope="module")
def arguments(quick_recipe) -> dict:
    return {
        "keep": 0.3, "trials": 8, "seeds": 2, "score_seeds": 1, "validation_fraction": 0.4, "recipe": quick_recipe,
        "device": "cpu", "rule": "stratified",
    }  # fmt: skip


@pytest.mark.slow
def test_beta_is_tuned_until_the_wrong_labels_are_dropped(arguments, tmp_path) -> None:
    found = tune(mislabelled(), **arguments, workspace=tmp_path / "runs", out=tmp_path / "out")
    assert found.trials[0].options == {"beta": 0.0}, "that which drops nothing is always among the trials"
    assert found.options["beta"] > WRONG / 2
    assert len(found.data["minus_default"]) == 3
    assert found.data["validation"]["accuracy"] > found.data["validation"]["accuracy_of_first"]
    assert all(0 <= trial.options["beta"] <= 0.68 for trial in found.trials)

    table = dd.ScoreTable.read(tmp_path / "out" / "scores.parquet")
    expected = dd.keep(table, 0.3, by="el2n", rule="stratified", seed=0, **found.options)
    plain = dd.keep(table, 0.3, by="el2n", rule="stratified", seed=0, beta=0.0)
    wrong = planted()[1]
    kept_wrong = len(np.intersect1d(expected, wrong))
    assert kept_wrong < len(np.intersect1d(plain, wrong)) / 2
    (path,) = (tmp_path / "out" / "kept").iterdir()
    kept = dd.Kept.read(path)
    assert kept.ids.tolist() == found.ids.tolist() == expected.tolist()
    assert (kept.about["rule"], kept.about["options"]) == ("stratified", found.options)
    assert {s["rule"] for s in found.verdict.data["subsets"]} == {"stratified tuned", "stratified", "random"}

    again = tune(mislabelled(), **arguments, workspace=tmp_path / "runs", out=tmp_path / "again")
    assert again.trials == found.trials


def test_several_options_are_tuned_together_and_whole_ones_stay_whole(arguments, tmp_path) -> None:
    few = arguments | {"trials": 3, "seeds": 1, "ranges": {"beta": (0.0, 0.5), "strata": (5, 80)}}
    found = tune(mislabelled(), **few, workspace=tmp_path / "runs", out=tmp_path / "out")
    assert found.trials[0].options == {"beta": 0.0, "strata": 50}, "50 strata are the rule's default"
    assert all(isinstance(trial.options["strata"], int) for trial in found.trials)
    assert set(found.options) == {"beta", "strata"}
    rows = (tmp_path / "out" / "trials.csv").read_text().splitlines()
    assert "beta" in rows[0] and "strata" in rows[0] and "start" not in rows[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rule": "stratfied"}, "Did you mean 'stratified'"),
        ({"rule": "hardest"}, "no options"),
        ({"rule": "random"}, "scores and nothing else"),
        ({"ranges": {"gamma": (0, 1)}}, "no option 'gamma'; it has beta, strata"),
        ({"ranges": {"beta": (0.4, 0.2)}}, "no range"),
        ({"ranges": {"strata": (1.5, 9)}}, "whole numbers"),
        ({"ranges": {"beta": (0, 0.9)}}, "lower beta"),
        ({"tune_end": True}, "windows"),
        ({"rule": "window", "ranges": {"beta": (0, 1)}}, "all its starts"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_anything_is_trained(
    change, words, arguments, tmp_path
) -> None:
    with pytest.raises(dd.BadInputError, match=words):
        tune(mislabelled(), **(arguments | change), workspace=tmp_path / "runs", out=tmp_path / "out")
    assert not list(tmp_path.glob("runs/trainings/*")) and not (tmp_path / "out").exists()


def test_the_share_that_may_be_dropped_leaves_enough_to_keep() -> None:
    for keep in (0.05, 0.29, 0.3, 0.75):
        (beta,) = ranges_of("stratified", keep)
        assert beta.low == 0 and 0.97 < beta.high + keep <= 0.98 + 1e-12


def test_a_tie_between_options_goes_to_the_lower() -> None:
    tried = [Trial(i, 0.0, 1.0, 0.3, 9, False, (0.9,), 1, {"beta": b}) for i, b in enumerate((0.2, 0.1, 0.3))]
    assert best_trial(tried).number == 1
