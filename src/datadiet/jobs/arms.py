"""Arms: ways to choose what is trained on, and their runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from datadiet.engine.runs import Run
from datadiet.engine.setup import Setup
from datadiet.engine.training.ledger import method_cost
from datadiet.engine.training.randomness import derive_seed
from datadiet.foundation.errors import BadInputError
from datadiet.selection import select

# Retraining seeds begin here above the seeds of scoring: no model is judged on a subset that it chose.
FRESH_SEEDS = 1_000


@dataclass
class Arm:
    """One way to choose what is trained on, and its runs.

    Args:
        score: score that chose the subset; "random"; "full" for all data.
        rule: rule that turned the scores into ids.
        keep: fraction that stays.
        n: how many examples that is.
        ids_for: the ids to train on for the i-th seed; None for all.
        runs: the finished runs, one a seed.
    """

    score: str
    rule: str
    keep: float
    n: int
    ids_for: Callable[[int], np.ndarray | None] = field(repr=False)
    runs: list[Run] = field(default_factory=list)
    _right: list[np.ndarray] = field(default_factory=list, repr=False)

    @property
    def name(self) -> str:
        """What the arm is called in tables and figures."""
        return "full" if self.score == "full" else f"{self.score} {self.rule} {self.keep:g}"

    def correct(self) -> np.ndarray:
        """Whether each test example is predicted right: bool (seeds, test examples)."""
        for run in self.runs[len(self._right) :]:
            self._right.append(run.test_predictions()["correct"].astype(bool))
        return np.stack(self._right)

    @property
    def results(self) -> list[Mapping[str, Any]]:
        """What each finished run came to."""
        return [run.result for run in self.runs if run.result is not None]

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each seed."""
        return [float(result["accuracy"]) for result in self.results]

    @property
    def metrics(self) -> dict[str, list[float | None]]:
        """The task's further test metrics by name, one value a seed; none for classification."""
        found = [result.get("metrics", {}) for result in self.results]
        return {name: [one.get(name) for one in found] for name in (found[0] if found else ())}

    @property
    def seconds(self) -> float:
        """Mean seconds of one training, with the scoring passes that it makes itself."""
        return float(np.mean(self.seconds_by_seed))

    @property
    def seconds_by_seed(self) -> list[float]:
        """The same of each seed."""
        return [float(result["seconds"]) for result in self.results]

    @property
    def processor_seconds_by_seed(self) -> list[float | None]:
        """The same on the processor's clock; None for runs from before there were ledgers."""
        ledgers = [result.get("ledger") for result in self.results]
        return [method_cost(ledger, "processor_seconds") if ledger else None for ledger in ledgers]

    @property
    def scoring_seconds(self) -> float:
        """Of these, what went into scoring and choosing while training."""
        ledgers = [result.get("ledger") for result in self.results]
        return float(np.mean([ledger["seconds"]["scoring"] if ledger else 0.0 for ledger in ledgers]))


def subset_arm(score: str, rule: str, keep: float, ids: np.ndarray) -> Arm:
    """An arm that trains every seed on the same ids."""
    fixed = np.sort(np.asarray(ids, dtype=np.int64))
    return Arm(score, rule, keep, len(fixed), lambda index: fixed)


def random_arm(setup: Setup, keep: float, n: int, seed: int, forms: Mapping[str, Any] | None = None) -> Arm:
    """An arm that trains every seed on a random subset of its own.

    Args:
        setup: data and recipe.
        keep: fraction that stays, for the name.
        n: exact size.
        seed: base seed of the whole comparison.
        forms: the quotas of the subsets that it stands beside, as `select` takes them (`per_class`, `balance`,
            `floor`, `groups`, `allow_empty_class`), so that the score is all that they differ in.
    """
    train = setup.examples.train

    def draw(index: int) -> np.ndarray:
        chosen = derive_seed(seed, "random subset", n, index) % 2**32
        return select(train.ids, None, n, rule="random", labels=train.labels, seed=chosen, **(forms or {}))

    return Arm("random", "random", keep, n, draw)


def as_arms(setup: Setup, kept: Mapping[str, Any]) -> list[Arm]:
    """Arms from named sets of ids, each checked against the data.

    Args:
        setup: data and recipe.
        kept: name -> ids that stay.

    Raises:
        BadInputError: unknown or repeated ids, or none at all.
    """
    train = setup.examples.train
    arms = []
    for name, given in kept.items():
        ids = np.asarray(given)
        if ids.ndim != 1 or ids.size == 0 or ids.dtype.kind not in "iu":
            raise BadInputError(f"The kept ids {name!r} must be a list of one or more whole numbers.")
        ids = ids.astype(np.int64)
        if len(np.unique(ids)) != len(ids):
            repeated = [int(v) for v, c in zip(*np.unique(ids, return_counts=True), strict=True) if c > 1][:5]
            raise BadInputError(f"The kept ids {name!r} name some examples twice: {repeated}.")
        train.positions_of(np.sort(ids))
        arms.append(subset_arm(name, "given", len(ids) / len(train), ids))
    return arms


def named(arm: Arm) -> dict[str, Any]:
    """What an arm is, as plain data."""
    return {"score": arm.score, "rule": arm.rule, "keep": arm.keep, "n": arm.n}


def place_of(arms: Sequence[Arm], arm: Arm) -> int:
    """Where an arm stands among others."""
    return next(place for place, one in enumerate(arms) if one is arm)
