"""Study `early-features`: how soon each score settles, and what the training pass gives for nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from datadiet.studies.toolbox.accuracy import (
    points_by_epoch,
    rank_correlation,
    seed_values,
    shared_hardest,
    title_of,
)
from datadiet.studies.toolbox.claims import Claim, Measurement, mean_correlation, mean_difference
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import Point, data_caption, lines
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, study

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, section 3.1"
REPRODUCTION = "Kirsch 2023 (0.985 on CIFAR-10)"
OURS = "our question; the bound is ours"
POINTS = ("el2n", "grand", "margin")
FROM_TRACE = ("forgetting", "aum")
# Of the point scores, those that the training pass records; the sign is the card's.
RECORDED = ("el2n", "margin")
EVALUATION, TRACE, TRAINING_PASS = "evaluation mode", "epochs so far", "training pass"
UNIT = "scoring seeds"


def plan(context: StudyContext) -> Sequence[Planned]:
    """Scoring runs; nothing is retrained."""
    return [Planned("scoring runs", context.scale.score_seeds, context.total_steps)]


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """Every score at every moment against its last value in the same run, then the training pass of every epoch."""
    steps = list(context.score_steps.values())
    last: dict[str, np.ndarray] = {}
    at_moments: dict[tuple[str, float], np.ndarray] = {}
    for score in (*POINTS, *FROM_TRACE):
        last[score] = context.per_seed(score, steps[-1])
        for step in steps:
            if step == 0 and score in FROM_TRACE:
                continue  # nothing has been presented yet
            epoch = context.epoch_of(step)
            at_moments[score, epoch] = context.per_seed(score, step)
            for seed, found in enumerate(at_moments[score, epoch]):
                row = _row(context, score, _way(score), step, seed, found, last[score][seed])
                yield row | {"with_el2n": rank_correlation(found, at_moments["el2n", epoch][seed])}
    for seed in range(context.scale.score_seeds):
        trace = context.scoring_run(seed).trace()
        for epoch in trace.epochs:
            step = epoch * context.setup.steps_per_epoch
            for score in RECORDED:
                recorded, _ = trace.latest(score, epoch)
                found = (recorded if score == "el2n" else -recorded).astype(np.float64)
                evaluated = at_moments.get((score, float(epoch)))
                with_evaluation = None if evaluated is None else rank_correlation(found, evaluated[seed])
                row = _row(context, score, TRAINING_PASS, step, seed, found, last[score][seed])
                yield row | {"with_evaluation": with_evaluation}


def _way(score: str) -> str:
    return TRACE if score in FROM_TRACE else EVALUATION


def _row(
    context: StudyContext, score: str, way: str, step: int, seed: int, found: np.ndarray, last: np.ndarray
) -> Row:
    return {
        "score": score,
        "way": way,
        "epoch": context.epoch_of(step),
        "seed": seed,
        "with_last": rank_correlation(found, last),
        "hardest_shared_with_last": shared_hardest(found, last, context.scale.keep),
    }


@study(
    "early-features",
    "How soon each score settles, and the score of the training pass against evaluation mode.",
    "Deep Learning on a Data Diet, section 3.1; scores at no cost are our question",
    plan=plan,
    measure=measure,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Correlation with the last value by epoch, and of training pass and evaluation; claims on early scores."""
    at = context.score_epoch
    first = next(context.epoch_of(step) for step in context.score_steps.values() if step)

    def values(column: str, score: str, way: str, epoch: float) -> np.ndarray | None:
        return seed_values(rows, column, context.scale.score_seeds, score=score, way=way, epoch=epoch)

    def correlation(column: str, score: str, way: str, epoch: float) -> Measurement | None:
        found = values(column, score, way, epoch)
        return None if found is None else mean_correlation(found.tolist(), UNIT)

    def minus(way: str, epoch: float, other_way: str, other_epoch: float) -> Measurement | None:
        one = values("with_last", "el2n", way, epoch)
        return mean_difference(one, values("with_last", "el2n", other_way, other_epoch), UNIT)

    with_last = "Spearman's rho with the score at the end of the same run"
    claims = [
        Claim(
            f"EL2N is useful after very few epochs: after {first:g} it ranks much as at the end, with a rank "
            "correlation above 0.5.",
            f"{DATA_DIET}; the bound is ours",
            with_last,
            correlation("with_last", "el2n", EVALUATION, first),
            above=0.5,
        ),
        Claim(
            f"EL2N after {at:g} epochs is closer to the end than at initialisation.",
            DATA_DIET,
            f"{with_last}, minus that at initialisation",
            minus(EVALUATION, at, EVALUATION, 0.0),
        ),
        Claim(
            f"GraNd and EL2N after {at:g} epochs rank alike, with a rank correlation above 0.9.",
            REPRODUCTION,
            "Spearman's rho of GraNd and EL2N of the same weights",
            correlation("with_el2n", "grand", EVALUATION, at),
            above=0.9,
        ),
        Claim(
            f"EL2N as the training pass of epoch {at:g} saw it, which costs nothing, ranks like a pass in "
            "evaluation mode, with a rank correlation above 0.8.",
            OURS,
            "Spearman's rho of both in the same epoch",
            correlation("with_evaluation", "el2n", TRAINING_PASS, at),
            above=0.8,
        ),
        Claim(
            "It foretells the end hardly worse: its correlation with the last score is lower by no more "
            "than 0.05.",
            OURS,
            f"{with_last}, minus that of the evaluation-mode score",
            minus(TRAINING_PASS, at, EVALUATION, at),
            above=-0.05,
        ),
    ]

    def line(column: str, score: str, way: str) -> list[Point]:
        return points_by_epoch(rows, lambda epoch: correlation(column, score, way, epoch))

    settling = {title_of(score): line("with_last", score, _way(score)) for score in (*POINTS, *FROM_TRACE)}
    settling[f"{title_of('el2n')}, training pass"] = line("with_last", "el2n", TRAINING_PASS)
    recorded = {title_of(score): line("with_evaluation", score, TRAINING_PASS) for score in RECORDED}
    fixed = data_caption(
        context, f"each line the mean of {context.scale.score_seeds} runs, each against itself"
    )
    figures = {
        "settling": lines(
            settling,
            x="epoch of the score",
            y="rank correlation with the score at the end",
            title=fixed,
            height=4.4,
        ),
        "training-pass": lines(
            recorded,
            x="epoch",
            y="rank correlation with evaluation mode",
            title=f"{fixed}; the training pass of an epoch",
        ),
    }
    return Conclusion(claims, figures)
