"""A sample for a first answer: stratified, of its own, read once, and as large as the time allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

import datadiet as dd
from datadiet.data import arrow
from datadiet.data.fingerprint import fingerprint
from datadiet.engine.estimates import Costs
from datadiet.engine.setup import Setup, prepare
from datadiet.jobs.quick import rows_for_time, sampled, seconds_needed

ARMS = (1.0, 0.7, 0.5, 0.3, 0.7, 0.5, 0.3)


def points(sizes: list[int], test: int = 50, seed: int = 0) -> dd.Examples:
    """Classes of these sizes, mixed; a tenth of the training rows stands there twice, and some test rows are leaked."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    inputs = generator.normal(size=(len(labels), 3)).astype(np.float32)
    for index in range(len(sizes)):
        of_class = np.flatnonzero(labels == index)
        again = len(of_class) // 10
        inputs[of_class[:again]] = inputs[of_class[again : 2 * again]]
    tested = generator.normal(size=(test, 3)).astype(np.float32)
    tested[: test // 5] = inputs[generator.choice(len(labels), test // 5, replace=False)]
    return dd.load((inputs, labels), test=(tested, np.arange(test) % len(sizes)), name="points")


@pytest.fixture(scope="module")
def examples() -> dd.Examples:
    return points([600, 300, 90, 3, 1])


def test_a_sample_has_its_size_and_every_class(examples: dd.Examples) -> None:
    sample = sampled(examples, 100)
    counts = np.bincount(sample.train.labels)
    assert counts.sum() == 100
    assert counts[3:].tolist() == [2, 1], "two of each class, or all"
    assert counts[:3].tolist() == pytest.approx([60, 30, 9], abs=3), "the others in proportion"
    assert sample.test.ids.tolist() == examples.test.ids.tolist()


def test_rows_keep_their_ids_and_contents(examples: dd.Examples) -> None:
    sample = sampled(examples, 100)
    places = examples.train.positions_of(sample.train.ids)
    assert (examples.train.labels[places] == sample.train.labels).all()
    for column in sample.input_columns:
        there = np.array(examples.train.dataset[column][:])
        assert (there[places] == np.array(sample.train.dataset[column][:])).all()


def test_a_sample_is_data_of_its_own(examples: dd.Examples) -> None:
    sample, other = sampled(examples, 100, seed=0), sampled(examples, 100, seed=1)
    assert sample.fingerprint == sampled(examples, 100, seed=0).fingerprint
    assert sample.fingerprint == fingerprint(sample.class_names, [sample.train, sample.test])
    assert len({sample.fingerprint, other.fingerprint, examples.fingerprint}) == 3
    assert sample.name == "points, a sample of 100 rows"
    assert sampled(examples, len(examples.train)) is examples
    assert sampled(examples, 10**6) is examples


def test_repeats_are_those_of_the_sample(examples: dd.Examples) -> None:
    sample = sampled(examples, 400)
    (column,) = sample.input_columns
    rows = [[tuple(row) for row in part.dataset[column][:]] for part in (sample.train, sample.test)]
    often, there = Counter(rows[0]), set(rows[0])
    twice = [id for id, row in zip(sample.train.ids.tolist(), rows[0], strict=True) if often[row] > 1]
    leaked = [id for id, row in zip(sample.test.ids.tolist(), rows[1], strict=True) if row in there]
    assert 0 < len(twice) < len(examples.repeats.train)
    assert sample.repeats.train.tolist() == twice
    assert 0 < len(leaked) < len(examples.repeats.leaked)
    assert sample.repeats.leaked.tolist() == leaked


def test_a_large_test_part_is_cut(monkeypatch: pytest.MonkeyPatch, examples: dd.Examples) -> None:
    monkeypatch.setattr("datadiet.jobs.quick.MOST_TEST_ROWS", 20)
    sample = sampled(examples, 10**6)
    assert len(sample.train) == len(examples.train)
    assert np.bincount(sample.test.labels).tolist() == [4] * 5
    assert sample.fingerprint != examples.fingerprint


def test_more_sets_of_labels_than_rows() -> None:
    sets = [[f"label {i % 7}", f"label {i * i % 11}", f"label {i % 13}"] for i in range(300)]
    rows = datasets.Dataset.from_dict({"text": [f"a text of row {i}" for i in range(300)], "labels": sets})
    examples = dd.load(rows, test_fraction=0.2)
    assert examples.task == "multilabel"
    sample = sampled(examples, 30)
    assert len(sample.train) == 30
    assert sample.train.targets is not None
    assert len(sample.train.targets) == 30


def costs_by_example(example: float) -> Callable[[Setup], Costs]:
    """Steps and passes that take so many seconds for each example."""

    def costs(setup: Setup) -> Costs:
        return Costs(
            example * setup.recipe.batch_size, 0.3 * example * setup.n_test, 0.4 * example * len(setup.train)
        )

    return costs


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[[dd.Examples], Setup]:
    def prepare_setup(sample: dd.Examples) -> Setup:
        fixed = {"model": "mlp", "precision": "float32", "memory_format": "contiguous"}
        return prepare(sample, "fast", workspace=tmp_path / "runs", device="cpu", overrides=fixed)

    return prepare_setup


@pytest.fixture(scope="module")
def many() -> dd.Examples:
    return points([20_000, 5_000, 100], test=200)


@pytest.mark.parametrize("example", [1e-6, 7e-5, 1e-4, 2e-4, 5e-4])
def test_the_rows_fit_into_the_time(
    many: dd.Examples, prepared: Callable[[dd.Examples], Setup], example: float
) -> None:
    costs, seconds = costs_by_example(example), 300.0
    rows = rows_for_time(many, prepared, seconds, ARMS, 3, costs_of=costs)
    setup = prepared(sampled(many, rows))
    needed = seconds_needed(setup, costs(setup), ARMS, 3, 3)
    assert needed <= seconds
    assert rows == 20_000 or needed > 0.4 * seconds, "nor is most of it left"
    assert (rows == 20_000) == (example == 1e-6)


def test_where_nothing_fits_there_are_200_rows_or_all(
    many: dd.Examples, prepared: Callable[[dd.Examples], Setup]
) -> None:
    slow = costs_by_example(10.0)
    assert rows_for_time(many, prepared, 1.0, ARMS, 3, costs_of=slow) == 200
    few = points([60, 60])
    assert rows_for_time(few, prepared, 1.0, ARMS, 3, costs_of=slow) == 120


def test_what_is_needed_is_what_is_trained(
    examples: dd.Examples, prepared: Callable[[dd.Examples], Setup]
) -> None:
    setup = prepared(examples)
    setup.recipe = setup.recipe.replace(epochs=10, batch_size=100, budget="epochs")
    costs = Costs(step=1.0, evaluation=100.0, scoring_pass=1000.0, model=7.0)
    # 994 rows: 10 steps an epoch, scores after 4 of 10 epochs; half of it 5 steps an epoch.
    assert seconds_needed(setup, costs, (1.0, 0.5), 2, 3) == 2 * (40 + 1000 + 14) + 3 * (100 + 50 + 2 * 107)
    assert seconds_needed(setup, costs, (1.0,), 1, 1, at_epoch=1) == 10 + 1014 + 100 + 107


def test_large_data_is_not_read_whole_again(
    prepared: Callable[[dd.Examples], Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(1_000_000, 2)).astype(np.float32)
    large = dd.load((inputs, np.arange(1_000_000) % 3), test=(inputs[:12_000] + 1, np.arange(12_000) % 3))
    read, taken = [], []
    chunks, rows_with = arrow.matrix_chunks, arrow.rows_with

    def counted(*arguments: Any, **options: Any) -> Any:
        for start, matrix in chunks(*arguments, **options):
            read.append(len(matrix))
            yield start, matrix

    def took(dataset: datasets.Dataset, positions: Any) -> datasets.Dataset:
        taken.append(len(dataset))
        return rows_with(dataset, positions)

    monkeypatch.setattr(arrow, "matrix_chunks", counted)
    monkeypatch.setattr("datadiet.data.examples.rows_with", took)
    rows = rows_for_time(large, prepared, 300.0, ARMS, 3, costs_of=costs_by_example(1e-4))
    assert rows < 20_000
    sample = sampled(large, rows)
    assert len(sample.test) == 10_000
    assert taken.count(1_000_000) == 2, "one look for the size, one for the sample"
    assert sum(read) < 200_000
