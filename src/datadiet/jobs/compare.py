"""Retraining on subsets, beside full data and matched random, with several seeds each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.engine.runs import describe, train_run
from datadiet.engine.setup import Setup
from datadiet.engine.training.dynamic import refuse_dynamic
from datadiet.engine.training.ledger import ACCOUNTS
from datadiet.engine.workspace import content_address
from datadiet.foundation.atomic import atomic_path
from datadiet.jobs.arms import FRESH_SEEDS, Arm, random_arm
from datadiet.jobs.race import Race, Seeds, Trainer


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

    With a fixed number of seeds all arms have as many. Else all have three first (where there is a time, one after the
    other in the order of the questions, from the largest subset down), and then those that are still open have more,
    full data first: an arm is open while it is the largest of its score that is not shown to hold, and is not shown to
    lose.

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

    def is_there(arm: Arm, index: int) -> bool:
        described = describe(setup, seed + FRESH_SEEDS + index, arm.ids_for(index), False)
        return setup.workspace.folder(described).result() is not None

    race = Race(arms, seeds, tolerance, tried_before(setup, arms, seeds, seed))
    Trainer(race, train, length, setup.display, step_seconds, setup.agreed, is_there).run()
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
        wanted = seeds.most if plans or seeds.planned is None else seeds.planned
        plans.append(int(setup.workspace.remember(question, lambda: wanted)))  # noqa: B023
    return tuple(plans)
