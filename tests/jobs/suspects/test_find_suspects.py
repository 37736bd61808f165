"""From a score table to likely label errors: injected noise is found, runs are shared, bad input is refused."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

import datadiet as dd
from datadiet.data import Examples, corrupt
from datadiet.engine.points import load_weights, remembered
from datadiet.engine.runs import train_run
from datadiet.engine.setup import prepare
from datadiet.jobs.suspects.evidence import draw_folds, late_mean, logits_of, random_parts
from datadiet.jobs.suspects.job import find_suspects
from datadiet.jobs.suspects.ranking import SUSPECTS, Suspects
from datadiet.jobs.suspects.rows import one_truth
from datadiet.noise import NoiseRate
from tiny_models import small_recipe


def separable(n: int = 240, classes: int = 3) -> Examples:
    generator = np.random.default_rng(3)
    labels = np.arange(n) % classes
    points = 2.5 * np.eye(classes, 6)[labels] + 0.7 * generator.normal(size=(n, 6))
    return dd.load((points.astype(np.float32), labels), name="separable")


@pytest.fixture(scope="module")
def noisy():
    return corrupt(separable(), 0.15, "symmetric", seed=1)


@pytest.fixture(scope="module")
def made(noisy, tmp_path_factory):
    """A table of two seeds at epoch 2 of 8, and the workspace of its runs."""
    recipe = small_recipe(model_options={"hidden": (16,)}, epochs=8)
    workspace = tmp_path_factory.mktemp("suspecting") / "runs"
    table = dd.score(noisy.examples, recipe, seeds=2, at_epoch=2, workspace=workspace, device="cpu")
    return table, workspace


def suspects_in_training(table, noisy, **options) -> Suspects:
    return find_suspects(table, source=noisy.examples, device="cpu", **options).of("train")


def truth(noisy, found: Suspects) -> np.ndarray:
    """Whether the label of each suspect was made wrong, in the order of the suspects."""
    return noisy.mask[noisy.examples.train.positions_of(found.ids)]


def trainings(workspace: Path) -> set[str]:
    return {path.name for path in (workspace / "trainings").iterdir()}


def test_injected_noise_comes_first_with_its_old_class_proposed_and_its_rate_in_the_interval(
    noisy, made
) -> None:
    table, workspace = made
    before = trainings(workspace)
    found = suspects_in_training(table, noisy)
    wrong = truth(noisy, found)
    assert average_precision_score(wrong, found.suspicion) > 0.95
    assert (np.diff(found.suspicion) <= 0).all() and (np.diff(found.probability_wrong) <= 0).all()
    old = noisy.old_labels[noisy.examples.train.positions_of(found.ids)]
    assert (found.proposed == old)[wrong].mean() > 0.8  # chance: a half
    assert (found.proposed != found.labels).all()
    assert found.noise_rate.low <= wrong.mean() <= found.noise_rate.high
    assert found.probability_wrong.mean() == pytest.approx(found.noise_rate.estimate, abs=1e-6)
    # One more training a seed; the runs of the table went on in their own folders.
    assert len(trainings(workspace) - before) == 2 == found.provenance["more_trainings"]
    now = trainings(workspace)
    again = suspects_in_training(table, noisy)
    assert trainings(workspace) == now
    assert (again.ids == found.ids).all() and (again.suspicion == found.suspicion).all()


def test_the_checkpoints_that_the_table_was_made_from_stay(noisy, made) -> None:
    table, _ = made
    suspects_in_training(table, noisy, second_pass=False)
    assert dd.verify(table, source=noisy.examples, sample=20, device="cpu").agrees


@pytest.mark.parametrize("method", ["late_el2n", "aum", "probability", "forgetting"])
def test_a_single_signal_ranks_by_itself_without_further_training(method, noisy, made) -> None:
    table, workspace = made
    suspects_in_training(table, noisy, method="late_el2n")
    before = trainings(workspace)
    found = suspects_in_training(table, noisy, method=method)
    assert trainings(workspace) == before
    np.testing.assert_array_equal(found.suspicion, found.signals[method])
    wrong = truth(noisy, found)
    assert average_precision_score(wrong, found.suspicion) > 2 * wrong.mean()
    assert (np.diff(found.probability_wrong) <= 1e-12).all()


def test_aum_with_threshold_classes_trains_twice_and_flags_what_lies_below(noisy, made) -> None:
    table, workspace = made
    before = trainings(workspace)
    found = suspects_in_training(table, noisy, method="aum_threshold")
    assert len(trainings(workspace) - before) == 2
    wrong = truth(noisy, found)
    assert average_precision_score(wrong, found.suspicion) > 0.8


def test_folds_train_once_each_on_what_they_do_not_predict(noisy, made) -> None:
    table, workspace = made
    before = trainings(workspace)
    found = suspects_in_training(table, noisy, folds=3, second_pass=False)
    assert len(trainings(workspace) - before) == 3
    assert average_precision_score(truth(noisy, found), found.suspicion) > 0.9


@pytest.fixture(scope="module")
def contradicting(tmp_path_factory):
    """Points of which some stand twice or three times, with other labels, and their table of one seed."""
    examples = separable()
    points = np.stack(examples.train.dataset["features"])
    labels = examples.train.labels
    rows = np.concatenate([points, points[[4, 9, 9, 30]]])
    given = np.concatenate([labels, [(labels[4] + 1) % 3, (labels[9] + 1) % 3, labels[9], labels[30]]])
    test = np.stack(examples.test.dataset["features"]), examples.test.labels
    again = dd.load((rows, given), test=test, name="contradicting")
    recipe = small_recipe(model_options={"hidden": (16,)}, epochs=4)
    workspace = tmp_path_factory.mktemp("contradicting")
    return again, dd.score(again, recipe, seeds=1, at_epoch=2, workspace=workspace, device="cpu")


@pytest.mark.parametrize("method", ["combination", "aum"])
def test_duplicates_with_different_labels_come_first_in_the_order_of_their_suspicion(
    contradicting, method, monkeypatch
) -> None:
    examples, table = contradicting
    n = len(examples.train)
    options = {"source": examples, "method": method, "parts": "train", "device": "cpu"}
    doubtful = {4, 9, n - 4, n - 3, n - 2}  # the copy of 30 has its label
    found = find_suspects(table, **options)
    assert set(found.ids[:5].tolist()) == doubtful
    assert found.conflicting.tolist() == [True] * 5 + [False] * (n - 5)
    assert (np.diff(found.suspicion) <= 0).all()
    assert [row["conflicting_duplicate"] for row in found.first(6)] == [True] * 5 + [False]
    # The others, and the five among themselves, stand as they would without all this.
    monkeypatch.setattr(
        "datadiet.jobs.suspects.rows.duplicate_groups",
        lambda examples: np.arange(len(examples.train) + len(examples.test)),
    )
    plain = find_suspects(table, **options)
    ranked = plain.ids.tolist()
    assert found.ids.tolist() == sorted(ranked, key=lambda id_: (id_ not in doubtful, ranked.index(id_)))
    assert not plain.conflicting.any()
    wrong = dict(zip(found.ids.tolist(), found.probability_wrong.tolist(), strict=True))
    before = dict(zip(plain.ids.tolist(), plain.probability_wrong.tolist(), strict=True))
    assert all(wrong[id_] == before[id_] for id_ in ranked if id_ not in doubtful)
    assert wrong[4] + wrong[n - 4] >= 1 - 1e-9  # not both can be right
    assert found.noise_rate == plain.noise_rate


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.floats(0.01, 0.99)), min_size=1, max_size=7)
)
def test_one_truth_is_what_is_left_of_all_ways_to_be_right(rows) -> None:
    group, labels, wrong = (np.array(column) for column in zip(*rows, strict=True))
    found = one_truth(wrong, labels, group)
    for number in set(group.tolist()):
        members = np.flatnonzero(group == number)
        total, wrongly = 0.0, np.zeros(len(members))
        for right in itertools.product([False, True], repeat=len(members)):
            if len({labels[row] for row, is_right in zip(members, right, strict=True) if is_right}) > 1:
                continue  # two truths
            true = {labels[row] for row, is_right in zip(members, right, strict=True) if is_right}
            if any((labels[row] in true) != is_right for row, is_right in zip(members, right, strict=True)):
                continue  # one label both right and wrong
            chance = np.prod([1 - wrong[r] if ok else wrong[r] for r, ok in zip(members, right, strict=True)])
            total += chance
            wrongly += chance * ~np.array(right)
        np.testing.assert_allclose(found[members], wrongly / total, atol=1e-9)


def test_labels_that_are_sure_to_be_right_or_wrong_still_leave_one_truth() -> None:
    found = one_truth(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(found, [0.5, 0.5, 1.0, 1.0], atol=1e-5)


def test_folds_are_even_in_every_class() -> None:
    labels = np.repeat([0, 1, 2], [10, 11, 33])
    fold = draw_folds(labels, 5, seed=2)
    for label, count in ((0, 10), (1, 11), (2, 33)):
        sizes = np.bincount(fold[labels == label], minlength=5)
        assert sizes.sum() == count and np.ptp(sizes) <= 1
    assert np.ptp(np.bincount(fold)) <= 1


def test_the_late_mean_leaves_out_what_was_not_shown() -> None:
    values = np.array([[9.0, 9.0], [1.0, 2.0], [3.0, np.nan], [5.0, np.nan]], dtype=np.float32)
    seen = np.array([[True, True], [True, False], [True, False], [True, False]])
    # From epoch 2 of 4 on: (1 + 3 + 5) / 3; the other was only shown in epoch 1.
    np.testing.assert_allclose(late_mean(values, seen), [3.0, 9.0])


def test_a_table_made_from_logits_gives_suspects_of_its_columns_and_proposes_nothing() -> None:
    generator = np.random.default_rng(0)
    wrong = generator.random(400) < 0.1
    margin = np.where(wrong, generator.normal(-3, 1, 400), generator.normal(4, 1, 400))
    table = dd.ScoreTable.from_seeds(np.arange(400), np.zeros(400, np.int64), [{"aum": margin}])
    found = find_suspects(table)
    assert (found.proposed == -1).all() and found.class_name(-1) == "–"
    assert average_precision_score(wrong[found.ids], found.suspicion) > 0.99
    assert found.noise_rate.low <= wrong.mean() <= found.noise_rate.high
    with pytest.raises(dd.BadInputError, match="needs trainings"):
        find_suspects(table, method="aum_threshold")
    with pytest.raises(dd.BadInputError, match="has no score for the method 'late_el2n'"):
        find_suspects(table, method="late_el2n")
    with pytest.raises(dd.BadInputError, match="no recipe to train folds"):
        find_suspects(table, folds=3)


def test_other_data_unknown_methods_and_impossible_folds_are_refused_before_training(noisy, made) -> None:
    table, workspace = made
    before = trainings(workspace)
    with pytest.raises(dd.BadInputError, match="made from other data"):
        find_suspects(table, source=separable(), device="cpu")
    with pytest.raises(dd.BadInputError, match="no method 'guess'"):
        find_suspects(table, source=noisy.examples, method="guess")
    for folds in (1, 10_000):
        with pytest.raises(dd.BadInputError, match=f"folds is {folds}"):
            find_suspects(table, source=noisy.examples, folds=folds)
    assert trainings(workspace) == before


@pytest.mark.skipif(importlib.util.find_spec("cleanlab") is not None, reason="cleanlab is installed")
def test_without_cleanlab_its_method_says_how_to_install_it(noisy, made) -> None:
    with pytest.raises(dd.BadInputError, match=r"pip install 'datadiet\[cleanlab\]'"):
        find_suspects(made[0], source=noisy.examples, method="cleanlab")


@pytest.mark.skipif(importlib.util.find_spec("cleanlab") is None, reason="cleanlab is not installed")
def test_cleanlab_ranks_by_the_probability_of_the_label(noisy, made) -> None:
    found = find_suspects(made[0], source=noisy.examples, method="cleanlab", device="cpu")
    np.testing.assert_allclose(found.suspicion, 1 + found.signals["late_probability"], atol=1e-5)


def listed() -> Suspects:
    return Suspects.ranked(
        np.array([3, 8, 9]),
        np.array([0, 1, 1]),
        np.array([0.5, 2.0, 0.5]),
        np.array([0.1, 0.9, 0.1]),
        np.array([1, 0, 0]),
        {"aum": np.array([1.0, 2.0, 3.0])},
        NoiseRate(0.3, 0.1, 0.6),
        ("cat", "dog"),
        {"fingerprint": "abc"},
    )


def test_suspects_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    one = listed()
    two = Suspects.read(one.write(tmp_path / "suspects.parquet"))
    assert two.ids.tolist() == [8, 3, 9] and two.signals["aum"].tolist() == [2.0, 1.0, 3.0]
    for name in ("ids", "labels", "proposed", "probability_wrong", "suspicion"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert (two.noise_rate, two.class_names, two.provenance) == (
        one.noise_rate,
        ("cat", "dog"),
        {"fingerprint": "abc"},
    )
    two.check_data("abc")
    with pytest.raises(dd.BadInputError, match="other data"):
        two.check_data("abd")


def test_where_the_rate_cannot_be_told_the_first_have_no_probabilities_and_old_files_were_told() -> None:
    one = listed()
    assert [row["probability_wrong"] for row in one.first(2)] == [0.9, 0.1]
    open_rate = dataclasses.replace(one, noise_rate=NoiseRate(0.3, 0.0, 0.6, identified=False))
    assert [row["probability_wrong"] for row in open_rate.first(2)] == [None, None]
    assert open_rate.probability_wrong.tolist() == one.probability_wrong.tolist()


def test_a_file_that_does_not_say_whether_its_rate_is_told_is_read(tmp_path: Path) -> None:
    one = listed()
    before = {key: value for key, value in one.noise_rate.as_dict().items() if key != "identified"}
    columns = {
        name: getattr(one, name if name != "id" else "ids")
        for name in ("id", "labels", "proposed", "probability_wrong", "suspicion")
    }
    columns["label"] = columns.pop("labels")
    facts = {"noise_rate": before, "class_names": ["cat", "dog"], "provenance": {}}
    SUSPECTS.write(tmp_path / "old.parquet", columns, facts, compression="zstd")
    assert Suspects.read(tmp_path / "old.parquet").noise_rate == one.noise_rate
    told = dataclasses.replace(one, noise_rate=NoiseRate(0.3, 0.0, 0.6, identified=False))
    assert not Suspects.read(told.write(tmp_path / "new.parquet")).noise_rate.identified


def test_second_passes_leave_out_random_parts_that_are_disjoint_and_leave_every_class_something() -> None:
    labels = np.repeat([0, 1, 2], [300, 60, 2])
    suspected = np.zeros(362, bool)
    suspected[[0, 1, 2, 360]] = True
    suspected[300:355] = True  # nearly all of class 1
    parts = random_parts(suspected, labels, 3, seed=1)
    assert sum(part.astype(int) for part in parts).max() == 1
    for part in parts:
        assert all((~(suspected | part))[labels == label].any() for label in (0, 1, 2))
        assert 0.15 * 362 < part.sum() < 0.25 * 362
        assert part[labels == 1].sum() > 8, "suspects stay in the part, or it would not be a random one"
    assert 0.09 < random_parts(np.zeros(30_000, bool), np.arange(30_000) % 10, 3, 0)[0].mean() < 0.11


@pytest.mark.parametrize("flip", [True, False])
def test_images_that_are_flipped_in_training_are_judged_with_their_mirror_images(
    tmp_path: Path, flip: bool
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    images = dd.load((pixels, np.arange(20) % 2), name="noise")
    with closing(
        prepare(images, small_recipe(flip=flip, epochs=1), workspace=tmp_path, device="cpu")
    ) as setup:
        total = setup.recipe.total_steps(len(images.train))
        run = train_run(setup, 0, weights_at=[total])
        shape = (len(images.train), 2)
        remembered(
            setup,
            run,
            total,
            "logits" if flip else "logits-both-ways",
            lambda _: {"logits": torch.zeros(shape)},
        )
        found = logits_of(setup, run)
        model, _ = load_weights(setup, run, total)
        model.eval()
        (batch,) = setup.train.epoch(images.train.ids, batch_size=20, device="cpu")
        with torch.no_grad():
            plain, mirrored = model(batch.inputs).numpy(), model(batch.inputs.flip(3)).numpy()
    assert np.abs(plain - mirrored).max() > 0.01
    np.testing.assert_allclose(found, (plain + mirrored) / 2 if flip else plain, atol=1e-5)


def test_a_table_of_losses_alone_orders_and_does_not_say_how_many_are_wrong() -> None:
    generator = np.random.default_rng(0)
    wrong = generator.random(400) < 0.1
    loss = np.where(wrong, generator.normal(9, 1, 400), generator.gamma(1.0, 0.2, 400))
    table = dd.ScoreTable.from_seeds(np.arange(400), np.arange(400) % 3, [{"loss": loss}])
    found = find_suspects(table)
    assert (found.noise_rate.low, found.noise_rate.high, found.noise_rate.identified) == (0.0, 1.0, False)
    assert average_precision_score(wrong[found.ids], found.suspicion) > 0.99


def test_a_suspicion_that_is_nan_is_refused_with_its_id() -> None:
    one = listed()
    with pytest.raises(
        dd.BadInputError, match=r"suspicion of suspects is not finite for 1 examples \(ids 3\)"
    ):
        dataclasses.replace(one, suspicion=np.array([2.0, np.nan, 0.5]))


def test_a_file_of_something_else_is_no_list_of_suspects(tmp_path: Path) -> None:
    with pytest.raises(dd.BadInputError, match="There are no suspects at"):
        Suspects.read(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(dd.BadInputError, match="not a readable Parquet file"):
        Suspects.read(tmp_path / "text.parquet")
    table = dd.ScoreTable.from_seeds([0], [0], [{"el2n": [1.0]}])
    with pytest.raises(dd.BadInputError, match="not a file of suspects of datadiet"):
        Suspects.read(table.write(tmp_path / "scores.parquet"))
