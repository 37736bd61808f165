"""The decision: the smallest kept fraction that loses no more than the tolerance, with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from datadiet.foundation.statistics import accuracy_interval, difference_interval, saved_interval
from datadiet.jobs.compare import Arm, Comparison
from datadiet.jobs.groups import Grouping
from datadiet.jobs.left_out import tables_of, warnings_of


def decide(
    comparison: Comparison,
    *,
    tolerance: float = 0.5,
    scoring_seconds: float = 0.0,
    scoring_processor_seconds: float | None = None,
    groupings: Sequence[Grouping] = (),
) -> dict[str, Any]:
    """What `verdict.json` holds.

    Args:
        comparison: full data, subsets and random, trained.
        tolerance: percentage points of accuracy that may be lost.
        scoring_seconds: what the scores cost.
        scoring_processor_seconds: the same on the processor's clock; None where that is not known.
        groupings: by which to say who is left out.

    Returns:
        Plain data. Accuracies and differences are fractions, the tolerance is in percentage points. A
        subset `holds` when the lower bound of its difference to full is above minus the tolerance; null
        when there are too few seeds to say. Its `outcome` is "holds", "fails" when the upper bound is below
        minus the tolerance, so that it is shown to lose more, and else "undecided". `time_saved` is the
        share of full data's time that one training saves when it has to pay for all scoring, [mean, low,
        high] over pairs of seeds. `groups` is described in `datadiet.left_out.arm_groups`, and `warnings`
        has a sentence for each group that loses more than the whole. For other tasks than classification
        `task` is its name, what `accuracy` means there is said by `datadiet.tasks`, and `metrics` of each
        subset has its further test metrics: mean, standard deviation over seeds (null for one), and the
        values.
    """
    setup = comparison.setup
    full = comparison.full
    full_correct = full.correct()
    overall = accuracy_interval(full_correct)
    subsets = [
        _judge(arm, comparison, full_correct, tolerance, (scoring_seconds, scoring_processor_seconds))
        for arm in comparison.arms[1:]
    ]
    good = [subset for subset in subsets if subset["holds"]]
    # The smallest subset that holds; among equally small ones, the most accurate.
    recommended = min(good, key=lambda s: (s["n"], -s["accuracy"]), default=None)
    by_name = {(arm.score, arm.rule, arm.n): arm for arm in reversed(comparison.arms)}
    kept = None
    if recommended is not None:
        kept = by_name[recommended["score"], recommended["rule"], recommended["n"]]
    ids = setup.examples.train.ids if groupings else np.empty(0, dtype=np.int64)
    groups = tables_of(comparison.arms[1:], full_correct, groupings, ids)
    return {
        "source": setup.examples.source,
        "n_train": len(setup.examples.train),
        "n_test": len(setup.examples.test),
        "tolerance": tolerance,
        "budget": setup.recipe.budget,
        "seeds": len(comparison.seeds),
        **({"task": setup.examples.task} if setup.examples.task != "classification" else {}),
        "full": {
            "n": full.n,
            "accuracy": overall.mean,
            "interval": [overall.low, overall.high],
            "seeds": len(full.runs),
            "accuracies": full.accuracies,
            **_metrics(full),
        },
        "subsets": subsets,
        "recommended": recommended,
        "reason": None if recommended is not None else _reason(subsets, tolerance, len(comparison.seeds)),
        "groupings": [{"name": grouping.name, "notes": list(grouping.notes)} for grouping in groupings],
        "groups": groups,
        "warnings": warnings_of(groups, subsets, recommended),
        "cost": _cost(full, kept, scoring_seconds),
    }


def _judge(
    arm: Arm,
    comparison: Comparison,
    full_correct: np.ndarray,
    tolerance: float,
    scoring: tuple[float, float | None],
) -> dict[str, Any]:
    correct = arm.correct()
    accuracy = accuracy_interval(correct)
    to_full = difference_interval(correct, full_correct)
    random = comparison.random_of(arm.n) if arm.score != "random" else None
    to_random = None if random is None else difference_interval(correct, random.correct()).as_list()
    holds = bool(to_full.low > -tolerance / 100) if min(len(correct), len(full_correct)) >= 2 else None
    loses = holds is False and to_full.high < -tolerance / 100
    return {
        "score": arm.score,
        "rule": arm.rule,
        "keep": arm.keep,
        "n": arm.n,
        "seeds": len(arm.runs),
        "accuracy": accuracy.mean,
        "interval": [accuracy.low, accuracy.high],
        "accuracies": arm.accuracies,
        **_metrics(arm),
        "minus_full": to_full.as_list(),
        "minus_random": to_random,
        "holds": holds,
        "outcome": "holds" if holds else "fails" if loses else "undecided",
        **_times(arm, comparison.full, *(scoring if arm.score != "random" else (0.0, 0.0))),
    }


def _times(arm: Arm, full: Arm, before: float, processor_before: float | None) -> dict[str, Any]:
    """What one training of an arm takes and saves; chance needs no scores, and a selector pays while it trains."""
    if before == 0:
        processor_before = 0.0
    pairs = list(zip(arm.seconds_by_seed, full.seconds_by_seed, strict=False))
    clocks = zip(arm.processor_seconds_by_seed, full.processor_seconds_by_seed, strict=False)
    processor = [(own, whole) for own, whole in clocks if own is not None and whole]
    return {
        "seconds": arm.seconds,
        "scoring_seconds": before + arm.scoring_seconds,
        "time_saved": saved_interval([(own + before) / whole for own, whole in pairs]),
        "time_saved_without_scoring": saved_interval([own / whole for own, whole in pairs]),
        "processor_time_saved": None
        if processor_before is None or len(processor) < len(pairs)
        else saved_interval([(own + processor_before) / whole for own, whole in processor]),
    }


def _metrics(arm: Arm) -> dict[str, Any]:
    """The task's further metrics over the seeds of an arm; nothing where there are none."""
    found: dict[str, Any] = {}
    for name, values in arm.metrics.items():
        numbers = [value for value in values if value is not None]
        found[name] = {
            "mean": float(np.mean(numbers)) if numbers else None,
            "spread": float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None,
            "values": values,
        }
    return {"metrics": found} if found else {}


