"""Study `score-epoch`: accuracy at a fixed kept size against the epoch that the score is taken at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datadiet.studies.toolbox.accuracy import difference, fixed, measured_arm, points, title_of
from datadiet.studies.toolbox.claims import Claim
from datadiet.studies.toolbox.context import Workbench
from datadiet.studies.toolbox.figures import lines
from datadiet.studies.toolbox.study import Conclusion, Planned, Row, Study, add_study

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, section 3.1"
SCORES = ("el2n", "grand", "forgetting")


def moments(bench: Workbench, score: str) -> list[int]:
    """The steps a score is taken at: the trace has nothing at initialisation."""
    return [step for step in bench.score_steps.values() if step or score != "forgetting"]


def plan(bench: Workbench) -> Sequence[Planned]:
    """Scoring runs, full data, random, and a retraining a score, moment and seed."""
    seeds = bench.scale.retrain_seeds
    subsets = sum(len(moments(bench, score)) for score in SCORES) + 1
    return [
        Planned("scoring runs", bench.scale.score_seeds, bench.total_steps),
        Planned("trainings on full data", seeds, bench.planned_steps()),
        Planned(
            f"retrainings on {bench.scale.keep:g}", subsets * seeds, bench.planned_steps(bench.scale.keep)
        ),
    ]


def measure(bench: Workbench, kept: dict[str, Any]) -> Iterator[Row]:
    """Full data and random once, then each score at each moment."""
    fraction = bench.scale.keep
    yield measured_arm(bench, kept, ("full", 0.0, 1.0), None)
    yield measured_arm(bench, kept, ("random", 0.0, fraction), None)
    for score in SCORES:
        for step in moments(bench, score):
            ids = bench.keep(bench.hardness(score, step), fraction)
            yield measured_arm(bench, kept, (score, bench.epoch_of(step), fraction), ids)


def conclude(bench: Workbench, rows: Sequence[Row], kept: Mapping[str, Any]) -> Conclusion:
    """Accuracy by score epoch as a figure; claims on early scores and on the first one."""
    fraction = bench.scale.keep
    epochs = [bench.epoch_of(step) for step in bench.score_steps.values()]
    at = bench.epoch_of(bench.score_step)
    random, full = ("random", 0.0, fraction), ("full", 0.0, 1.0)
    claims = [
        (
            Claim(
                f"EL2N after {at:g} epochs chooses a better {fraction:g} than random.",
                DATA_DIET,
                "accuracy minus random's",
            ),
            difference(kept, ("el2n", at, fraction), random),
        ),
        (
            Claim(
                f"GraNd after {at:g} epochs chooses a better {fraction:g} than random.",
                DATA_DIET,
                "accuracy minus random's",
            ),
            difference(kept, ("grand", at, fraction), random),
        ),
        (
            Claim(
                f"EL2N after {at:g} epochs loses no more than half a point against EL2N at the end of training.",
                DATA_DIET,
                "accuracy minus that of the last epoch's scores",
                "above",
                -0.005,
            ),
            difference(kept, ("el2n", at, fraction), ("el2n", epochs[-1], fraction)),
        ),
        (
            Claim(
                f"EL2N after {at:g} epochs chooses a better {fraction:g} than EL2N at initialisation.",
                DATA_DIET,
                "accuracy minus that of the scores at initialisation",
            ),
            difference(kept, ("el2n", at, fraction), ("el2n", 0.0, fraction)),
        ),
        (
            Claim(
                f"The hardest {fraction:g} by EL2N after {at:g} epochs loses no more than half a point against "
                "full data.",
                DATA_DIET,
                "accuracy minus full data's",
                "above",
                -0.005,
            ),
            difference(kept, ("el2n", at, fraction), full),
        ),
    ]
    series = {title_of(score): points(rows, score, "epoch") for score in SCORES}
    drawn = points(rows, "random", "epoch")
    if drawn:  # one subset a seed, whatever the epoch: a level band from end to end
        series["random"] = [(epoch, *drawn[0][1:]) for epoch in (epochs[0], epochs[-1])]
    whole = next((row for row in rows if row["score"] == "full"), None)
    figure = lines(
        {name: found for name, found in series.items() if found},
        x="epoch of the score",
        y="test accuracy, %",
        title=fixed(bench, f"keep {fraction:g}"),
        level_line=None if whole is None else ("full data", 100 * whole["accuracy"]),
    )
    return Conclusion(claims, {"score-epoch": figure})


STUDY = add_study(
    Study(
        name="score-epoch",
        title="Accuracy at a fixed kept size against the epoch that the score is taken at.",
        source="Deep Learning on a Data Diet, study 1",
        plan=plan,
        measure=measure,
        conclude=conclude,
    )
)
