"""What the models of a base say of the rows of a pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.data import open_store
from datadiet.points import load_weights
from datadiet.pooling.hypotheses import PoolReading, read_pool
from datadiet.pooling.rows import PoolRows
from datadiet.runs import describe, train_run
from datadiet.setup import Setup


@dataclass(frozen=True, eq=False)
class Opinion:
    """What the base's models say of the usable rows of a pool, averaged.

    Args:
        hardness: score -> float64 (n,), higher = less sure.
        confidence: mean probability of each model's hypothesis, float64 (n,).
        prediction: the class most models take each row for, int64 (n,); of several the lowest.
        weights: hashes of the models' weights.
    """

    hardness: Mapping[str, npt.NDArray[np.float64]]
    confidence: npt.NDArray[np.float64]
    prediction: npt.NDArray[np.int64]
    weights: Sequence[str]


def opinion_of(
    setup: Setup, rows: PoolRows, seeds: int, seed: int, machine: Mapping[str, Any] | None = None
) -> Opinion:
    """Train models on the base, each to its end, and let them read the pool.

    Args:
        setup: the base, its recipe and the machine.
        rows: the pool.
        seeds: how many models.
        seed: of the first.
        machine: arguments of `datadiet.setup.prepare`; those on memory and workers hold for the pool too.
    """
    limits = {
        k: v for k, v in (machine or {}).items() if k in ("memory_limit", "num_workers") and v is not None
    }
    store = open_store(rows.part, setup.encoding, device=str(setup.accelerator.device), **limits)
    readings: list[PoolReading] = []
    weights = []
    total = int(describe(setup, seed, None, False)["total_steps"])
    setup.display.plan(seeds * total, "base models")
    for index in range(seeds):
        run = train_run(setup, seed + index, weights_at=(total,), label=f"base model {index + 1} of {seeds}")
        if not run.trained:
            setup.display.skip(total)
        model, digest = load_weights(setup, run, total)
        readings.append(read_pool(setup, model, store))
        weights.append(digest)
    hardness = {
        name: np.mean([reading.hardness[name] for reading in readings], axis=0)
        for name in readings[0].hardness
    }
    votes = np.stack([reading.labels for reading in readings])
    return Opinion(
        hardness,
        np.mean([reading.confidence for reading in readings], axis=0),
        _most_voted(votes),
        weights,
    )


def _most_voted(votes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The commonest entry of each column; of several the lowest.

    Example:
        >>> _most_voted(np.array([[2, 0, 1], [1, 0, 2], [2, 3, 0]])).tolist()
        [2, 0, 0]
    """
    alike = (votes[:, None, :] == votes[None, :, :]).sum(axis=0)  # how often each vote is given
    best = np.where(alike == alike.max(axis=0), votes, votes.max(initial=0) + 1)
    found: npt.NDArray[np.int64] = best.min(axis=0)
    return found
