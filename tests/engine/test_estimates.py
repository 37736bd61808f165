"""What trainings will cost: measured on throw-away models, by a clock that can be told, and leaving no trace."""

from __future__ import annotations

import itertools
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.engine import estimates
from datadiet.engine.estimates import (
    TRIED,
    WARM_UP,
    measured_costs,
    seconds_of_a_scoring_pass,
    seconds_of_a_step,
    seconds_of_an_evaluation,
)
from datadiet.engine.runs import train_run
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.loop import TrainingLoop
from tiny_models import small_recipe


class Clock:
    """A clock that stands still but where it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(estimates.time, "perf_counter", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def steps_that_take(clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> list[int]:
    """Each step of a loop takes the next of some times, the last of them again and again; the steps that were made."""
    real, made = TrainingLoop._step, []

    def step(self: TrainingLoop, *arguments: object) -> None:
        clock.now += seconds[min(len(made), len(seconds) - 1)]
        made.append(self.step)
        real(self, *arguments)

    monkeypatch.setattr(TrainingLoop, "_step", step)
    return made


def test_a_step_is_the_median_without_warm_up(
    tiny: Setup, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = steps_that_take(clock, monkeypatch, [0.2] * WARM_UP + [0.4] + [0.01, 0.03] * (TRIED // 2))
    assert seconds_of_a_step(tiny) == pytest.approx(0.02), "of the twenty: one more would make it 0.03"
    assert len(made) == WARM_UP + 1 + TRIED


def test_slow_steps_are_tried_less_often(tiny: Setup, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    made = steps_that_take(clock, monkeypatch, [30.0])
    assert seconds_of_a_step(tiny) == 30
    assert len(made) == WARM_UP + 2


def test_a_training_of_one_step_can_be_estimated(
    vectors: dd.Examples, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = prepare(vectors, small_recipe(epochs=None, steps=1), workspace=tmp_path / "runs", device="cpu")
    steps_that_take(clock, monkeypatch, [2.0])
    assert seconds_of_a_step(setup) == 2


def test_passes_are_in_proportion_to_the_examples(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)

    def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
        return generator.normal(size=(count, 3)).astype(np.float32), np.arange(count) % 2

    examples = dd.load(rows(3000), test=rows(1000), name="points")
    setup = prepare(examples, small_recipe(), workspace=tmp_path / "runs", device="cpu")
    real, seen = estimates.evaluate, []

    def evaluate(model, store, recipe, accelerator, visit, *, ids=None):  # type: ignore[no-untyped-def]
        def visited(batch, outputs):  # type: ignore[no-untyped-def]
            clock.now += 0.001 * len(batch)
            seen.append(len(batch))
            visit(batch, outputs)

        real(model, store, recipe, accelerator, visited, ids=ids)

    monkeypatch.setattr(estimates, "evaluate", evaluate)
    monkeypatch.setattr("datadiet.engine.points.evaluate", evaluate)
    assert seconds_of_an_evaluation(setup) == pytest.approx(1.0)
    assert sum(seen) == 2 * 32 + TRIED * 32, "two batches of 32 to warm up, then those that count"
    assert seconds_of_a_scoring_pass(setup) == pytest.approx(3.0)
    monkeypatch.setattr(
        estimates, "compute_grand", lambda *_, ids: setattr(clock, "now", clock.now + 0.01 * len(ids))
    )
    assert seconds_of_a_scoring_pass(setup, grand="all") == pytest.approx(3.0 + 30.0)


def test_estimates_change_no_training_and_leave_nothing(tiny: Setup) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    there = sorted(tiny.workspace.path.rglob("*"))
    costs = measured_costs(tiny, grand="all")
    assert min(costs.step, costs.evaluation, costs.scoring_pass, costs.model) > 0
    assert torch.equal(torch.random.get_rng_state(), before)
    assert sorted(tiny.workspace.path.rglob("*")) == there
    after = train_run(tiny, 0).result
    fresh = prepare(tiny.examples, tiny.recipe, workspace=tiny.workspace.path.parent / "other", device="cpu")
    assert after is not None
    assert after["weights"] == train_run(fresh, 0).result["weights"]  # type: ignore[index]


@pytest.mark.parametrize("task", ["text", "multilabel"])
def test_other_inputs_and_tasks_can_be_estimated(task: str, tmp_path: Path) -> None:
    words = itertools.cycle(["good", "bad", "fine", "poor"])
    texts = [" ".join(next(words) for _ in range(2 + i % 5)) + f" {i}" for i in range(60)]
    labels = (
        [i % 2 for i in range(60)] if task == "text" else [["a"] if i % 2 else ["a", "b"] for i in range(60)]
    )
    examples = dd.load(datasets.Dataset.from_dict({"text": texts, "label": labels}))
    setup = prepare(
        examples, overrides={"epochs": 1, "batch_size": 8}, workspace=tmp_path / "runs", device="cpu"
    )
    assert seconds_of_a_step(setup, tried=1) > 0
    assert seconds_of_an_evaluation(setup, tried=1) > 0
    assert seconds_of_a_scoring_pass(setup, tried=1) > 0
