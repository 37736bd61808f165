"""The decision: the smallest kept fraction that loses no more than the tolerance, its evidence, and what is next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datadiet.data.leaks import leak_warning
from datadiet.engine.setup import Setup
from datadiet.foundation.statistics import FEWEST_SEEDS, Trained, saved_interval
from datadiet.jobs.arms import Arm, named, place_of
from datadiet.jobs.compare import Comparison
from datadiet.jobs.costs import cost_of
from datadiet.jobs.groups import Grouping
from datadiet.jobs.left_out import tables_of, warnings_of
from datadiet.jobs.what_next import would_decide


def decide(
    comparison: Comparison,
    *,
    scoring_seconds: float = 0.0,
    scoring_processor_seconds: float | None = None,
    groupings: Sequence[Grouping] = (),
    price_per_hour: float | None = None,
    command: str | None = None,
    quick: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """What `verdict.json` holds.

    Args:
        comparison: full data, subsets and random, trained.
        scoring_seconds: what the scores cost.
        scoring_processor_seconds: the same on the processor's clock; None where that is not known.
        groupings: by which to say who is left out.
        price_per_hour: of the machine.
        command: the command line that asked for this.
        quick: `rows` and `of`, where it was asked of a sample.

    Returns:
        Plain data. Accuracies and differences are fractions, the tolerance is in percentage points. Of each subset
        `loses_at_most` is what it loses at most, a bound that misses with 5 % together with those of all scores and
        looks; it `holds` when that is within the tolerance and every larger subset of its score holds, null where
        there are fewer than three seeds, which are not for deciding. Its `outcome` is "holds", "fails" when the lower
        end of its loss is above the tolerance, so that it is shown to lose more, and else "undecided"; `after` is the
        kept fraction of the larger subset that has to hold first, where one does not, and `closed_by` of one that is
        shown to lose, so that this one is not asked. `time_saved` is the
        share of full data's time that one training saves when it has to pay for all scoring, [mean, low,
        high] over pairs of seeds. `answer` is the headline: `kind` ("keep", "keep_all", "undecided",
        "not_for_deciding"), `curve` of what each fraction can cost at most, `would_decide`, and why it `stopped`.
        `not_trained` are the subsets that were not, and `why`: "time", or "a larger one loses more". `groups` is
        described in `datadiet.jobs.left_out.arm_groups`, and `warnings`
        has a sentence on test rows that are in the training part too, and one for each group that loses more
        than the whole. For other tasks than classification `task` is its name, what `accuracy` means there is
        said by `datadiet.tasks`, and `metrics` of each subset has its further test metrics: mean, standard
        deviation over seeds (null for one), and the values. Where test rows are in the training part too,
        `leaks` has `on_leak`, the `test_rows` that there are, and how many of them are `shared` and `dropped`;
        `n_test` and everything measured is of those that are left.
    """
    setup, full, race = comparison.setup, comparison.full, comparison.race
    tolerance = round(100 * race.tolerance, 10)
    trained = [arm for arm in comparison.arms if arm.runs]
    evidence = race.evidence()
    overall = evidence.accuracy(0)
    scoring = (scoring_seconds, scoring_processor_seconds)
    subsets = [_judge(arm, comparison, evidence, trained, scoring) for arm in trained[1:]]
    good = [subset for subset in subsets if subset["holds"]]
    # The smallest subset that holds; among equally small ones, the most accurate.
    recommended = min(good, key=lambda s: (s["n"], -s["accuracy"]), default=None)
    by_name = {(arm.score, arm.rule, arm.n): arm for arm in reversed(trained)}
    kept = None
    if recommended is not None:
        kept = by_name[recommended["score"], recommended["rule"], recommended["n"]]
    ids = setup.examples.train.ids if groupings else np.empty(0, dtype=np.int64)
    if setup.tested is not None:
        groupings = [grouping.on_test_rows(setup.tested) for grouping in groupings]
    groups = tables_of(trained, groupings, ids)
    leak = leak_warning(setup.examples, setup.tested)
    answer = _answer(comparison, evidence, trained, subsets, recommended, command)
    paid = scoring_seconds if kept is not None and kept.score != "random" else 0.0
    today = scoring_seconds + sum(sum(arm.seconds_by_seed) for arm in trained)
    return {
        "source": setup.examples.source,
        "n_train": len(setup.examples.train),
        "n_test": setup.n_test,
        **({"leaks": _leaks(setup)} if leak else {}),
        "tolerance": tolerance,
        "budget": setup.recipe.budget,
        "seeds": len(full.runs),
        "seeds_by": "fixed" if race.seeds.fixed else "auto",
        "quick": None if quick is None else dict(quick),
        **({"task": setup.examples.task} if setup.examples.task != "classification" else {}),
        "answer": answer,
        "full": {
            "n": full.n,
            "accuracy": overall.mean,
            "interval": overall.as_list()[1:],
            "seeds": len(full.runs),
            "accuracies": full.accuracies,
            **_metrics(full),
        },
        "subsets": subsets,
        "recommended": recommended,
        "reason": None if recommended is not None else _reason(subsets, tolerance, answer["kind"]),
        "not_trained": [
            {**named(arm), "why": "time" if race.closed_by(index) is None else "a larger one loses more"}
            for index, arm in enumerate(comparison.arms)
            if not arm.runs
        ],
        "groupings": [{"name": grouping.name, "notes": list(grouping.notes)} for grouping in groupings],
        "groups": groups,
        "warnings": [
            *([leak] if leak else []),
            *alike(trained),
            *warnings_of(groups, subsets, recommended),
        ],
        "cost": cost_of(
            budget=setup.recipe.budget,
            today_seconds=today,
            scoring_seconds=paid if kept is not None else scoring_seconds,
            full_seconds=full.seconds,
            kept_seconds=None if kept is None else kept.seconds,
            price_per_hour=price_per_hour,
        ),
    }


def _leaks(setup: Setup) -> dict[str, Any]:
    examples = setup.examples
    return {
        "on_leak": setup.on_leak,
        "test_rows": len(examples.test),
        "shared": len(examples.repeats.leaked),
        "dropped": len(examples.test) - setup.n_test,
    }


def alike(arms: Sequence[Arm]) -> list[str]:
    """A warning of arms whose trainings are right and wrong on the very same test examples, though not on all of them.

    Their seeds say nothing of how much seeds differ: as where a model takes no random start and sees no random order.
    """
    found = []
    for arm in arms:
        correct = arm.correct()
        if len(correct) > 1 and 0 < correct[0].mean() < 1 and (correct == correct[0]).all():
            found.append(
                f"All {len(correct)} trainings of {arm.name} are right on the very same test examples: their seeds "
                "change nothing that this test part can show."
            )
    return found


def _judge(
    arm: Arm,
    comparison: Comparison,
    evidence: Trained,
    trained: Sequence[Arm],
    scoring: tuple[float, float | None],
) -> dict[str, Any]:
    race, full = comparison.race, comparison.full
    place, index = place_of(trained, arm), place_of(comparison.arms, arm)
    standing = race.standings[index]
    accuracy = evidence.accuracy(place)
    random = comparison.random_of(arm.n) if arm.score != "random" else None
    to_random = None
    if random is not None and random.runs:
        to_random = evidence.difference(place, place_of(trained, random)).as_list()
    decides = min(len(arm.runs), len(full.runs)) >= FEWEST_SEEDS
    return {
        **named(arm),
        "seeds": len(arm.runs),
        "accuracy": accuracy.mean,
        "interval": accuracy.as_list()[1:],
        "accuracies": arm.accuracies,
        **_metrics(arm),
        "minus_full": evidence.difference(place, 0).as_list(),
        "minus_random": to_random,
        "loses_at_most": standing.loses_at_most,
        "holds": standing.outcome == "holds" if decides else None,
        "outcome": standing.outcome,
        "after": race.waits_for(index) if standing.outcome == "undecided" else None,
        "closed_by": race.closed_by(index) if standing.outcome == "undecided" else None,
        **_times(arm, full, *(scoring if arm.score != "random" else (0.0, 0.0))),
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


def _answer(
    comparison: Comparison,
    evidence: Trained,
    trained: Sequence[Arm],
    subsets: Sequence[Mapping[str, Any]],
    recommended: Mapping[str, Any] | None,
    command: str | None,
) -> dict[str, Any]:
    race = comparison.race
    if recommended is not None:
        kind = "keep"
    elif not subsets or any(subset["holds"] is None for subset in subsets):
        kind = "not_for_deciding"
    else:
        kind = "undecided" if race.fronts() else "keep_all"
    return {
        "kind": kind,
        "curve": _curve(subsets),
        "would_decide": would_decide(comparison, evidence, trained, command) if kind == "undecided" else None,
        "stopped": race.stopped,
    }


def _curve(subsets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For every kept fraction the subset that loses least at most, largest fraction first."""

    def loss(subset: Mapping[str, Any]) -> float:
        bound = subset["loses_at_most"]
        return float(-subset["minus_full"][0] if bound is None else bound)

    sizes = sorted({subset["n"] for subset in subsets}, reverse=True)
    best = [min((s for s in subsets if s["n"] == size), key=loss) for size in sizes]
    return [{key: subset[key] for key in ("score", "rule", "keep", "n", "loses_at_most")} for subset in best]


def _reason(subsets: Sequence[Mapping[str, Any]], tolerance: float, kind: str) -> str:
    if not subsets:
        return "no subset was compared"
    if kind == "not_for_deciding":
        few = min(subset["seeds"] for subset in subsets)
        return f"{few} {'seed is' if few == 1 else 'seeds are'} not for deciding; use --seeds {FEWEST_SEEDS} or more"
    best = max(subsets, key=lambda s: s["minus_full"][0])
    mean = 100 * best["minus_full"][0]
    if kind == "keep_all":
        lost = [subset for subset in subsets if subset["outcome"] == "fails"]
        best = max(lost, key=lambda s: s["minus_full"][0])
        every = "every subset" if len(lost) == len(subsets) else "the largest subset of every score"
        return (
            f"{every} is shown to lose more than {tolerance:g} points; the least is "
            f"{best['score']} at {best['keep']:g} with {100 * best['minus_full'][0]:+.2f} points"
        )
    return (
        f"no subset is shown to lose at most {tolerance:g} points; nearest is {best['score']} at {best['keep']:g} "
        f"with {mean:+.2f} points, which more seeds, more test examples or a wider --tolerance might settle"
    )
