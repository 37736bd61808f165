"""Study `active-learning`: which examples of a pool without labels to have labelled next, round by round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from datadiet.engine.training.seeding import derive_seed
from datadiet.foundation.statistics import accuracy_interval
from datadiet.jobs.pool.hypotheses import POOL_SCORES, POOL_TASKS
from datadiet.studies.toolbox.accuracy import title_of
from datadiet.studies.toolbox.claims import Claim, Measured
from datadiet.studies.toolbox.context import Workbench
from datadiet.studies.toolbox.figures import caption, lines
from datadiet.studies.toolbox.pools import (
    Arm,
    Trained,
    metrics_of,
    picked,
    reading_of,
    sizes,
    split_of,
    summary,
)
from datadiet.studies.toolbox.study import Conclusion, Planned, Row, Study, add_study

SOURCE = "Settles 2009, Active Learning Literature Survey, section 3.1"
STRATEGIES = ("entropy", "margin", "least_confidence", "random")
TITLES = {"margin": "probability margin", "least_confidence": "least confidence"}


def per_round(bench: Workbench) -> list[int]:
    """How many examples each round adds: the scale's picks, the first rounds one more where they do not divide."""
    _, picks = sizes(bench)
    rounds = min(bench.scale.rounds, picks)
    return [len(part) for part in np.array_split(np.arange(picks), rounds)]


def strategies(bench: Workbench) -> tuple[str, ...]:
    """The strategies that the task has; label sets and tags may lack a margin."""
    if bench.setup.task.single_label:
        return STRATEGIES
    import torch

    from datadiet.jobs.pool.hypotheses import measures_without_labels

    setup = bench.setup
    batch = next(iter(setup.train.epoch(setup.examples.train.ids[:2], batch_size=2, device="cpu")))
    with torch.inference_mode():
        found, _ = measures_without_labels(
            setup.plain_task, setup.build(0).eval()(batch.inputs), batch.targets
        )
    return tuple(name for name in STRATEGIES if name == "random" or POOL_SCORES[name][0] in found)


def plan(bench: Workbench) -> Sequence[Planned]:
    """The base once a seed, then every strategy every round."""
    base, seeds, counts = sizes(bench)[0], bench.scale.retrain_seeds, per_round(bench)
    n = len(bench.setup.examples.train)
    ends = base + np.cumsum(counts)
    return [
        Planned("trainings on the base", seeds, bench.planned_steps(base / n)),
        *(
            Planned(
                f"trainings on {size:,} examples",
                len(strategies(bench)) * seeds,
                bench.planned_steps(size / n),
            )
            for size in ends.tolist()
        ),
    ]


def measure(bench: Workbench, kept: dict[str, Any]) -> Iterator[Row]:
    """Seed by seed: the base, then each strategy's rounds, each with the labels of what it picked."""
    trained, split, counts = Trained.of(kept), split_of(bench), per_round(bench)
    for index in range(bench.scale.retrain_seeds):
        first = bench.retrain(split.base, index, f"base, seed {index + 1}", weights=True)
        for strategy in strategies(bench):
            labelled, run = split.base, first
            yield _row(trained, strategy, 0, index, labelled, run)
            for number, count in enumerate(counts, start=1):
                rest = np.setdiff1d(bench.setup.examples.train.ids, labelled, assume_unique=True)
                hardness = None
                if strategy != "random":
                    hardness = reading_of(bench, run, rest).hardness[strategy]
                drawn = derive_seed(bench.seed, "labelled at random", index, number) % 2**32
                chosen = picked(rest, hardness, count, end="hardest", seed=drawn)
                labelled = np.union1d(labelled, chosen)
                said = f"{strategy}, round {number}, seed {index + 1}"
                run = bench.retrain(labelled, index, said, weights=number < len(counts))
                yield _row(trained, strategy, number, index, labelled, run)


def _row(trained: Trained, strategy: str, number: int, index: int, labelled: np.ndarray, run: Any) -> Row:
    row = {
        "strategy": strategy,
        "round": number,
        "seed": index,
        "n": len(labelled),
        **metrics_of(run),
    }
    trained.add((strategy, number), run.test_predictions()["correct"].astype(bool), row)
    return row


def conclude(bench: Workbench, rows: Sequence[Row], kept: Mapping[str, Any]) -> Conclusion:
    """Accuracy by how many examples have labels; claims that each strategy gains over random picks."""
    trained: Trained = kept["trained"]
    base, counts = sizes(bench)[0], per_round(bench)
    at = [base, *(base + np.cumsum(counts)).tolist()]
    last = len(counts)
    claims: list[tuple[Claim, Measured | None]] = []
    for strategy in strategies(bench):
        if strategy == "random":
            continue
        said = TITLES.get(strategy, strategy)
        claims.append(
            (
                Claim(
                    f"Labels for the examples that the model is least sure of by {said} are worth more than labels "
                    f"for random ones: higher accuracy with {at[-1]:,} labels.",
                    SOURCE,
                    "accuracy minus random's",
                ),
                trained.difference((strategy, last), ("random", last)),
            )
        )
    claims.append(
        (
            Claim(
                f"More labels help at all: with {at[-1]:,} random ones accuracy is higher than with {base:,}.",
                "a check of the room that there is",
                "accuracy minus that of the base",
            ),
            trained.difference(("random", last), ("random", 0)),
        )
    )
    series = {
        TITLES.get(strategy, title_of(strategy)): [
            trained.point((strategy, number), n)
            for number, n in enumerate(at)
            if (strategy, number) in trained.correct
        ]
        for strategy in strategies(bench)
    }
    figure = lines(
        {name: points for name, points in series.items() if points},
        x="examples with labels",
        y="test accuracy, %",
        title=caption(
            bench,
            bench.scale.retrain_seeds,
            f"a base of {base:,}, labels added in {last} rounds; same {bench.setup.recipe.budget}",
            called="seeds",
        ),
    )
    table = [row | _bounds(trained, (row["strategy"], row["round"])) for row in _means(rows)]
    return Conclusion(claims, {"active-learning": figure}, {"rounds": table})


def _means(rows: Sequence[Row]) -> list[Row]:
    numbers = [name for name in rows[0] if name not in ("strategy", "round", "seed", "n")] if rows else []
    return summary(rows, ("strategy", "round", "n"), numbers)


def _bounds(trained: Trained, arm: Arm) -> Row:
    found = accuracy_interval(np.stack(trained.correct[arm]))
    return {"low": found.low, "high": found.high}


STUDY = add_study(
    Study(
        name="active-learning",
        title="Which examples of an unlabelled pool to have labelled next: accuracy by round, beside random picks.",
        source="active learning by uncertainty; Settles 2009",
        plan=plan,
        measure=measure,
        conclude=conclude,
        tasks=POOL_TASKS,
    )
)
