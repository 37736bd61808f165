"""Study `keep-fraction`: accuracy against the kept fraction, at a fixed score epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datadiet.studies.toolbox.accuracy import accuracy_row, difference, level_lines, points, title_of
from datadiet.studies.toolbox.claims import TOLERANCE, Claim, Measurement
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import lines, retraining_caption
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, retraining_plan, study

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, section 3"
REPRODUCTION = "Kirsch 2023, section 3"

# Name in the table -> (registered score, whether at initialisation).
SCORES = {
    "el2n": ("el2n", False),
    "grand": ("grand", False),
    "forgetting": ("forgetting", False),
    "grand_init": ("grand", True),
    "input_norm": ("input_norm", False),
}


def scores_for(context: StudyContext) -> dict[str, tuple[str, bool]]:
    """The scores that this data has: texts have no input norm."""
    return {n: s for n, s in SCORES.items() if n != "input_norm" or context.setup.examples.kind != "text"}


def plan(context: StudyContext) -> Sequence[Planned]:
    """Scoring runs, full data, and a retraining a score, fraction and seed."""
    arms = len(scores_for(context)) + 1
    return retraining_plan(context, dict.fromkeys(context.scale.fractions, arms))


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """Full data, then every fraction from largest to smallest, every score and random."""
    step, epoch = context.score_step, context.score_epoch
    yield accuracy_row(context, kept, ("full", epoch, 1.0), None)
    hardness = {
        name: context.hardness(score, 0 if initial else step)
        for name, (score, initial) in scores_for(context).items()
    }
    for fraction in sorted(context.scale.fractions, reverse=True):
        yield accuracy_row(context, kept, ("random", epoch, fraction), None)
        for name, values in hardness.items():
            yield accuracy_row(context, kept, (name, epoch, fraction), context.keep(values, fraction))


@study(
    "keep-fraction",
    "Accuracy against the kept fraction for every score, at a fixed score epoch, beside full and random.",
    "Deep Learning on a Data Diet, study 2",
    plan=plan,
    measure=measure,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Accuracy by fraction as a figure; claims at the largest, the middle and the smallest fraction."""
    epoch = context.score_epoch
    fractions = sorted(context.scale.fractions, reverse=True)
    most, least = fractions[0], fractions[-1]
    half = min(fractions, key=lambda fraction: (abs(fraction - 0.5), -fraction))

    def minus_random(score: str, fraction: float) -> Measurement | None:
        return difference(kept, (score, epoch, fraction), ("random", epoch, fraction))

    claims = [
        Claim(
            f"Keeping the hardest {half:g} by EL2N loses no more than half a point against full data.",
            DATA_DIET,
            "accuracy minus full data's",
            difference(kept, ("el2n", epoch, half), ("full", epoch, 1.0)),
            above=-TOLERANCE,
        ),
        Claim(
            f"Keeping the hardest {half:g} by EL2N is better than random.",
            DATA_DIET,
            "accuracy minus random's",
            minus_random("el2n", half),
        ),
        Claim(
            f"Keeping the hardest {half:g} by GraNd after some training is better than random.",
            DATA_DIET,
            "accuracy minus random's",
            minus_random("grand", half),
        ),
        Claim(
            f"GraNd at initialisation at {half:g} is no better than random (the reproduction; the original "
            "paper claims that it is better).",
            REPRODUCTION,
            "accuracy minus random's",
            minus_random("grand_init", half),
            below=TOLERANCE,
        ),
        Claim(
            f"When only {least:g} is kept, hardest-first by EL2N is worse than random.",
            "the pattern of later work, such as Zheng et al. 2023",
            "accuracy minus random's",
            minus_random("el2n", least),
            below=0.0,
        ),
        Claim(
            f"At {most:g}, random loses against the hardest by EL2N.",
            DATA_DIET,
            "accuracy minus random's",
            minus_random("el2n", most),
        ),
    ]
    figure = lines(
        {title_of(name): points(rows, name, "keep") for name in (*SCORES, "random")},
        x="kept fraction",
        y="test accuracy, %",
        title=retraining_caption(context, f"scores at epoch {epoch:g}"),
        levels=level_lines(rows, "full"),
    )
    return Conclusion(claims, {"keep-fraction": figure})
