"""Study `active-learning`: which examples of a pool without labels to have labelled next, round by round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from datadiet.engine.runs import Run
from datadiet.engine.training.randomness import derive_seed
from datadiet.jobs.pool.hypotheses import POOL_SCORES, POOL_TASKS, measures_without_labels
from datadiet.selection import select
from datadiet.studies.toolbox.accuracy import accuracy_columns, difference, in_percent, title_of
from datadiet.studies.toolbox.claims import Claim
from datadiet.studies.toolbox.context import StudyContext, correct_of
from datadiet.studies.toolbox.figures import caption, lines
from datadiet.studies.toolbox.pool_arms import means_of_arms, metrics_of, reading_of, sizes, split_of, stacked
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, study

SOURCE = "Settles 2009, Active Learning Literature Survey, section 3.1"
STRATEGIES = ("entropy", "margin", "least_confidence", "random")
TITLES = {"margin": "probability margin", "least_confidence": "least confidence"}


def per_round(context: StudyContext) -> list[int]:
    """How many examples each round adds: the scale's picks, the first rounds one more where they do not divide."""
    _, picks = sizes(context)
    rounds = min(context.scale.rounds, picks)
    return [len(part) for part in np.array_split(np.arange(picks), rounds)]


def strategies(context: StudyContext) -> tuple[str, ...]:
    """The strategies that the task has; label sets and tags may lack a margin."""
    if context.setup.task.single_label:
        return STRATEGIES
    setup = context.setup
    batch = next(iter(setup.train.epoch(setup.examples.train.ids[:2], batch_size=2, device="cpu")))
    with torch.inference_mode():
        found, _ = measures_without_labels(
            setup.plain_task, setup.build(0).eval()(batch.inputs), batch.targets
        )
    return tuple(name for name in STRATEGIES if name == "random" or POOL_SCORES[name][0] in found)


def plan(context: StudyContext) -> Sequence[Planned]:
    """The base once a seed, then every strategy every round."""
    base, counts, n = sizes(context)[0], per_round(context), len(context.setup.examples.train)
    seeds = context.scale.retrain_seeds
    arms = len(strategies(context)) * seeds
    return [
        Planned("trainings on the base", seeds, context.planned_steps(base / n)),
        *(
            Planned(f"trainings on {size:,} examples", arms, context.planned_steps(size / n))
            for size in (base + np.cumsum(counts)).tolist()
        ),
    ]


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """Seed by seed: the base, then each strategy's rounds, each with the labels of what it picked."""
    split, counts = split_of(context), per_round(context)
    for index in range(context.scale.retrain_seeds):
        first = context.retrain(split.base, index, f"base, seed {index + 1}", weights=True)
        for strategy in strategies(context):
            labelled, run = split.base, first
            yield _row(kept, strategy, 0, index, labelled, run)
            for number, count in enumerate(counts, start=1):
                rest = np.setdiff1d(context.setup.examples.train.ids, labelled, assume_unique=True)
                drawn = derive_seed(context.seed, "labelled at random", index, number) % 2**32
                hardness, rule = None, "random"
                if strategy != "random":
                    hardness, rule = reading_of(context, run, rest).hardness[strategy], "hardest"
                chosen = select(rest, hardness, count, rule=rule, seed=drawn)
                labelled = np.union1d(labelled, chosen)
                said = f"{strategy}, round {number}, seed {index + 1}"
                run = context.retrain(labelled, index, said, weights=number < len(counts))
                yield _row(kept, strategy, number, index, labelled, run)


def _row(kept: dict[Any, Any], strategy: str, number: int, index: int, labelled: np.ndarray, run: Run) -> Row:
    kept.setdefault((strategy, number, len(labelled)), []).append(correct_of(run))
    return {"strategy": strategy, "round": number, "seed": index, "n": len(labelled), **metrics_of(run)}


@study(
    "active-learning",
    "Which examples of an unlabelled pool to have labelled next: accuracy by round, beside random picks.",
    "active learning by uncertainty; Settles 2009",
    plan=plan,
    measure=measure,
    tasks=POOL_TASKS,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Accuracy by how many examples have labels; claims that each strategy gains over random picks."""
    correct = stacked(kept)
    base, counts = sizes(context)[0], per_round(context)
    at = [base, *(base + np.cumsum(counts)).tolist()]
    last = (len(counts), at[-1])
    claims = [
        Claim(
            "Labels for the examples that the model is least sure of by "
            f"{TITLES.get(strategy, strategy)} are worth more than labels for random ones: higher accuracy with "
            f"{at[-1]:,} labels.",
            SOURCE,
            "accuracy minus random's",
            difference(correct, (strategy, *last), ("random", *last)),
        )
        for strategy in strategies(context)
        if strategy != "random"
    ]
    claims.append(
        Claim(
            f"More labels help at all: with {at[-1]:,} random ones accuracy is higher than with {base:,}.",
            "a check of the room that there is",
            "accuracy minus that of the base",
            difference(correct, ("random", *last), ("random", 0, base)),
        )
    )
    series = {
        TITLES.get(strategy, title_of(strategy)): [
            in_percent(n, accuracy_columns(correct[strategy, number, n], correct.values()))
            for number, n in enumerate(at)
            if (strategy, number, n) in correct
        ]
        for strategy in strategies(context)
    }
    more = f"a base of {base:,}, labels added in {len(counts)} rounds; same {context.setup.recipe.budget}"
    figure = lines(
        series,
        x="examples with labels",
        y="test accuracy, %",
        title=caption(context, context.scale.retrain_seeds, more, called="seeds"),
    )
    table = means_of_arms(rows, ("strategy", "round", "n"), correct)
    return Conclusion(claims, {"active-learning": figure}, {"rounds": table})
