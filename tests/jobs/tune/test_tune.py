"""Windows tuned on data with a planted best window, without ever looking at the test part."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import datadiet as dd
from datadiet.engine.runs import train_run as real_train_run
from datadiet.jobs.tune import job as tuning_module
from datadiet.jobs.tune import trials as window_study
from datadiet.jobs.tune.job import carve_validation
from datadiet.jobs.tune.trials import Trial, best_trial
from datadiet.selection import kept_size

pytest.importorskip("optuna", reason="optuna is not installed")
tune = tuning_module.tune
WRONG = 0.2  # of the training labels; their examples are the hardest


def mislabelled(test_shift: int = 0) -> dd.Examples:
    """Three classes of points, a fifth of the training labels wrong; `test_shift` spoils the test labels."""
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 3
    inputs = (generator.normal(size=(3, 5)) * 2.0)[labels] + generator.normal(size=(300, 5))
    train, test = labels[:225].copy(), (labels[225:] + test_shift) % 3
    wrong = generator.choice(225, int(WRONG * 225), replace=False)
    train[wrong] = (train[wrong] + 1) % 3
    inputs = inputs.astype(np.float32)
    return dd.load((inputs[:225], train), test=(inputs[225:], test), name="mislabelled")


@pytest.fixture(scope="module")
def arguments(quick_recipe) -> dict:
    return {
        "keep": 0.4, "trials": 6, "seeds": 2, "score_seeds": 1, "validation_fraction": 0.2, "recipe": quick_recipe,
        "device": "cpu",
    }  # fmt: skip


@pytest.fixture(scope="module")
def tuned(arguments, tmp_path_factory) -> tuning_module.Tuned:
    folder = tmp_path_factory.mktemp("tuned")
    return tune(mislabelled(), **arguments, workspace=folder / "runs", out=folder / "out")


def test_the_window_starts_after_the_wrong_labels_and_beats_the_hardest(tuned) -> None:
    assert tuned.trials[0].start == 0, "the plain hardest is always among the trials"
    assert tuned.start > WRONG / 2
    assert tuned.data["minus_hardest"][1] > 0, "the whole interval is above plain hardest"
    accuracies = [trial.accuracy for trial in tuned.trials if not trial.pruned]
    assert tuned.data["validation"]["accuracy"] == max(accuracies)


def test_the_kept_ids_are_the_window_of_the_whole_training_part(tuned) -> None:
    table = dd.ScoreTable.read(tuned.folder / "scores.parquet")
    order = np.lexsort((table.ids, -table.hardness("mean_el2n")))
    first = int(tuned.start * 225 + 0.5 + 1e-9)  # halves round up
    assert set(tuned.ids) == set(table.ids[order[first : first + 90]])
    (path,) = (tuned.folder / "kept").iterdir()
    kept = dd.Kept.read(path)
    assert kept.ids.tolist() == tuned.ids.tolist()
    kept.check_data(mislabelled().fingerprint)


def test_it_is_confirmed_beside_full_random_and_hardest_with_fresh_seeds(tuned) -> None:
    rows = pq.read_table(tuned.folder / "results.parquet").to_pylist()
    arms = {(row["score"], row["rule"]) for row in rows}
    assert arms == {("full", "all"), ("random", "random"), ("mean_el2n", "window"), ("mean_el2n", "hardest")}
    assert {row["seed"] for row in rows} == {1_000, 1_001}
    assert all(subset["minus_full"] for subset in tuned.verdict.data["subsets"])


def test_everything_is_written(tuned) -> None:
    data = json.loads((tuned.folder / "tuning.json").read_text())
    assert data["window"]["start"] == tuned.start and data["test_part"]["n"] == 75
    assert data["most_trainings"] == 2 * 1 + 6 + 4 * 2
    trials = pq.read_table(tuned.folder / "trials.parquet").to_pylist()
    assert [row["start"] for row in trials] == [trial.start for trial in tuned.trials]
    for name in ("tuning.png", "tuning.svg", "trials.csv", "verdict.json", "recipe.yaml"):
        assert (tuned.folder / name).stat().st_size > 0


def test_the_test_part_changes_nothing_in_tuning(tuned, arguments, tmp_path) -> None:
    spoilt = tune(mislabelled(test_shift=1), **arguments, workspace=tmp_path / "runs", out=tmp_path / "out")
    assert spoilt.trials == tuned.trials
    assert spoilt.data["window"] == tuned.data["window"]
    assert spoilt.verdict.data["full"]["accuracy"] < tuned.verdict.data["full"]["accuracy"]


class Killed(Exception):
    """Stands for the end of the process."""


def test_a_killed_study_goes_on_to_the_same_trials_and_trains_none_again(
    tuned, arguments, tmp_path, monkeypatch
) -> None:
    left, calls = [9], []

    def dying(*given, **more):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real_train_run(*given, **more)

    place = {"workspace": tmp_path / "runs", "out": tmp_path / "out"}
    monkeypatch.setattr(window_study, "train_run", dying)
    with pytest.raises(Killed):
        tune(mislabelled(), **arguments, **place)

    def counting(*given, **more):
        run = real_train_run(*given, **more)
        calls.append(run.trained)
        return run

    monkeypatch.setattr(window_study, "train_run", counting)
    resumed = tune(mislabelled(), **arguments, **place)
    assert resumed.trials == tuned.trials
    points = sum(len(trial.accuracies) for trial in tuned.trials)
    assert sum(calls) == points - 9, "what was trained before the end of the process is not trained again"
    assert resumed.verdict.data["subsets"][0]["accuracies"] == tuned.verdict.data["subsets"][0]["accuracies"]


def test_another_seed_is_another_study(tuned, arguments, tmp_path) -> None:
    few = arguments | {"trials": 3, "seed": 5, "seeds": 1}
    other = tune(mislabelled(), **few, workspace=tmp_path / "runs", out=tmp_path / "out")
    assert [trial.start for trial in other.trials] != [trial.start for trial in tuned.trials[:3]]
    assert other.trials[0].start == 0


def test_the_end_can_be_tuned_too(arguments, tmp_path) -> None:
    few = arguments | {"trials": 4, "seeds": 1, "keep": 0.2}
    found = tune(mislabelled(), **few, tune_end=True, workspace=tmp_path / "runs", out=tmp_path / "out")
    assert all(0.2 <= trial.keep <= 1 and trial.end <= 1 for trial in found.trials)
    assert len({trial.keep for trial in found.trials}) > 1
    assert len(found.ids) == found.data["window"]["n"] == kept_size(225, found.data["window"]["keep"])
    assert (found.trials[0].start, found.trials[0].end) == (0.0, 0.2)


def test_bad_trials_are_stopped_early_and_cost_less(monkeypatch, arguments, tmp_path) -> None:
    monkeypatch.setattr(window_study, "UNPRUNED", 1)
    many = arguments | {"trials": 8, "seeds": 1}
    found = tune(mislabelled(), **many, workspace=tmp_path / "runs", out=tmp_path / "out")
    full = max(trial.steps for trial in found.trials)
    pruned = [trial for trial in found.trials if trial.pruned]
    assert pruned and all(trial.steps < full and len(trial.accuracies) < 4 for trial in pruned)
    assert found.data["validation"]["pruned"] == len(pruned)


def test_the_carved_part_is_stratified_disjoint_and_without_the_test_part() -> None:
    examples = mislabelled()
    carved = carve_validation(examples, fraction=0.2, seed=3)
    train, held = set(carved.train.ids.tolist()), set(carved.test.ids.tolist())
    assert not train & held and train | held == set(examples.train.ids.tolist())
    for name in range(3):
        share = (carved.test.labels == name).sum() / (examples.train.labels == name).sum()
        assert share == pytest.approx(0.2, abs=0.02)
    source = examples.train.dataset.with_format("numpy")
    column = examples.input_columns[0]
    for part in (carved.train, carved.test):
        rows = source.select(examples.train.positions_of(part.ids))
        assert np.array_equal(part.dataset.with_format("numpy")[column][:], rows[column][:])
        assert np.array_equal(part.labels, examples.train.labels[examples.train.positions_of(part.ids)])
    spoilt = carve_validation(mislabelled(test_shift=1), fraction=0.2, seed=3)
    assert spoilt.fingerprint == carved.fingerprint != examples.fingerprint
    assert carve_validation(examples, fraction=0.2, seed=4).fingerprint != carved.fingerprint


def test_validation_rows_that_repeat_a_row_that_is_trained_on_are_not_judged_by(
    arguments, tmp_path, monkeypatch
) -> None:
    examples = mislabelled()
    rows = np.stack(examples.train.dataset["features"])
    again = (
        np.concatenate([rows, rows[:60]]),
        np.concatenate([examples.train.labels, examples.train.labels[:60]]),
    )
    test = np.stack(examples.test.dataset["features"]), examples.test.labels
    doubled = dd.load(again, test=test, name="doubled")
    carved = carve_validation(doubled, fraction=0.2, seed=0)
    known = set(map(tuple, carved.train.dataset["features"]))
    fresh = np.array([tuple(row) not in known for row in carved.test.dataset["features"]])
    assert carved.repeats.leaked.tolist() == carved.test.ids[~fresh].tolist() != []
    few = arguments | {"trials": 1, "seeds": 1, "validation_fraction": 0.2}
    tuned = tune(doubled, **few, workspace=tmp_path)
    assert tuned.data["validation"]["n"] == fresh.sum() < len(fresh)
    assert (tuned.data["validation"]["accuracy"] * fresh.sum()) % 1 == pytest.approx(0, abs=1e-9)
    kept = tune(doubled, **few, workspace=tmp_path, on_leak="keep")
    assert kept.data["validation"]["n"] == len(fresh)
    for one, rows_judged in ((tuned, fresh.sum()), (kept, len(fresh))):
        for found in one.trials[0].accuracies:
            assert found * rows_judged == pytest.approx(round(found * rows_judged))
    # A model that is right on the repeated rows alone is right on none that count.
    right = torch.from_numpy(~fresh)
    monkeypatch.setattr(window_study, "predict_test_part", lambda setup, model: (None, right, {}))
    for on_leak, accuracy in (("drop", 0.0), ("keep", (~fresh).mean())):
        found = tune(doubled, **few, workspace=tmp_path / on_leak, on_leak=on_leak).trials[0].accuracies
        assert found[:3] == (pytest.approx(accuracy),) * 3
    every = dd.load((np.concatenate([rows] * 3), np.concatenate([examples.train.labels] * 3)), test=test)
    with pytest.raises(dd.BadInputError, match="validation part do not repeat a row that is trained on"):
        tune(every, **few | {"validation_fraction": 0.02}, workspace=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_tie_goes_to_the_smaller_window_then_to_the_lower_start() -> None:
    def trial(number: int, start: float, n: int, accuracy: float, pruned: bool = False) -> Trial:
        return Trial(number, start, start + n / 100, n / 100, n, pruned, (accuracy,), 1)

    tried = [
        trial(0, 0.3, 50, 0.9),
        trial(1, 0.1, 50, 0.9),
        trial(2, 0.0, 60, 0.9),
        trial(3, 0.0, 9, 1.0, True),
    ]
    assert best_trial(tried).number == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keep": 1.0}, "below 1"),
        ({"score": "el3n"}, "el2n"),
        ({"score": "random"}, "random"),
        ({"trials": 0}, "1 or more"),
        ({"seeds": 0}, "1 or more"),
        ({"validation_fraction": 1.5}, "validation_fraction"),
        ({"keep": 0.01, "tune_end": True}, "at least"),
        ({"at_epoch": 9}, "trains for 4 epochs"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_anything_is_trained(
    change, words, arguments, tmp_path
) -> None:
    with pytest.raises(dd.BadInputError, match=words):
        tune(mislabelled(), **(arguments | change), workspace=tmp_path / "runs", out=tmp_path / "out")
    assert not list(tmp_path.glob("runs/trainings/*")) and not (tmp_path / "out").exists()


def test_without_optuna_it_says_what_to_install(monkeypatch, arguments, tmp_path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(dd.BadInputError, match=r"datadiet\[tune\]"):
        tune(mislabelled(), **arguments, workspace=tmp_path)
