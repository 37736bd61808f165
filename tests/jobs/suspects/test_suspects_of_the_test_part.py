"""Labels of the test part: judged by models that have not seen them, on one scale, told apart by their part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score

import datadiet as dd
from datadiet.foundation.progress import ProgressDisplay
from datadiet.foundation.tables import TableKind
from datadiet.jobs.suspects.held_out import on_scale_of, sentence_of_test, wrong_in_test
from datadiet.jobs.suspects.job import find_suspects
from datadiet.jobs.suspects.ranking import SUSPECTS, Suspects
from datadiet.jobs.suspects.rows import duplicate_groups
from datadiet.noise import NoiseRate
from tiny_models import small_recipe

CLASSES = 3


def points_of(labels: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (3 * np.eye(CLASSES, 6)[labels] + 0.5 * generator.normal(size=(len(labels), 6))).astype(np.float32)


def flipped(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    wrong = np.random.default_rng(seed).random(len(labels)) < share
    return np.where(wrong, (labels + 1) % CLASSES, labels), wrong


@pytest.fixture(scope="module")
def made():
    """Two sources, so that ids of both parts begin at 0, with wrong labels in each, and which they are."""
    train, test = np.arange(180) % CLASSES, np.arange(120) % CLASSES
    given, wrong = flipped(train, 0.1, 1)
    test_given, test_wrong = flipped(test, 0.2, 2)
    data = points_of(train, 3), given
    examples = dd.load(data, test=(points_of(test, 4), test_given), name="two sources")
    return examples, wrong, test_wrong


@pytest.fixture(scope="module")
def table(made, tmp_path_factory):
    recipe = small_recipe(model_options={"hidden": (16,)}, epochs=8)
    workspace = tmp_path_factory.mktemp("both parts") / "runs"
    return dd.score(made[0], recipe, seeds=2, at_epoch=2, workspace=workspace, device="cpu")


@pytest.mark.parametrize("options", [{}, {"folds": 3}, {"second_pass": False}, {"method": "aum"}])
def test_wrong_labels_of_both_parts_lead_one_ranking_with_their_old_class_proposed(
    made, table, options
) -> None:
    examples, *wrong = made
    found = find_suspects(table, source=examples, device="cpu", **options)
    assert sorted(zip(found.part, found.ids, strict=True)) == sorted(
        [("train", id_) for id_ in range(180)] + [("test", id_) for id_ in range(120)]
    )
    truth = np.where(found.part == "train", wrong[0][found.ids % 180], wrong[1][found.ids % 120])
    assert average_precision_score(truth, found.suspicion) > 0.95
    test = found.of("test")
    assert (test.proposed == (test.labels - 1) % CLASSES)[wrong[1][test.ids]].mean() > 0.9
    # A test example stands where a training example as probably wrong stands: no pair is the other way round.
    train = found.of("train")
    surer = train.probability_wrong[:, None] > test.probability_wrong + 1e-9
    assert (train.suspicion[:, None] >= test.suspicion - 1e-9)[surer].all()
    less_sure = train.probability_wrong[:, None] < test.probability_wrong - 1e-9
    assert (train.suspicion[:, None] <= test.suspicion + 1e-9)[less_sure].all()
    assert found.test_noise_rate.low <= wrong[1].mean() <= found.test_noise_rate.high
    assert (test.probability_wrong > 0.5).sum() == pytest.approx(wrong[1].sum(), abs=3)
    assert np.isnan(test.signals["aum"]).all() and np.isfinite(found.of("train").signals["aum"]).all()
    assert np.isfinite(test.signals["late_el2n"]).all()


def test_nothing_more_is_trained_and_the_count_is_said(made, table) -> None:
    examples = made[0]
    workspace = Path(table.provenance["workspace"]) / "trainings"
    alone = find_suspects(table, source=examples, parts="train", device="cpu")
    before = set(workspace.iterdir())
    with ProgressDisplay(enabled=False) as display:
        both = find_suspects(table, source=examples, device="cpu", display=display)
    assert set(workspace.iterdir()) == before
    assert sentence_of_test(both) in display.said
    assert set(alone.part) == {"train"} and alone.test_noise_rate is None
    # The training part is as it is without the other one.
    np.testing.assert_array_equal(both.of("train").ids, alone.ids)
    np.testing.assert_array_equal(both.of("train").suspicion, alone.suspicion)
    told = both.noise_rate.identified and both.test_noise_rate.identified
    assert (both.about_wrong is not None) == told


def test_what_cannot_be_told_of_the_test_part_is_not_counted(made, table) -> None:
    made_of = find_suspects(table, source=made[0], device="cpu")
    found = replace(made_of, noise_rate=NoiseRate(0.1, 0.05, 0.2), test_noise_rate=NoiseRate(0.2, 0.1, 0.3))
    untold = replace(found, test_noise_rate=NoiseRate(0.2, 0.0, 0.9, identified=False))
    wrong = int(found.of("test").looks_wrong.sum())
    assert f"{wrong} of 120 labels look wrong" in sentence_of_test(found)
    assert "every verdict" in sentence_of_test(found)
    assert found.about_wrong == round(0.1 * 180) + round(0.2 * 120)
    assert wrong_in_test(found) == found.of("test").looks_wrong.sum() and wrong_in_test(untold) is None
    assert "look wrong" not in sentence_of_test(untold) and "look at the most suspicious" in sentence_of_test(
        untold
    )
    assert untold.about_wrong is None and found.about_wrong is not None
    assert wrong_in_test(replace(found.of("train"), test_noise_rate=None)) is None


def test_a_probability_is_one_only_where_the_rate_of_its_part_is_told(made, table) -> None:
    made_of = find_suspects(table, source=made[0], device="cpu")
    told, untold = NoiseRate(0.2, 0.1, 0.3), NoiseRate(0.2, 0.0, 0.9, identified=False)
    for train, test in ((told, untold), (untold, told)):
        found = replace(made_of, noise_rate=train, test_noise_rate=test)
        one = "train" if train is told else "test"
        assert set(found.part[found.is_told]) == {one} == set(found.part[found.looks_wrong])
        for row in found.first(len(found)):
            assert (row["probability_wrong"] is not None) == (row["part"] == one)


def test_both_parts_come_back_from_their_file(made, table, tmp_path: Path) -> None:
    found = find_suspects(table, source=made[0], device="cpu", out=tmp_path / "s.parquet")
    again = Suspects.read(tmp_path / "s.parquet")
    assert pq.read_table(tmp_path / "s.parquet")["part"].to_pylist() == found.part.tolist()
    for name in ("ids", "part", "labels", "proposed", "probability_wrong", "suspicion"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    np.testing.assert_array_equal(again.signals["aum"], found.signals["aum"])
    assert again.test_noise_rate == found.test_noise_rate
    assert {row["part"] for row in found.first(40)} == {"train", "test"}


def test_a_file_from_before_there_were_parts_is_of_the_training_part(tmp_path: Path) -> None:
    numbers = np.array([0.5, 0.25])
    columns = {"id": np.array([4, 1]), "label": np.array([0, 1]), "proposed": np.array([1, 0])}
    facts = {
        "noise_rate": {"estimate": 0.1, "low": 0.0, "high": 0.3},
        "class_names": ["a", "b"],
        "provenance": {},
    }
    columns |= {"probability_wrong": numbers, "suspicion": numbers}
    TableKind(SUSPECTS.key, SUSPECTS.what).write(tmp_path / "old.parquet", columns, facts)
    found = Suspects.read(tmp_path / "old.parquet")
    assert found.part.tolist() == ["train", "train"] and found.test_noise_rate is None
    assert found.about_wrong == 0


def test_an_example_stands_once_in_each_part() -> None:
    two, rate = np.zeros(2, np.int64), NoiseRate(0.1, 0.0, 0.2)
    both = Suspects(two, two, two, two + 0.5, two + 0.0, {}, rate, part=np.array(["train", "test"]))
    assert both.of("test").ids.tolist() == [0]
    with pytest.raises(dd.BadInputError, match="stands twice"):
        replace(both, part=np.array(["test", "test"]))
    with pytest.raises(dd.BadInputError, match="'train' or 'test'"):
        replace(both, part=np.array(["train", "validation"]))
    nothing = {"aum": np.array([np.nan, np.nan])}
    with pytest.raises(dd.BadInputError, match=r"not finite for 1 examples"):
        replace(both, signals=nothing)


def test_ties_are_broken_by_another_signal_then_by_part_and_id() -> None:
    ids, rate = np.array([5, 3, 3, 1]), NoiseRate(0.1, 0.0, 0.2)
    same, part = np.zeros(4), np.array(["train", "test", "train", "train"])
    labels = np.zeros(4, np.int64)

    def order(then: list[float]) -> list[tuple[str, int]]:
        found = Suspects.ranked(
            ids, labels, same, same, labels, {}, rate, part=part, then=np.array(then, np.float64)
        )
        return list(zip(found.part.tolist(), found.ids.tolist(), strict=True))

    assert order([0, 9, 0, 1]) == [("test", 3), ("train", 1), ("train", 3), ("train", 5)]
    assert order([0, 0, 0, 0]) == [("train", 1), ("train", 3), ("train", 5), ("test", 3)]


def test_the_scale_is_that_of_the_training_part_however_often_a_probability_stands_there() -> None:
    suspicion, probability = np.array([0.0, 1.0, 3.0, 9.0]), np.array([0.1, 0.5, 0.5, 0.9])
    found = on_scale_of(suspicion, probability, np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]))
    # Between 0.1 and 0.5 up to 1, at 0.5 in the middle of 1 and 3, from there on above 3.
    np.testing.assert_allclose(found, [0.0, 0.0, 0.5, 2.0, 6.0, 9.0, 9.0])


def test_copies_are_one_group_in_and_across_the_parts() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        rows = [generator.integers(0, 6, size=count).tolist() for count in (9, 8)]
        data = [
            (np.array(part, np.float32)[:, None] + [[0.0, 1.0]], np.arange(len(part)) % 2) for part in rows
        ]
        groups = duplicate_groups(dd.load(data[0], test=data[1]))
        everything = rows[0] + rows[1]
        expected = [everything.index(value) for value in everything]
        assert groups.tolist() == expected


def test_a_test_row_that_contradicts_a_copy_of_it_leads(tmp_path: Path) -> None:
    points, labels = points_of(np.arange(60) % CLASSES, 5), np.arange(60) % CLASSES
    test = np.concatenate([points_of(np.arange(30) % CLASSES, 6), points[[7]]])
    answers = np.concatenate([np.arange(30) % CLASSES, [(labels[7] + 1) % CLASSES]])
    data = dd.load((points, labels), test=(test, answers), name="leaking")
    recipe = small_recipe(model_options={"hidden": (16,)}, epochs=4)
    table = dd.score(data, recipe, seeds=1, at_epoch=2, device="cpu", workspace=tmp_path)
    found = find_suspects(table, source=data, second_pass=False, device="cpu")
    assert {(row["part"], row["id"]) for row in found.first(2)} == {("train", 7), ("test", 30)}
    assert found.conflicting.tolist() == [True] * 2 + [False] * 89
    assert found.probability_wrong[:2].sum() >= 1 - 1e-9
