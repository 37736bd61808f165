"""What a plan will cost: the seconds of a step on this machine, as earlier runs had it or as a few steps show."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datadiet.studies.base import Planned
from datadiet.studies.bench import Workbench
from datadiet.training.loop import TrainingLoop

TRIED_STEPS = 5


@dataclass(frozen=True)
class Costed:
    """A group of planned runs and the seconds that they will take at most, were none there already.

    Args:
        planned: the runs.
        seconds: of all of them.
    """

    planned: Planned
    seconds: float


def with_cost(planned: Sequence[Planned], bench: Workbench) -> list[Costed]:
    """Each group with its estimated seconds; the estimate knows nothing of runs that are there already."""
    each = seconds_of_a_step(bench)
    return [Costed(item, item.runs * item.steps * each) for item in planned]


def seconds_of_a_step(bench: Workbench) -> float:
    """The median over a few steps of the first run, on a model that is thrown away."""
    setup = bench.setup
    loop = TrainingLoop(
        setup.recipe,
        setup.build(0),
        setup.task,
        setup.train,
        ids=None,
        seed=0,
        total_steps=bench.total_steps,
        accelerator=setup.accelerator,
        augmentation=setup.augmentation,
    )
    times = []
    for step in range(1, min(TRIED_STEPS, bench.total_steps) + 1):
        before = time.perf_counter()
        loop.run(step)
        times.append(time.perf_counter() - before)
    return float(np.median(times))
