"""Sparse networks on small data: every arm of a comparison pruned once, rewound and trained again."""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.engine.runs import Run
from datadiet.foundation.statistics import accuracy_interval, difference_interval
from datadiet.jobs.arms import Arm
from datadiet.jobs.compare import Comparison
from datadiet.sparse.iterative import load_last_weights, rewinding_step
from datadiet.sparse.masks import Mask, magnitude_mask
from datadiet.sparse.rewinding import rewinding_point, train_from


def moments(total: int) -> tuple[int, int]:
    """Steps of a dense training at which pruning needs its weights: the rewinding point and the end."""
    return rewinding_step(total), total


def sparse_results(
    comparison: Comparison, sparsity: float, *, allow_empty_layer: bool = False
) -> dict[str, Any]:
    """Prune each dense network of a comparison once, rewind it, and train it again on the same examples.

    One-shot magnitude pruning over the whole network with rewinding of the weights: a second training an arm and
    seed, where iterative pruning to 80 % in steps of 20 % would take eight.

    Args:
        comparison: trained with its weights kept at `moments`.
        sparsity: share of the weights that is removed, in [0, 1).
        allow_empty_layer: go on where a layer has no weights left; it is said.

    Returns:
        `sparsity`, `how`, and `rows`: for every arm its dense and its sparse network with `examples`, `weights`,
        `weights_of`, `accuracy`, `interval`, `accuracies`, `minus_dense` of the same arm (None for dense networks)
        and `minus_full` of dense training on all data; differences are [mean, low, high] in fractions.

    Raises:
        BadInputError: the sparsity empties a layer.
    """
    setup, full = comparison.setup, comparison.full.correct()
    jobs = sum(len(arm.runs) for arm in comparison.arms)
    left = sum(
        run.total_steps - rewinding_step(run.total_steps) for arm in comparison.arms for run in arm.runs
    )
    setup.display.plan(left, "sparse retraining")
    rows, done = [], 0
    for arm in (arm for arm in comparison.arms if arm.runs):
        dense, runs, masks = arm.correct(), [], []
        for index in range(len(arm.runs)):
            done += 1
            label = f"{arm.name} at {sparsity:g} sparsity, seed {index + 1} ({done}/{jobs})"
            mask, run = _sparse(comparison, arm, index, sparsity, allow_empty_layer, label)
            masks.append(mask)
            runs.append(run)
        correct = np.stack([run.test_predictions()["correct"].astype(bool) for run in runs])
        total = masks[0].total
        rows.append(_row(arm, total, total, dense, None, full))
        rows.append(_row(arm, masks[0].kept, total, correct, dense, full))
    return {
        "sparsity": sparsity,
        "how": "magnitude, over the whole network, pruned once, rewound to a twentieth of the training",
        "rows": rows,
    }


def _sparse(
    comparison: Comparison, arm: Arm, index: int, sparsity: float, allow_empty_layer: bool, label: str
) -> tuple[Mask, Run]:
    setup, dense = comparison.setup, arm.runs[index]
    step = rewinding_step(dense.total_steps)
    model = load_last_weights(setup.build(dense.seed), dense)
    mask = magnitude_mask(model, sparsity, allow_empty_layer=allow_empty_layer)
    if mask.emptied:
        setup.display.say(f"{label} leaves no weight of {', '.join(mask.emptied)}.")
    run = train_from(setup, rewinding_point(dense, step), mask, ids=arm.ids_for(index), label=label)
    if not run.trained:
        setup.display.skip(run.total_steps - step)
    return mask, run


def _row(
    arm: Arm, weights: int, total: int, correct: np.ndarray, dense: np.ndarray | None, full: np.ndarray
) -> dict[str, Any]:
    found = accuracy_interval(correct)
    return {
        "score": arm.score,
        "rule": arm.rule,
        "keep": arm.keep,
        "examples": arm.n,
        "weights": weights,
        "weights_of": total,
        "seeds": len(correct),
        "accuracy": found.mean,
        "interval": found.as_list()[1:],
        "accuracies": correct.mean(axis=1).tolist(),
        "minus_dense": None if dense is None else difference_interval(correct, dense).as_list(),
        "minus_full": difference_interval(correct, full).as_list(),
    }
