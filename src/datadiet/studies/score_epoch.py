"""Study `score-epoch`: accuracy at a fixed kept size against the epoch that the score is taken at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datadiet.studies.toolbox.accuracy import accuracy_row, difference, level_lines, points, title_of
from datadiet.studies.toolbox.claims import TOLERANCE, Claim
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import lines, retraining_caption
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, retraining_plan, study

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, section 3.1"
SCORES = ("el2n", "grand", "forgetting")


def moments(context: StudyContext, score: str) -> list[int]:
    """The steps a score is taken at: the trace has nothing at initialisation."""
    return [step for step in context.score_steps.values() if step or score != "forgetting"]


def plan(context: StudyContext) -> Sequence[Planned]:
    """Scoring runs, full data, random, and a retraining a score, moment and seed."""
    subsets = sum(len(moments(context, score)) for score in SCORES) + 1
    return retraining_plan(context, {context.scale.keep: subsets})


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """Full data and random once, then each score at each moment."""
    fraction = context.scale.keep
    yield accuracy_row(context, kept, ("full", 0.0, 1.0), None)
    yield accuracy_row(context, kept, ("random", 0.0, fraction), None)
    for score in SCORES:
        for step in moments(context, score):
            ids = context.keep(context.hardness(score, step), fraction)
            yield accuracy_row(context, kept, (score, context.epoch_of(step), fraction), ids)


@study(
    "score-epoch",
    "Accuracy at a fixed kept size against the epoch that the score is taken at.",
    "Deep Learning on a Data Diet, study 1",
    plan=plan,
    measure=measure,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Accuracy by score epoch as a figure; claims on early scores and on the first one."""
    fraction = context.scale.keep
    epochs = [context.epoch_of(step) for step in context.score_steps.values()]
    at = context.score_epoch
    early, random, full = ("el2n", at, fraction), ("random", 0.0, fraction), ("full", 0.0, 1.0)
    claims = [
        Claim(
            f"EL2N after {at:g} epochs chooses a better {fraction:g} than random.",
            DATA_DIET,
            "accuracy minus random's",
            difference(kept, early, random),
        ),
        Claim(
            f"GraNd after {at:g} epochs chooses a better {fraction:g} than random.",
            DATA_DIET,
            "accuracy minus random's",
            difference(kept, ("grand", at, fraction), random),
        ),
        Claim(
            f"EL2N after {at:g} epochs loses no more than half a point against EL2N at the end of training.",
            DATA_DIET,
            "accuracy minus that of the last epoch's scores",
            difference(kept, early, ("el2n", epochs[-1], fraction)),
            above=-TOLERANCE,
        ),
        Claim(
            f"EL2N after {at:g} epochs chooses a better {fraction:g} than EL2N at initialisation.",
            DATA_DIET,
            "accuracy minus that of the scores at initialisation",
            difference(kept, early, ("el2n", 0.0, fraction)),
        ),
        Claim(
            f"The hardest {fraction:g} by EL2N after {at:g} epochs loses no more than half a point against "
            "full data.",
            DATA_DIET,
            "accuracy minus full data's",
            difference(kept, early, full),
            above=-TOLERANCE,
        ),
    ]
    series = {title_of(score): points(rows, score, "epoch") for score in SCORES}
    drawn = points(rows, "random", "epoch")
    if drawn:  # one subset a seed, whatever the epoch: a level band from end to end
        series["random"] = [(epoch, *drawn[0][1:]) for epoch in (epochs[0], epochs[-1])]
    figure = lines(
        series,
        x="epoch of the score",
        y="test accuracy, %",
        title=retraining_caption(context, f"keep {fraction:g}"),
        levels=level_lines(rows, "full"),
    )
    return Conclusion(claims, {"score-epoch": figure})
