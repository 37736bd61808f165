"""Study `early-features`: how soon each score settles, and what the training pass gives for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from datadiet.studies.toolbox.accuracy import rank_correlation, shared_hardest, title_of
from datadiet.studies.toolbox.claims import LEVEL, Claim, Measurement, mean_correlation, mean_of
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import Point, lines
from datadiet.studies.toolbox.study import Conclusion, Planned, Row, study

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, section 3.1"
REPRODUCTION = "Kirsch 2023 (0.985 on CIFAR-10)"
OURS = "our question; the bound is ours"
POINTS = ("el2n", "grand", "margin")
FROM_TRACE = ("forgetting", "aum")
RECORDED = (
    "el2n",
    "margin",
)  # of the point scores, those that the training pass records; the sign is the card's
EVALUATION, TRACE, TRAINING_PASS = "evaluation mode", "epochs so far", "training pass"
UNIT = "scoring seeds"


def plan(context: StudyContext) -> Sequence[Planned]:
    """Scoring runs; nothing is retrained."""
    return [Planned("scoring runs", context.scale.score_seeds, context.total_steps)]


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """Every score at every moment against its last value in the same run, then the training pass of every epoch."""
    steps = list(context.score_steps.values())
    el2n: dict[int, np.ndarray] = {}
    last: dict[str, np.ndarray] = {}
    at_moments: dict[tuple[str, float], np.ndarray] = {}
    for score in (*POINTS, *FROM_TRACE):
        last[score] = context.per_seed(score, steps[-1])
        for step in steps:
            if step == 0 and score in FROM_TRACE:
                continue  # nothing has been presented yet
            values = context.per_seed(score, step)
            at_moments[score, context.epoch_of(step)] = values
            if score == "el2n":
                el2n[step] = values
            for seed, found in enumerate(values):
                yield {
                    **_row(context, score, TRACE if score in FROM_TRACE else EVALUATION, step, seed),
                    **_against_last(context, found, last[score][seed]),
                    "with_el2n": rank_correlation(found, el2n[step][seed]),
                }
    for seed in range(context.scale.score_seeds):
        trace = context.scoring_run(seed).trace()
        for epoch in trace.epochs:
            for score in RECORDED:
                recorded, _ = trace.latest(score, epoch)
                found = (recorded if score == "el2n" else -recorded).astype(np.float64)
                evaluated = at_moments.get((score, float(epoch)))
                yield {
                    **_row(context, score, TRAINING_PASS, epoch * context.setup.steps_per_epoch, seed),
                    **_against_last(context, found, last[score][seed]),
                    "with_evaluation": None
                    if evaluated is None
                    else rank_correlation(found, evaluated[seed]),
                }


def _row(context: StudyContext, score: str, way: str, step: int, seed: int) -> Row:
    return {"score": score, "way": way, "epoch": context.epoch_of(step), "seed": seed}


def _against_last(context: StudyContext, found: np.ndarray, last: np.ndarray) -> Row:
    return {
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
    at = context.epoch_of(context.score_step)
    first = next(context.epoch_of(step) for step in context.score_steps.values() if step)

    def per_seed(column: str, score: str, way: str, epoch: float) -> list[float] | None:
        found = [
            row[column]
            for row in rows
            if (row["score"], row["way"], row["epoch"]) == (score, way, epoch)
            and row.get(column) is not None
            and np.isfinite(row[column])
        ]
        return found if len(found) == context.scale.score_seeds else None

    def correlation(*asked: Any) -> Measurement | None:
        found = per_seed(*asked)
        return None if found is None else mean_correlation(found, UNIT)

    def minus(first_asked: Sequence[Any], second_asked: Sequence[Any]) -> Measurement | None:
        one, other = per_seed(*first_asked), per_seed(*second_asked)
        if one is None or other is None:
            return None
        return mean_of([left - right for left, right in zip(one, other, strict=True)], UNIT)

    with_last = "Spearman's rho with the score at the end of the same run"
    settled = ("with_last", "el2n", EVALUATION, at)
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
            minus(settled, ("with_last", "el2n", EVALUATION, 0.0)),
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
            minus(("with_last", "el2n", TRAINING_PASS, at), settled),
            above=-0.05,
        ),
    ]
    return Conclusion(
        claims,
        {
            "settling": _settling(context, rows, correlation),
            "training-pass": _training_pass(context, rows, correlation),
        },
    )


Correlation = Callable[..., Measurement | None]


def _points(rows: Sequence[Row], correlation: Correlation, column: str, score: str, way: str) -> list[Point]:
    points = []
    for epoch in sorted({row["epoch"] for row in rows if (row["score"], row["way"]) == (score, way)}):
        found = correlation(column, score, way, epoch)
        if found is not None:
            points.append((epoch, found.estimate, *found.interval(LEVEL)))
    return points


def _settling(context: StudyContext, rows: Sequence[Row], correlation: Correlation) -> Any:
    series = {
        title_of(score): _points(
            rows, correlation, "with_last", score, TRACE if score in FROM_TRACE else EVALUATION
        )
        for score in (*POINTS, *FROM_TRACE)
    }
    series[f"{title_of('el2n')}, training pass"] = _points(
        rows, correlation, "with_last", "el2n", TRAINING_PASS
    )
    return lines(
        series,
        x="epoch of the score",
        y="rank correlation with the score at the end",
        title=_held_fixed(context),
        height=4.4,
    )


def _training_pass(context: StudyContext, rows: Sequence[Row], correlation: Correlation) -> Any:
    series = {
        title_of(score): _points(rows, correlation, "with_evaluation", score, TRAINING_PASS)
        for score in RECORDED
    }
    return lines(
        series,
        x="epoch",
        y="rank correlation with evaluation mode",
        title=f"{_held_fixed(context)}; the training pass of an epoch",
    )


def _held_fixed(context: StudyContext) -> str:
    examples = context.setup.examples
    return (
        f"{examples.name}: {len(examples.train):,} training examples; {context.setup.recipe.model}; "
        f"each line the mean of {context.scale.score_seeds} runs, each against itself"
    )
