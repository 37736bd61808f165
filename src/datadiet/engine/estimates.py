"""What trainings will cost on this machine: a step, a test, a scoring pass, each measured on a little of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from datadiet.data import Batch, Store
from datadiet.engine.points import compute_grand, compute_outputs
from datadiet.engine.setup import Setup
from datadiet.engine.training.devices import on_device
from datadiet.engine.training.evaluation import evaluate
from datadiet.engine.training.loop import Observer, TrainingLoop
from datadiet.engine.training.randomness import local_randomness

WARM_UP = 3  # steps or batches that are not counted
TRIED = 12  # that are
LONGEST = 3.0  # seconds that the counted steps should take at most


@dataclass(frozen=True)
class Costs:
    """Seconds of the parts that trainings are made of.

    Args:
        step: one step of training.
        evaluation: one prediction of the whole test part.
        scoring_pass: one pass over the training part that takes scores of a checkpoint; 0 where none is taken.
        model: one fresh model, with which every training and every scoring pass begins.
    """

    step: float
    evaluation: float
    scoring_pass: float
    model: float = 0.0

    def of_scoring(self, steps: int) -> float:
        """Seconds of a scoring model that is trained for so many steps."""
        return steps * self.step + self.scoring_pass + (2 if self.scoring_pass else 1) * self.model

    def of_training(self, steps: int) -> float:
        """Seconds of a training of so many steps, with its test."""
        return steps * self.step + self.evaluation + self.model


def measured_costs(setup: Setup, *, scoring_pass: bool = True, grand: str | None = None) -> Costs:
    """All of them on this machine.

    Args:
        setup: data, recipe, machine.
        scoring_pass: whether scores of a checkpoint are taken.
        grand: the parameters that GraNd is taken over; None where it is not taken.
    """
    found = Costs(
        step=seconds_of_a_step(setup),
        evaluation=seconds_of_an_evaluation(setup),
        scoring_pass=seconds_of_a_scoring_pass(setup, grand=grand) if scoring_pass else 0.0,
        model=seconds_of_a_model(setup),
    )
    return cast(Costs, setup.agreed(found))


def seconds_of_a_step(setup: Setup, *, tried: int = TRIED) -> float:
    """The median over some steps of the first training, on a model that is thrown away.

    Args:
        setup: data, recipe, machine.
        tried: steps that are timed after a few that are not; fewer where steps take seconds.
    """
    clock = _Clock(setup.accelerator.device)
    loop = TrainingLoop(
        setup.recipe,
        setup.build(0),
        setup.task,
        setup.train,
        ids=None,
        seed=0,
        total_steps=max(setup.recipe.total_steps(len(setup.train)), WARM_UP + tried + 1),
        accelerator=setup.accelerator,
        augmentation=setup.augmentation,
        observers=[clock],
    )
    loop.run(WARM_UP)
    counted = setup.agreed(max(1, min(tried, int(LONGEST / clock.gaps[-1]))))
    clock.gaps.clear()
    loop.run(WARM_UP + 1 + counted)
    _let_go(setup, loop.model)
    return float(np.median(clock.gaps[1:]))  # the first of them has the opening of the epoch in it


def seconds_of_an_evaluation(setup: Setup, *, tried: int = TRIED) -> float:
    """What one prediction of the test part takes, by some batches of it.

    Args:
        setup: data, recipe, machine.
        tried: batches that are timed.
    """
    task, model = setup.plain_task, _fresh_model(setup)

    def visit(batch: Batch, outputs: Any) -> None:
        correct = task.measures(outputs, batch.targets)["correct"]
        task.predictions(outputs, batch.targets)
        correct.cpu()  # waits for the device

    def some(ids: np.ndarray) -> None:
        evaluate(model, setup.test, setup.recipe, setup.accelerator, visit, ids=ids)

    return _seconds_of_a_pass(setup, setup.test, some, tried)


def seconds_of_a_scoring_pass(setup: Setup, *, grand: str | None = None, tried: int = TRIED) -> float:
    """What one pass over the training part takes that gives every score of a forward pass, by some batches of it.

    Args:
        setup: data, recipe, machine.
        grand: the parameters that GraNd is taken over beside; None where it is not taken.
        tried: batches that are timed.
    """
    model = _fresh_model(setup).eval()

    def some(ids: np.ndarray) -> None:
        compute_outputs(setup, model, ids=ids)
        if grand is not None:
            compute_grand(setup, model, grand, ids=ids)

    return _seconds_of_a_pass(setup, setup.train, some, tried)


def seconds_of_a_model(setup: Setup) -> float:
    """What a fresh model on the device takes, by making one."""
    before = time.perf_counter()
    _fresh_model(setup)
    return time.perf_counter() - before


def _seconds_of_a_pass(setup: Setup, store: Store, some: Callable[[np.ndarray], None], tried: int) -> float:
    """Seconds of a pass over a whole store, from one over examples that are spread over it."""
    size = 2 * setup.recipe.batch_size
    with local_randomness(setup.accelerator.device):
        some(_spread(store.ids, size))
        before = time.perf_counter()
        some(_spread(store.ids, size))
        batches = setup.agreed(max(1, min(tried, int(LONGEST / (time.perf_counter() - before)))))
        chosen = _spread(store.ids, size * batches)
        before = time.perf_counter()
        some(chosen)
        return (time.perf_counter() - before) * len(store) / len(chosen)


def _spread(ids: np.ndarray, count: int) -> np.ndarray:
    """So many ids at even distances, sorted; all where there are not more."""
    return ids[np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).astype(np.int64))]


def _fresh_model(setup: Setup) -> nn.Module:
    return on_device(setup.recipe, setup.build(0), setup.accelerator.device)


def _let_go(setup: Setup, model: nn.Module) -> None:
    setup.prepared_bytes.append(sum(p.numel() * p.element_size() for p in model.parameters()))
    setup.free_memory()


class _Clock(Observer):
    """Seconds from one step to the next."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.gaps: list[float] = []

    def on_begin(self, loop: TrainingLoop) -> None:
        self._last = time.perf_counter()

    def on_step(self, loop: TrainingLoop) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.gaps.append(now - self._last)
        self._last = now
