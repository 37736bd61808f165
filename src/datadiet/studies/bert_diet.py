"""Study `bert-diet`: scores of the first epochs, the classes they choose, and the hardest few dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from datadiet.engine.points import measure_grand, measure_points, parameters_of_grand
from datadiet.selection import kept_size
from datadiet.studies.toolbox.accuracy import (
    accuracy_row,
    difference,
    evenness,
    level_lines,
    points,
    title_of,
    total_variation,
)
from datadiet.studies.toolbox.claims import TOLERANCE, Claim, mean_difference
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import Point, in_epochs, lines, retraining_caption, without_interval
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, retraining_plan, study

PAPER = "Fayyaz et al. 2022, BERT on a Data Diet"
SCORES = ("el2n", "grand")
EPOCHS = (0.0, 0.25, 0.5, 1.0, 2.0)
LARGEST_DROP = 0.1  # what "the hardest few" may be at most, as a share of the data


def moments(context: StudyContext) -> dict[float, int]:
    """Epoch -> step at which scores are taken, those within the run; epochs that fall on one step are one."""
    found: dict[int, float] = {}
    for epoch in EPOCHS:
        step = round(epoch * context.setup.steps_per_epoch)
        if step <= context.total_steps:
            found.setdefault(step, epoch)
    return {epoch: step for step, epoch in found.items()}


def drops(context: StudyContext) -> list[float]:
    """Shares of the hardest that are left out; those of the scale that are small, a twentieth if none is."""
    room = 1 - context.scale.keep
    small = [share for share in sorted(context.scale.offsets) if 0 < share <= min(LARGEST_DROP, room)]
    return small or [min(0.05, room)]


def dropped_at(context: StudyContext, epoch: float) -> list[float]:
    """What is dropped at a moment: every share at the last one, the smallest at those before."""
    return drops(context) if epoch == max(moments(context)) else drops(context)[:1]


def arm(score: str, drop: float) -> str:
    """What an arm is called in the table.

    Example:
        >>> arm("el2n", 0.0), arm("el2n", 0.02)
        ('el2n', 'el2n from 0.02')
    """
    return f"{score} from {drop:g}" if drop else score


def plan(context: StudyContext) -> Sequence[Planned]:
    """Scoring runs, full data, random, and a retraining a score, moment, drop and seed."""
    subsets = sum(1 + len(dropped_at(context, epoch)) for epoch in moments(context))
    return retraining_plan(context, {context.scale.keep: len(SCORES) * subsets + 1})


def scores_at(context: StudyContext, name: str, step: int) -> np.ndarray:
    """A score of every training example by each scoring model at a step: (models, n), higher = harder.

    GraNd is taken over the parameters of `datadiet.engine.points.parameters_of_grand`: of a pre-trained model the head.
    """
    rows = []
    steps = list(moments(context).values())
    parameters = parameters_of_grand(context.setup, None) if name == "grand" else ""
    for index in range(context.scale.score_seeds):
        run = context.epochs_run(index, steps)
        if name == "grand":
            found = measure_grand(context.setup, run, step, parameters)
        else:
            found = measure_points(context.setup, run, step, [name])
        rows.append(found.columns[name])
    return np.stack(rows).astype(np.float64)


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """Full data and random, then at each moment the hardest and the hardest after the hardest few, by each score."""
    keep, train = context.scale.keep, context.setup.examples.train
    yield {**accuracy_row(context, kept, ("full", 0.0, 1.0), None), "drop": None}
    yield {**accuracy_row(context, kept, ("random", 0.0, keep), None), "drop": None}
    classes = context.setup.examples.num_classes
    for epoch, step in moments(context).items():
        for score in SCORES:
            per_seed = scores_at(context, score, step)
            of_models = [train.positions_of(context.keep(values, keep)) for values in per_seed]
            kept.setdefault("variation", {})[score, epoch] = [
                total_variation(train.labels[rows], train.labels, classes) for rows in of_models
            ]
            for drop in (0.0, *dropped_at(context, epoch)):
                options: dict[str, Any] = {"rule": "window", "start": drop} if drop else {}
                ids = context.keep(per_seed.mean(axis=0), keep, **options)
                labels = train.labels[train.positions_of(ids)]
                yield {
                    **accuracy_row(context, kept, (arm(score, drop), epoch, keep), ids),
                    "drop": drop,
                    "evenness": evenness(labels, classes),
                    "evenness_of_all": evenness(train.labels, classes),
                    "total_variation": total_variation(labels, train.labels, classes),
                }


@study(
    "bert-diet",
    "Scores after parts of the first epochs, the classes they choose, and the hardest few dropped.",
    "BERT on a Data Diet",
    plan=plan,
    measure=measure,
    tasks=("classification", "intent_slots"),
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Accuracy and class balance by the epoch of the score; claims on when scores are useful and what dropping does."""
    keep, epochs = context.scale.keep, sorted(moments(context))
    early = next((epoch for epoch in epochs if epoch), epochs[-1])
    late = next((epoch for epoch in epochs if epoch >= 1), epochs[-1])
    last, few = epochs[-1], drops(context)[0]
    kept_examples = kept_size(len(context.setup.examples.train), keep)
    random, full = ("random", 0.0, keep), ("full", 0.0, 1.0)

    def of(score: str, drop: float, epoch: float) -> tuple[str, float, float]:
        return arm(score, drop), epoch, keep

    minus_random = "accuracy minus random's"
    variation = kept.get("variation", {})
    early_variation, late_variation = (variation.get(("el2n", epoch)) for epoch in (early, late))
    claims: list[Claim] = []
    if early < 1 <= late:
        claims += [
            Claim(
                f"Before an epoch is over scores are of no use: the hardest {keep:g} by EL2N after "
                f"{in_epochs(early)} are worse than random.",
                PAPER,
                minus_random,
                difference(kept, of("el2n", 0.0, early), random),
                below=0.0,
            ),
            Claim(
                f"An epoch makes scores useful: the hardest {keep:g} by EL2N after {in_epochs(late)} train "
                f"better than those after {in_epochs(early)}.",
                PAPER,
                "accuracy minus that of the earlier score",
                difference(kept, of("el2n", 0.0, late), of("el2n", 0.0, early)),
            ),
            Claim(
                f"Early scores choose unbalanced classes: the hardest {keep:g} by EL2N after "
                f"{in_epochs(early)} are further from the shares of all data than after {in_epochs(late)}.",
                PAPER,
                "total variation minus that of the later score",
                mean_difference(
                    early_variation, late_variation, "scoring models", -1.0, 1.0, resolution=1 / kept_examples
                ),
            ),
        ]
    claims += [
        Claim(
            f"After {in_epochs(last)} the {keep:g} that follow the {few:g} hardest by EL2N are better than random.",
            PAPER,
            minus_random,
            difference(kept, of("el2n", few, last), random),
        ),
        Claim(
            f"Without the {few:g} hardest by EL2N, {keep:g} of the data loses no more than half a point.",
            f"{PAPER}; the bound is ours",
            "accuracy minus full data's",
            difference(kept, of("el2n", few, last), full),
            above=-TOLERANCE,
        ),
        Claim(
            f"Without the {few:g} hardest by EL2N the kept {keep:g} train better than with them.",
            PAPER,
            "accuracy minus that of the hardest",
            difference(kept, of("el2n", few, last), of("el2n", 0.0, last)),
        ),
        Claim(
            f"After {in_epochs(last)} the hardest {keep:g} by GraNd are better than random.",
            PAPER,
            minus_random,
            difference(kept, of("grand", 0.0, last), random),
        ),
    ]
    columns = ("score", "epoch", "keep", "n", "drop", "evenness", "evenness_of_all", "total_variation")
    balances = [{name: row[name] for name in columns} for row in rows if "evenness" in row]
    figures = {"bert-diet": _accuracies(context, rows, few), "balance": _balance(context, rows)}
    return Conclusion(claims, figures, {"balance": balances})


def _accuracies(context: StudyContext, rows: Sequence[Row], few: float) -> Figure:
    series = {
        f"{title_of(score)}, {'hardest' if not drop else f'hardest after {drop:g} dropped'}": points(
            rows, arm(score, drop), "epoch"
        )
        for score in SCORES
        for drop in (0.0, few)
    }
    return lines(
        series,
        x="epoch of the score",
        y="test accuracy, %",
        title=retraining_caption(context, f"keep {context.scale.keep:g}"),
        levels=level_lines(rows, "full", "random"),
        width=7.0,
        height=4.2,
    )


def _balance(context: StudyContext, rows: Sequence[Row]) -> Figure:
    series: dict[str, list[Point]] = {}
    for row in rows:
        if row.get("drop") == 0.0:
            point = without_interval(row["epoch"], row["total_variation"])
            series.setdefault(title_of(row["score"]), []).append(point)
    return lines(
        series,
        x="epoch of the score",
        y="total variation of class shares",
        title=retraining_caption(
            context, f"hardest {context.scale.keep:g} against all; 0 is the same shares"
        ),
        levels={"as all data": 0.0},
    )