def _reason(subsets: list[dict[str, Any]], tolerance: float, seeds: int) -> str:
    if not subsets:
        return "no subset was compared"
    if any(subset["holds"] is None for subset in subsets):
        return (
            f"{seeds} seed is too few to decide: how much accuracy differs from seed to seed cannot be seen; "
            "use --seeds 3 or more"
        )
    best = max(subsets, key=lambda s: s["minus_full"][1])
    mean, low, _ = (100 * value for value in best["minus_full"])
    if all(100 * subset["minus_full"][2] < -tolerance for subset in subsets):
        return (
            f"every subset loses more than {tolerance:g} points; the least is {best['score']} at {best['keep']:g} "
            f"with {mean:+.2f} points"
        )
    return (
        f"no subset is shown to lose at most {tolerance:g} points; nearest is {best['score']} at {best['keep']:g} "
        f"with {mean:+.2f} points and a lower bound of {low:+.2f}, which more seeds, more test examples or a "
        "wider --tolerance might settle"
    )


def _cost(full: Arm, kept: Arm | None, scoring_seconds: float) -> dict[str, Any]:
    saved = full.seconds - kept.seconds if kept is not None else 0.0
    # A saving below a hundredth of a training is noise of the clock, as where both take the same steps.
    pays = scoring_seconds / saved if saved > 0.01 * full.seconds else None
    return {
        "scoring_seconds": scoring_seconds if kept is None else scoring_seconds + kept.scoring_seconds,
        "full_training_seconds": full.seconds,
        "kept_training_seconds": kept.seconds if kept is not None else None,
        "pays_after_trainings": int(np.ceil(pays)) if pays is not None else None,
    }
