"""Rows and claims of studies that retrain on subsets: accuracies with intervals, arms side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datadiet.report.plain import score_title
from datadiet.selection import kept_size
from datadiet.statistics import accuracy_interval
from datadiet.studies.bench import Workbench
from datadiet.studies.claims import Measured, accuracy_difference

ARMS = "correct"  # where studies keep their arms: key -> bool (seeds, test examples)
Key = tuple[str, float, float]  # score, epoch of the score, kept fraction


def measured_arm(bench: Workbench, kept: dict[str, Any], key: Key, ids: np.ndarray | None) -> dict[str, Any]:
    """Retrain on ids with all seeds; the row of the table, and the arm remembered for the claims.

    Args:
        bench: what the study works with.
        kept: the study's own dictionary.
        key: score, epoch of the score and kept fraction.
        ids: the ids that stay; None for all, or for random subsets when the score is "random".
    """
    score, epoch, fraction = key
    if score == "random":
        correct = bench.correct_on_random(fraction)
    else:
        correct = bench.correct(ids, f"{score} {fraction:g}" if ids is not None else "full")
    kept.setdefault(ARMS, {})[key] = correct
    found = accuracy_interval(correct)
    return {
        "score": score,
        "epoch": epoch,
        "keep": fraction,
        "n": len(bench.setup.examples.train)
        if ids is None and score == "full"
        else _size(bench, fraction, ids),
        "seeds": len(correct),
        "accuracy": found.mean,
        "low": found.low,
        "high": found.high,
        "accuracies": correct.mean(axis=1).tolist(),
    }


def _size(bench: Workbench, fraction: float, ids: np.ndarray | None) -> int:
    return len(ids) if ids is not None else kept_size(len(bench.setup.examples.train), fraction)


def difference(kept: Mapping[str, Any], arm: Key, reference: Key) -> Measured | None:
    """Accuracy of one arm minus another's; None where one of them was not measured."""
    arms = kept.get(ARMS, {})
    if arm not in arms or reference not in arms:
        return None
    return accuracy_difference(arms[arm], arms[reference])


def points(
    rows: Sequence[Mapping[str, Any]], score: str, along: str
) -> list[tuple[float, float, float, float]]:
    """A score's rows as (x, accuracy, low, high) in percent, in the order of x."""
    chosen = sorted((row for row in rows if row["score"] == score), key=lambda row: float(row[along]))
    return [(row[along], 100 * row["accuracy"], 100 * row["low"], 100 * row["high"]) for row in chosen]


def title_of(score: str) -> str:
    """A score's name in a figure."""
    names = {"random": "random", "full": "full data", "grand_init": "GraNd at initialisation"}
    return names.get(score) or score_title(score)


def fixed(bench: Workbench, more: str = "") -> str:
    """What a figure's title says is held fixed."""
    recipe, examples = bench.setup.recipe, bench.setup.examples
    said = (
        f"{examples.name}: {len(examples.train):,} training, {len(examples.test):,} test examples; {recipe.model}; "
        f"scores from {bench.scale.score_seeds} models, {bench.scale.retrain_seeds} retrainings; same {recipe.budget}"
    )
    return f"{said}; {more}" if more else said
