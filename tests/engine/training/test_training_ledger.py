"""Ledgers: counts by hand, and times on a clock that the test moves."""

from __future__ import annotations

import time

import pytest

import datadiet as dd
from datadiet.engine.points import measure_grand, measure_points
from datadiet.engine.runs import train_run
from datadiet.engine.setup import prepare
from datadiet.engine.training.ledger import Ledger, method_cost
from datadiet.jobs.dynamic_run import with_dynamic
from tiny_models import small_recipe


class Clock:
    """Two clocks that stand still until they are moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = self.processor = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(time, "process_time", lambda: self.processor)

    def move(self, wall: float, processor: float) -> None:
        self.wall += wall
        self.processor += processor


def test_time_goes_to_the_account_that_is_named_and_goes_on_after_a_break(monkeypatch) -> None:
    clock = Clock(monkeypatch)
    ledger = Ledger()
    clock.move(1, 0.5)
    assert ledger.lap("loading") == 1
    clock.move(10, 8)
    ledger.lap("training")
    ledger = Ledger.from_dict(ledger.as_dict())
    clock.move(100, 100)
    ledger.start()
    clock.move(2, 2)
    ledger.lap("training")
    clock.move(4, 3)
    ledger.lap("scoring")
    clock.move(7, 7)
    ledger.lap("evaluation")
    assert ledger.seconds == {"training": 12, "scoring": 4, "loading": 1, "evaluation": 7}
    assert ledger.processor_seconds == {"training": 10, "scoring": 3, "loading": 0.5, "evaluation": 7}
    assert ledger.method_seconds == method_cost(ledger.as_dict()) == 17
    assert method_cost(ledger.as_dict(), "processor_seconds") == 13.5


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    recipe = small_recipe(model_options={"hidden": (8,)}, batch_size=100, lr=0.05)
    return prepare(dd.load("digits"), recipe, workspace=tmp_path_factory.mktemp("runs"), device="cpu")


def counts(run) -> tuple[int, int, int, int]:
    ledger = run.result["ledger"]
    return ledger["forwarded"], ledger["backwarded"], ledger["evaluated"], ledger["steps"]


def test_counts_of_ordinary_runs(digits) -> None:
    assert counts(train_run(digits, 0)) == (4 * 1438, 4 * 1438, 359, 4 * 15)
    # Half of the data for as many steps: 60 are seven and a half epochs of 719, in 7 batches of 100 and one of 19.
    half = train_run(digits, 0, ids=digits.examples.train.ids[:719])
    assert counts(half) == (7 * 719 + 4 * 100, 7 * 719 + 4 * 100, 359, 60)


def test_counts_of_dynamic_runs(digits) -> None:
    random = train_run(with_dynamic(digits, "random", {"keep": 0.5}), 0)
    assert counts(random) == (4 * 719, 4 * 719, 359, 4 * 8)
    # One epoch on everything, then choices for epochs 1 and 3, each after a forward pass over everything.
    diet = train_run(with_dynamic(digits, "nlu-data-diet", {"keep": 0.5, "every": 2}), 0)
    trained = 1438 + 3 * 719
    assert counts(diet) == (trained + 2 * 1438, trained, 359, 15 + 3 * 8)
    assert diet.result["ledger"]["epoch_sizes"] == [1438, 719, 719, 719]
    assert diet.result["seconds"] == pytest.approx(method_cost(diet.result["ledger"]))
    assert diet.result["ledger"]["seconds"]["scoring"] > 0


def test_passes_that_score_have_ledgers_of_their_own(digits) -> None:
    run = train_run(digits, 1, weights_at=[15])
    points, grand = measure_points(digits, run, 15), measure_grand(digits, run, 15)
    assert (points.ledger["forwarded"], points.ledger["backwarded"]) == (1438, 0)
    assert (grand.ledger["forwarded"], grand.ledger["backwarded"]) == (1438, 1438)
    assert points.ledger["seconds"]["scoring"] > 0
    assert measure_points(digits, run, 15).ledger == points.ledger
    assert run.weights(15)[1]["ledger"]["forwarded"] == 1438
