"""Arms whose right answers are made up, and comparisons of them in which nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.data.duplicates import Repeats
from datadiet.foundation.progress import ProgressDisplay
from datadiet.jobs.arms import Arm
from datadiet.jobs.compare import Comparison
from datadiet.jobs.race import Race, Seeds, Trainer
from datadiet.jobs.verdict import decide

N_TRAIN = 1_000
Right = npt.NDArray[np.bool_]


def wrong_on(errors: Sequence[int], n_test: int) -> Right:
    """Seed i is wrong on the first `errors[i]` test examples: bool (seeds, n_test)."""
    return np.stack([np.arange(n_test) >= wrong for wrong in errors])


def run_of(right: Right, seconds: float = 10.0, *, trained: bool = True) -> Any:
    """A finished training that is right on these test examples."""
    result = {"accuracy": float(right.mean()), "seconds": seconds, "steps": 1, "epochs": 1.0}
    return SimpleNamespace(
        seed=0, trained=trained, result=result, test_predictions=lambda: {"correct": right}
    )


def arm_of(
    score: str,
    keep: float,
    right: Right | None = None,
    *,
    seconds: float = 10.0,
    ids_for: Callable[[int], Any] = lambda index: None,
    n: int | None = None,
    rule: str | None = None,
) -> Arm:
    """An arm whose i-th run is right on `right[i]`; not trained without it."""
    runs = [] if right is None else [run_of(row, seconds) for row in right]
    rule = rule or {"full": "all", "random": "random"}.get(score, "hardest")
    return Arm(score, rule, keep, round(keep * N_TRAIN) if n is None else n, ids_for, runs)


def compared(
    *arms: Arm,
    tolerance: float = 0.5,
    seeds: Seeds | None = None,
    plans: tuple[int, ...] = (),
    setup: Any = None,
    ids: Any = None,
    budget: str = "steps",
) -> Comparison:
    """What has been trained, looked at once; with as many seeds as full data, fixed, unless told otherwise."""
    n_test = arms[0].correct().shape[1]
    setup = setup or SimpleNamespace(
        examples=SimpleNamespace(
            source="made up",
            train=Rows(np.arange(N_TRAIN) if ids is None else ids),
            test=range(n_test),
            task="classification",
            repeats=Repeats(),
        ),
        recipe=SimpleNamespace(budget=budget),
        n_test=n_test,
        tested=None,
    )
    race = Race(list(arms), seeds or Seeds(len(arms[0].runs), fixed=True), tolerance, plans)
    race.look()
    return Comparison(setup, list(arms), race)


def verdict_of(*arms: Arm, scoring: float = 5.0, command: str | None = None, **how: Any) -> dict[str, Any]:
    """The verdict on what has been trained; `how` is that of `compared`."""
    return decide(compared(*arms, **how), scoring_seconds=scoring, command=command)


class Rows:
    """A training part that has nothing but ids."""

    def __init__(self, ids: Any) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)


class Clock:
    """A clock that goes on when a training takes its time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class MadeUpTrainer(Trainer):
    """A trainer of a race in which every training is known beforehand.

    Args:
        race: the questions.
        rights: for each arm the right answers of all the seeds that it could have.
        clock: goes on by `seconds` for each training.
        seconds: of one training of each arm.
        there: trainings of each arm that are found again, and take no time.
        step_seconds: that are known beforehand; a training of an arm has as many steps as it has examples.

    `order` are (position of the arm, index of the seed), as they were trained.
    """

    def __init__(
        self,
        race: Race,
        rights: Sequence[Right],
        *,
        clock: Clock | None = None,
        seconds: Sequence[float] | float = 10.0,
        there: Sequence[int] | int = 0,
        step_seconds: float = 0.0,
    ) -> None:
        super().__init__(race, self.made_up, lambda arm: arm.n, ProgressDisplay(enabled=False), step_seconds)
        self.rights, self.clock, self.order = rights, clock or Clock(), []
        self.seconds = [seconds] * len(rights) if isinstance(seconds, float | int) else list(seconds)
        self.there = [there] * len(rights) if isinstance(there, int) else list(there)

    def made_up(self, arm: Arm, index: int, label: str) -> None:
        """Take the next training of an arm from what was made up."""
        place = next(place for place, one in enumerate(self.race.arms) if one is arm)
        assert index == len(arm.runs), "seeds are trained one after the other"
        new = index >= self.there[place]
        self.clock.now += self.seconds[place] if new else 0.0
        arm.runs.append(run_of(self.rights[place][index], self.seconds[place], trained=new))
        self.order.append((place, index))
