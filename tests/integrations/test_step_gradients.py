"""Each step of a real loop has the gradient of a plain loop, each example's loss times its weight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

import step_gradients

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def ranks(ranks_of: Callable[[Path], list[Any]]) -> list[dict[str, Any]]:
    return ranks_of(Path(step_gradients.__file__))


def check(found: dict[str, float]) -> None:
    assert found["weighed"] > 0
    assert found["ratio"] < 1e-9
    assert found["angle"] < 1e-12


@pytest.mark.parametrize(("loop", "task", "accumulation"), step_gradients.cases())
def test_the_gradient_of_each_step_is_that_of_a_plain_loop(loop: str, task: str, accumulation: int) -> None:
    check(step_gradients.deviation(loop, task, accumulation))


def test_so_it_is_in_two_processes(ranks: Any) -> None:
    for rank in ranks:
        assert len(rank["deviations"]) == len(step_gradients.cases())
        for found in rank["deviations"]:
            check(found)


def test_two_processes_share_what_was_chosen_and_go_on_after_each_step(ranks: Any) -> None:
    first, second = (rank["handed out"] for rank in ranks)
    rounds = [a + b for a, b in zip(first["None"], second["None"], strict=True)]
    full, chosen = ([number for each in part for number in each] for part in (rounds[:3], rounds[3:]))
    assert set(full) == set(range(step_gradients.N))
    assert len(set(chosen)) == 12
    for handed in (first, second):
        for step in range(1, 5):
            assert handed[str(step)] == handed["None"][step:]


def test_lightning_s_distributed_sampler_is_refused_before_training(ranks: Any) -> None:
    for rank in ranks:
        assert "use_distributed_sampler=False" in rank["refused"]
