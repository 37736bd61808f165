"""Study `keep-fraction`: accuracy against the kept fraction, at a fixed score epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datadiet.studies.toolbox.accuracy import difference, fixed, measured_arm, points, title_of
from datadiet.studies.toolbox.claims import Claim
from datadiet.studies.toolbox.context import Workbench
from datadiet.studies.toolbox.figures import lines
from datadiet.studies.toolbox.study import Conclusion, Planned, Row, Study, add_study

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, section 3"
REPRODUCTION = "Kirsch 2023, section 3"
TOLERANCE = 0.005  # half a point, the tolerance of verdicts

# Name in the table -> (registered score, whether at initialisation).
SCORES = {
    "el2n": ("el2n", False),
    "grand": ("grand", False),
    "forgetting": ("forgetting", False),
    "grand_init": ("grand", True),
    "input_norm": ("input_norm", False),
}


def scores_for(bench: Workbench) -> dict[str, tuple[str, bool]]:
    """The scores that this data has: texts have no input norm."""
    return {n: s for n, s in SCORES.items() if n != "input_norm" or bench.setup.examples.kind != "text"}


def plan(bench: Workbench) -> Sequence[Planned]:
    """Scoring runs, full data, and a retraining a score, fraction and seed."""
    seeds = bench.scale.retrain_seeds
    arms = len(scores_for(bench)) + 1
    return [
        Planned("scoring runs", bench.scale.score_seeds, bench.total_steps),
        Planned("trainings on full data", seeds, bench.planned_steps()),
        *(
            Planned(f"retrainings on {fraction:g}", arms * seeds, bench.planned_steps(fraction))
            for fraction in bench.scale.fractions
        ),
    ]


def measure(bench: Workbench, kept: dict[str, Any]) -> Iterator[Row]:
    """Full data, then every fraction from largest to smallest, every score and random."""
    step = bench.score_step
    epoch = bench.epoch_of(step)
    yield measured_arm(bench, kept, ("full", epoch, 1.0), None)
    hardness = {
        name: bench.hardness(score, 0 if initial else step)
        for name, (score, initial) in scores_for(bench).items()
    }
    for fraction in sorted(bench.scale.fractions, reverse=True):
        yield measured_arm(bench, kept, ("random", epoch, fraction), None)
        for name, values in hardness.items():
            yield measured_arm(bench, kept, (name, epoch, fraction), bench.keep(values, fraction))


def conclude(bench: Workbench, rows: Sequence[Row], kept: Mapping[str, Any]) -> Conclusion:
    """Accuracy by fraction as a figure; claims at the largest, the middle and the smallest fraction."""
    epoch = bench.epoch_of(bench.score_step)
    fractions = sorted(bench.scale.fractions, reverse=True)
    most, least = fractions[0], fractions[-1]
    half = min(fractions, key=lambda fraction: (abs(fraction - 0.5), -fraction))

    def against(score: str, fraction: float, other: str) -> Any:
        reference = ("full", epoch, 1.0) if other == "full" else (other, epoch, fraction)
        return difference(kept, (score, epoch, fraction), reference)

    claims = [
        (
            Claim(
                f"Keeping the hardest {half:g} by EL2N loses no more than half a point against full data.",
                DATA_DIET,
                "accuracy minus full data's",
                "above",
                -TOLERANCE,
            ),
            against("el2n", half, "full"),
        ),
        (
            Claim(
                f"Keeping the hardest {half:g} by EL2N is better than random.",
                DATA_DIET,
                "accuracy minus random's",
            ),
            against("el2n", half, "random"),
        ),
        (
            Claim(
                f"Keeping the hardest {half:g} by GraNd after some training is better than random.",
                DATA_DIET,
                "accuracy minus random's",
            ),
            against("grand", half, "random"),
        ),
        (
            Claim(
                f"GraNd at initialisation at {half:g} is no better than random (the reproduction; the original "
                "paper claims that it is better).",
                REPRODUCTION,
                "accuracy minus random's",
                "below",
                TOLERANCE,
            ),
            against("grand_init", half, "random"),
        ),
        (
            Claim(
                f"When only {least:g} is kept, hardest-first by EL2N is worse than random.",
                "the pattern of later work, such as Zheng et al. 2023",
                "accuracy minus random's",
                "below",
            ),
            against("el2n", least, "random"),
        ),
        (
            Claim(
                f"At {most:g}, random loses against the hardest by EL2N.",
                DATA_DIET,
                "accuracy minus random's",
            ),
            against("el2n", most, "random"),
        ),
    ]
    full = next((row for row in rows if row["score"] == "full"), None)
    names = [name for name in (*SCORES, "random") if any(row["score"] == name for row in rows)]
    figure = lines(
        {title_of(name): points(rows, name, "keep") for name in names},
        x="kept fraction",
        y="test accuracy, %",
        title=fixed(bench, f"scores at epoch {epoch:g}"),
        level_line=None if full is None else ("full data", 100 * full["accuracy"]),
    )
    return Conclusion(claims, {"keep-fraction": figure})


STUDY = add_study(
    Study(
        name="keep-fraction",
        title="Accuracy against the kept fraction for every score, at a fixed score epoch, beside full and random.",
        source="Deep Learning on a Data Diet, study 2",
        plan=plan,
        measure=measure,
        conclude=conclude,
    )
)
