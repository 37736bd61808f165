"""Study `pool-selection`: what to add from a pool whose labels are the confident hypotheses of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from datadiet.engine.runs import Run
from datadiet.engine.training.randomness import derive_seed
from datadiet.jobs.pool.hypotheses import POOL_TASKS, PoolReading, with_labels
from datadiet.selection import hardest_rows, select
from datadiet.studies.toolbox.accuracy import accuracy_columns, difference, in_percent, seed_values, title_of
from datadiet.studies.toolbox.claims import Claim, mean_difference
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import caption, draw_groups, draw_level, finish, label, panel
from datadiet.studies.toolbox.pool_arms import (
    domains_of,
    means_of_arms,
    metrics_of,
    reading_of,
    sizes,
    split_of,
    stacked,
)
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, study

SOURCE = "entropy and margin based scoring metrics in industrial NLU, 2023"
SCORES = ("entropy", "el2n", "margin", "logit_margin")
TITLES = {"margin": "probability margin"}
CONFIDENT = 0.5  # share of the pool, the most confident of it, whose hypotheses are taken as labels
WINDOW = 0.25  # where the window in the middle of the order begins; it has as many picks as each end
ENDS = ("hardest", "window", "easiest")
RANDOM, BASE = ("random", "random", "hypotheses"), ("base", "", "true")
Choice = tuple[str, str, str]  # score, place in the order, whose labels


def choices(scores: Sequence[str] = SCORES) -> list[Choice]:
    """Every way to pick, with hypotheses as labels; then two with the true ones, to see what wrong ones cost."""
    by_score = [(score, end, "hypotheses") for score in scores for end in ENDS]
    return [RANDOM, *by_score, ("random", "random", "true"), (scores[0], "hardest", "true")]


def plan(context: StudyContext) -> Sequence[Planned]:
    """The base, whose models also label the pool, then a training a way to pick and a seed."""
    base, picks = sizes(context)
    n, seeds = len(context.setup.examples.train), context.scale.retrain_seeds
    return [
        Planned("trainings on the base", seeds, context.planned_steps(base / n)),
        Planned(
            f"trainings on {base + picks:,} examples",
            len(choices()) * seeds,
            context.planned_steps((base + picks) / n),
        ),
    ]


@dataclass(frozen=True)
class LabelledPool:
    """A pool as one model labels it.

    Args:
        reading: what the model says of the whole pool.
        ids: the examples whose hypotheses are confident enough, sorted.
        right: whether each of these hypotheses is the true label, bool.
    """

    reading: PoolReading
    ids: np.ndarray
    right: np.ndarray

    def hardness(self, score: str) -> np.ndarray:
        """How unsure the model is of each of these examples."""
        return np.asarray(self.reading.hardness[score][self.reading.rows_of(self.ids)])


def confident_part(context: StudyContext, reading: PoolReading) -> LabelledPool:
    """The more confident part of a pool; a tie goes to the lower id."""
    size = round(CONFIDENT * len(reading.ids))
    rows = hardest_rows(reading.confidence, size)
    ids = reading.ids[rows]
    train = context.setup.examples.train
    places = train.positions_of(ids)
    right = np.ones(len(ids), dtype=bool)
    if context.setup.examples.task in ("classification", "intent_slots"):
        right = reading.labels[rows] == train.labels[places]
    if reading.targets is not None and train.targets is not None:
        found, true = reading.targets.take(rows).rows(), train.targets.take(places).rows()
        right &= np.array([bool(np.array_equal(f, t)) for f, t in zip(found, true, strict=True)])
    return LabelledPool(reading, ids, right)


def labelled_pool(context: StudyContext, pool: LabelledPool, index: int) -> StudyContext:
    """A context in which the confident pool examples have the model's hypotheses as labels."""
    rows = pool.reading.rows_of(pool.ids)
    targets = None if pool.reading.targets is None else pool.reading.targets.take(rows)
    said = f"hypotheses of base model {index + 1}"
    return context.on(
        with_labels(context.setup.examples, pool.ids, pool.reading.labels[rows], targets, said=said)
    )


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """Seed by seed: a base model labels and scores the pool, then every way to pick is trained."""
    examples, split = context.setup.examples, split_of(context)
    picks = sizes(context)[1]
    has_intents = examples.task in ("classification", "intent_slots")
    numbers = domains_of(examples.class_names, context.domains) if has_intents else None
    for index in range(context.scale.retrain_seeds):
        first = context.retrain(split.base, index, f"base, seed {index + 1}", weights=True)
        yield _row(context, kept, BASE, index, first, numbers, len(split.base), None)
        pool = confident_part(context, reading_of(context, first, split.pool))
        if len(pool.ids) < 2 * picks:
            picks = max(1, len(pool.ids) // 2)
            context.note(f"Only {picks} are picked: the confident part of the pool has {len(pool.ids)}.")
        scores = [score for score in SCORES if score in pool.reading.hardness]
        drawn = derive_seed(context.seed, "picked at random", index) % 2**32
        beside = labelled_pool(context, pool, index)
        for choice in choices(scores):
            score, end, labels = choice
            hardness = None if score == "random" else pool.hardness(score)
            options: dict[str, Any] = {"start": WINDOW} if end == "window" else {}
            chosen = select(pool.ids, hardness, picks, rule=end, seed=drawn, **options)
            here = beside if labels == "hypotheses" else context
            said = f"{score} {end}, {labels} labels, seed {index + 1}"
            run = here.retrain(np.union1d(split.base, chosen), index, said)
            right = float(pool.right[np.searchsorted(pool.ids, chosen)].mean())
            yield _row(context, kept, choice, index, run, numbers, len(split.base) + len(chosen), right)
        context.leave(beside)


def _row(
    context: StudyContext,
    kept: dict[Any, Any],
    choice: Choice,
    index: int,
    run: Run,
    domains: np.ndarray | None,
    n: int,
    right: float | None,
) -> Row:
    examples, found = context.setup.examples, run.test_predictions()
    truth = examples.test.labels[examples.test.positions_of(found["ids"])]
    metrics = metrics_of(run)
    if examples.task in ("classification", "intent_slots"):
        of_intents = float((found["prediction"] == truth).mean())
        metrics["intent_accuracy"] = of_intents
        # Without slots an utterance has one thing to be wrong: its intent.
        metrics.setdefault("semantic_error_rate", 1 - of_intents)
    if domains is not None:
        wrong = domains[found["prediction"].astype(np.int64)] != domains[truth]
        metrics["domain_error"] = float(wrong.mean())
        kept.setdefault("wrong domain", {}).setdefault(choice, []).append(wrong)
    kept.setdefault("correct", {}).setdefault(choice, []).append(found["correct"].astype(bool))
    score, end, labels = choice
    return {
        "score": score,
        "end": end,
        "labels": labels,
        "seed": index,
        "n": n,
        "hypotheses_right": right,
        **metrics,
    }


@study(
    "pool-selection",
    "What to add to a small labelled set from a pool that a model has labelled: scores, ends and windows.",
    "Entropy and margin based scoring in industrial NLU",
    plan=plan,
    measure=measure,
    tasks=POOL_TASKS,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Every way to pick beside random picks, as a table and a figure; claims that scores pick better."""
    correct, wrong_domain = stacked(kept["correct"]), stacked(kept.get("wrong domain", {}))
    entropy: Choice = ("entropy", "hardest", "hypotheses")
    claims = [
        Claim(
            "Hypotheses are worth adding at all: the base with random picks is better than the base alone.",
            SOURCE,
            "accuracy minus that of the base",
            difference(correct, RANDOM, BASE),
        )
    ]
    for score in SCORES:
        choice = (score, "hardest", "hypotheses")
        if choice in correct:
            said = TITLES.get(score, title_of(score))
            claims.append(
                Claim(
                    f"Of the confident part of the pool the least sure by {said} are better picks than random "
                    "ones.",
                    f"{SOURCE}; which end it takes is not public",
                    "accuracy minus random's",
                    difference(correct, choice, RANDOM),
                )
            )
    if wrong_domain:
        claims.append(
            Claim(
                "Picks by entropy put fewer utterances into a wrong domain than random picks.",
                SOURCE,
                "domain error minus random's",
                difference(wrong_domain, entropy, RANDOM),
                below=0.0,
            )
        )
    if context.setup.examples.task == "intent_slots":
        seeds = context.scale.retrain_seeds
        picked, at_random = (
            seed_values(rows, "semantic_error_rate", seeds, score=score, end=end, labels=labels)
            for score, end, labels in (entropy, RANDOM)
        )
        claims.append(
            Claim(
                "Picks by entropy have a lower semantic error rate than random picks.",
                SOURCE,
                "semantic error rate minus random's",
                mean_difference(picked, at_random, "seeds", resolution=1 / context.setup.n_test),
                below=0.0,
            )
        )
    claims.append(
        Claim(
            "Wrong hypotheses cost something: random picks with their true labels are better.",
            "a check of the room that there is",
            "accuracy minus that with hypotheses",
            difference(correct, ("random", "random", "true"), RANDOM),
        )
    )
    return Conclusion(
        claims, {"pool-selection": _figure(context, correct)}, {"choices": _table(correct, rows)}
    )


def _table(correct: Mapping[Choice, np.ndarray], rows: Sequence[Row]) -> list[Row]:
    """A way to pick a row: means over seeds, the interval of accuracy, and error rates relative to random picks."""
    by = ("score", "end", "labels")
    table = means_of_arms(rows, by, correct)
    reference = next((row for row in table if tuple(row[name] for name in by) == RANDOM), {})
    for row in table:
        for name in ("domain_error", "semantic_error_rate"):
            if row.get(name) is not None and reference.get(name):
                row[f"{name}_against_random"] = row[name] / reference[name] - 1
    return table


def _figure(context: StudyContext, correct: Mapping[Choice, np.ndarray]) -> Figure:
    """Accuracy of every way to pick: a place on the axis a score, a colour a place in the order."""
    figure, axes = panel(7.2, 4.2)
    scores = [score for score in SCORES if (score, "hardest", "hypotheses") in correct]
    series = {
        f"window from {WINDOW:g}" if end == "window" else end: [
            in_percent(place, accuracy_columns(correct[choice], correct.values()))
            for place, score in enumerate(scores)
            if (choice := (score, end, "hypotheses")) in correct
        ]
        for end in ENDS
    }
    draw_groups(axes, series, [TITLES.get(score, title_of(score)) for score in scores], apart=0.16)
    for name, choice, style in (("random picks", RANDOM, "--"), ("base alone", BASE, ":")):
        if choice in correct:
            draw_level(axes, name, 100 * accuracy_columns(correct[choice])["accuracy"], style)
    label(axes, "score that picks", "test accuracy, %")
    base, picks = sizes(context)
    more = f"a base of {base:,} and {picks:,} picks with hypotheses as labels; same {context.setup.recipe.budget}"
    return finish(figure, axes, caption(context, context.scale.retrain_seeds, more, called="seeds"))
