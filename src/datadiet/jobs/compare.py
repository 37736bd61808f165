"""Retraining on subsets, beside full data and matched random, with several seeds each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.engine.runs import Run, describe, train_run
from datadiet.engine.setup import Setup
from datadiet.engine.training.dynamic import refuse_dynamic
from datadiet.engine.training.ledger import ACCOUNTS, method_cost
from datadiet.engine.training.randomness import derive_seed
from datadiet.foundation.atomic import atomic_path
from datadiet.engine.workspace import content_address
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.race import Race, Seeds, Trainer
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


@dataclass
class Comparison:
    """Full data, the subsets, and for each size of subset a random one: all trained with the same seeds.

    Args:
        setup: data and recipe.
        arms: full first, then subsets, then the random ones; those for which there was no time have no runs.
        race: what was shown of the arms, look by look.
    """

    setup: Setup
    arms: list[Arm]
    race: Race

    @property
    def full(self) -> Arm:
        """The arm of all data."""
        return self.arms[0]

    def random_of(self, n: int) -> Arm | None:
        """The random arm of that size."""
        return next((arm for arm in self.arms if arm.score == "random" and arm.n == n), None)

    def write(self, path: Path) -> None:
        """One row a run, as Parquet: arm, size, seed, accuracy and other metrics, cost, steps, epochs, folder."""
        rows = [
            {
                "score": arm.score,
                "rule": arm.rule,
                "keep": arm.keep,
                "n": arm.n,
                "seed": run.seed,
                "accuracy": result["accuracy"],
                **result.get("metrics", {}),
                "seconds": result["seconds"],
                "steps": result["steps"],
                "epochs": result["epochs"],
                "budget": self.setup.recipe.budget,
                **_ledger_columns(result.get("ledger")),
                "run": run.folder.path.name,
            }
            for arm in self.arms
            for run, result in zip(arm.runs, arm.results, strict=True)
        ]
        with atomic_path(path) as temporary:
            pq.write_table(pa.Table.from_pylist(rows), temporary)


def _ledger_columns(ledger: Mapping[str, Any] | None) -> dict[str, Any]:
    """Columns of a run's ledger; null for runs from before there were ledgers."""
    counts = {name: ledger[name] if ledger else None for name in ("forwarded", "backwarded")}
    clocks = {
        f"{account}_{clock}": ledger[clock][account] if ledger else None
        for clock in ("seconds", "processor_seconds")
        for account in ACCOUNTS
    }
    return counts | clocks


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


def compare_arms(
    setup: Setup,
    subsets: Sequence[Arm],
    *,
    seeds: Seeds,
    seed: int = 0,
    tolerance: float = 0.5,
    forms: Mapping[str, Any] | None = None,
    weights_at: Callable[[int], Sequence[int]] = lambda total: (),
    step_seconds: float = 0.0,
) -> Comparison:
    """Train full data, the subsets, and a random arm for each size that has none yet.

    With a fixed number of seeds all arms have as many. Else all have three first (in the order of the questions, from
    the largest subset down, where there is not time for all), and then those that are still open have more, full data
    first: an arm is open while it is the largest of its score that is not shown to hold, and not shown to lose.

    Args:
        setup: data and recipe.
        subsets: the arms to judge.
        seeds: how many retrainings each.
        seed: base seed.
        tolerance: percentage points that may be lost, which decides what is open.
        forms: quotas of the random arms, as for `random_arm`.
        weights_at: length of a run -> steps whose weights are kept; a run that lacks them is trained again.
        step_seconds: of a step, as far as that is known beforehand.

    Raises:
        RunFailedError: a training broke off; the finished ones are kept.
    """
    refuse_dynamic(setup.recipe, "Subsets are compared by")
    total = len(setup.examples.train)
    arms = [Arm("full", "all", 1.0, total, lambda index: None)]
    arms += [arm for arm in subsets if arm.n < total]
    covered = {arm.n for arm in arms if arm.score == "random"}
    for arm in list(arms[1:]):
        if arm.n not in covered:
            covered.add(arm.n)
            arms.append(random_arm(setup, arm.keep, arm.n, seed, forms))

    def train(arm: Arm, index: int, label: str) -> None:
        steps = weights_at(length(arm))
        chosen = seed + FRESH_SEEDS + index
        run = train_run(setup, chosen, ids=arm.ids_for(index), weights_at=steps, label=label)
        if not run.trained:
            setup.display.skip(run.total_steps)
        arm.runs.append(run)

    def length(arm: Arm) -> int:
        return setup.recipe.total_steps(arm.n, total)

    race = Race(arms, seeds, tolerance, tried_before(setup, arms, seeds, seed))
    Trainer(race, train, length, setup.display, step_seconds).run()
    return Comparison(setup, arms, race)


def tried_before(setup: Setup, arms: Sequence[Arm], seeds: Seeds, seed: int) -> tuple[int, ...]:
    """The most seeds of every plan under which these arms were looked at in this workspace, this one last.

    So looks are paid for also by who asks for more seeds when fewer did not decide.
    """
    if seeds.fixed:
        return ()
    plans: list[int] = []
    while not plans or plans[-1] < seeds.most:
        question = {
            "choice": "looks",
            "arms": [content_address(describe(setup, seed, arm.ids_for(0), False)) for arm in arms],
            "after": list(plans),
        }
        plans.append(int(setup.workspace.remember(question, lambda: seeds.most)))
    return tuple(plans)


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
