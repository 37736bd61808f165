"""Arms of a comparison by cost: what each was trained on, how accurate it got, and what its ledger says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from datadiet.points import measure_points
from datadiet.runs import Run
from datadiet.setup import Setup
from datadiet.statistics import accuracy_interval
from datadiet.studies.claims import Measured, share_saved
from datadiet.training.ledger import method_cost

Clock = str  # "seconds" on the wall or "processor_seconds"


@dataclass
class TimedArm:
    """Finished runs of one way to train, one a seed, and what its scores cost before the first of them.

    Args:
        method: "full", "el2n hardest", "random subset", a selector, or "random twin of ..." one.
        keep: the share that was asked for; None where the method has its own.
        runs: one a seed.
        scoring: ledgers of what came before: trainings and passes that scores were taken from. Each of the arm's
            trainings is charged all of them, as if it were the only one.
    """

    method: str
    keep: float | None
    runs: Sequence[Run]
    scoring: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.method if self.keep is None else f"{self.method} {self.keep:g}"

    @property
    def ledgers(self) -> list[dict[str, Any]]:
        """One a run."""
        return [run.result["ledger"] for run in self.runs if run.result is not None]

    def correct(self) -> np.ndarray:
        """Which test examples are right: bool (seeds, test examples)."""
        return np.stack([run.test_predictions()["correct"].astype(bool) for run in self.runs])

    def costs(self, clock: Clock = "seconds", *, with_scoring: bool = True) -> np.ndarray:
        """Seconds of each seed's training, with what came before it."""
        before = sum(method_cost(ledger, clock) for ledger in self.scoring) if with_scoring else 0.0
        return np.array([method_cost(ledger, clock) + before for ledger in self.ledgers])

    def examples(self, *, with_scoring: bool = True) -> np.ndarray:
        """Examples that each seed processed: those sent forward and those sent backward, added up."""
        before = sum(_processed(ledger) for ledger in self.scoring) if with_scoring else 0
        return np.array([_processed(ledger) + before for ledger in self.ledgers], dtype=np.float64)


def _processed(ledger: Mapping[str, Any]) -> int:
    return int(ledger["forwarded"] + ledger["backwarded"])


def scores_with_cost(
    setup: Setup, runs: Sequence[Run], step: int, name: str = "el2n"
) -> tuple[np.ndarray, list[Mapping[str, Any]]]:
    """A point score's mean over runs, and the ledgers of these runs up to that step and of the scoring passes.

    Args:
        setup: of the runs.
        runs: each keeps its weights at `step`.
        step: of the weights.
        name: of the score.
    """
    columns, ledgers = [], []
    for run in runs:
        points = measure_points(setup, run, step, [name])
        columns.append(points.columns[name].astype(np.float64))
        ledgers += [run.weights(step)[1]["ledger"], points.ledger]
    return np.mean(columns, axis=0), ledgers


def saved(arm: TimedArm, full: TimedArm, clock: Clock = "seconds", *, with_scoring: bool = True) -> Measured:
    """Share of full data's time that an arm saves, seed against the same seed."""
    return share_saved(list(arm.costs(clock, with_scoring=with_scoring) / full.costs(clock)), "seeds")


def fewer_examples(arm: TimedArm, full: TimedArm) -> Measured:
    """Share of full data's processed examples that an arm saves; scoring counted."""
    return share_saved(list(arm.examples() / full.examples()), "seeds")


def row_of(arm: TimedArm, full: TimedArm) -> dict[str, Any]:
    """An arm as a row of a table: accuracy, cost, and savings against full data with 95 % intervals.

    `seconds` and `processor_seconds` are means over seeds and count scoring; `trained` is the share of full data's
    examples that were trained on.
    """
    accuracy = accuracy_interval(arm.correct())
    row: dict[str, Any] = {
        "method": arm.method,
        "keep": arm.keep,
        "seeds": len(arm.runs),
        "accuracy": accuracy.mean,
        "low": accuracy.low,
        "high": accuracy.high,
        "accuracies": [float(run.result["accuracy"]) for run in arm.runs if run.result is not None],
        "trained": float(np.mean([ledger["backwarded"] for ledger in arm.ledgers]))
        / float(np.mean([ledger["backwarded"] for ledger in full.ledgers])),
        "forwarded": _mean(arm, "forwarded"),
        "backwarded": _mean(arm, "backwarded"),
    }
    for clock in ("seconds", "processor_seconds"):
        alone = arm.costs(clock, with_scoring=False)
        inside = np.array([ledger[clock]["scoring"] for ledger in arm.ledgers])
        row[clock] = float(arm.costs(clock).mean())
        row[f"scoring_{clock}"] = float((arm.costs(clock) - alone + inside).mean())
        for name, with_scoring in (("saved", True), ("saved_without_scoring", False)):
            found = saved(arm, full, clock, with_scoring=with_scoring)
            low, high = found.interval(0.95)
            row |= {f"{clock}_{name}": found.estimate}
            row |= {f"{clock}_{name}_low": _finite(low), f"{clock}_{name}_high": _finite(high)}
    found = fewer_examples(arm, full)
    low, high = found.interval(0.95)
    row |= {"examples_saved": found.estimate, "examples_saved_low": _finite(low)}
    row["examples_saved_high"] = _finite(high)
    row["examples"] = float(arm.examples().mean())
    return row


def _mean(arm: TimedArm, key: str) -> float:
    before = sum(int(ledger[key]) for ledger in arm.scoring)
    return float(np.mean([ledger[key] for ledger in arm.ledgers])) + before


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
