"""Study `bert-diet`: scores of the first epochs, the classes they choose, and the hardest few dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from datadiet.engine.points import measure_grand, measure_points, parameters_of_grand
from datadiet.pages.report.canvas import LIGHT, dress, new_figure
from datadiet.studies.toolbox.accuracy import (
    difference,
    evenness,
    fixed,
    measured_arm,
    points,
    title_of,
    total_variation,
)
from datadiet.studies.toolbox.claims import Claim, Measured, mean_within
from datadiet.studies.toolbox.context import Workbench
from datadiet.studies.toolbox.figures import draw_lines, finish, in_epochs, legend_columns, lines
from datadiet.studies.toolbox.study import Conclusion, Planned, Row, Study, add_study

PAPER = "Fayyaz et al. 2022, BERT on a Data Diet"
SCORES = ("el2n", "grand")
EPOCHS = (0.0, 0.25, 0.5, 1.0, 2.0)
LARGEST_DROP = 0.1  # what "the hardest few" may be at most, as a share of the data
TOLERANCE = 0.005  # half a point, the tolerance of verdicts


def moments(bench: Workbench) -> dict[float, int]:
    """Epoch -> step at which scores are taken, those within the run; epochs that fall on one step are one."""
    found: dict[int, float] = {}
    for epoch in EPOCHS:
        step = round(epoch * bench.setup.steps_per_epoch)
        if step <= bench.total_steps:
            found.setdefault(step, epoch)
    return {epoch: step for step, epoch in found.items()}


def drops(bench: Workbench) -> list[float]:
    """Shares of the hardest that are left out; those of the scale that are small, a twentieth if none is."""
    room = 1 - bench.scale.keep
    small = [share for share in sorted(bench.scale.offsets) if 0 < share <= min(LARGEST_DROP, room)]
    return small or [min(0.05, room)]


def dropped_at(bench: Workbench, epoch: float) -> list[float]:
    """What is dropped at a moment: every share at the last one, the smallest at those before."""
    return drops(bench) if epoch == max(moments(bench)) else drops(bench)[:1]


def arm(score: str, drop: float) -> str:
    """What an arm is called in the table.

    Example:
        >>> arm("el2n", 0.0), arm("el2n", 0.02)
        ('el2n', 'el2n from 0.02')
    """
    return f"{score} from {drop:g}" if drop else score


def plan(bench: Workbench) -> Sequence[Planned]:
    """Scoring runs, full data, random, and a retraining a score, moment, drop and seed."""
    seeds, keep = bench.scale.retrain_seeds, bench.scale.keep
    subsets = len(SCORES) * sum(1 + len(dropped_at(bench, epoch)) for epoch in moments(bench)) + 1
    return [
        Planned("scoring runs", bench.scale.score_seeds, bench.total_steps),
        Planned("trainings on full data", seeds, bench.planned_steps()),
        Planned(f"retrainings on {keep:g}", subsets * seeds, bench.planned_steps(keep)),
    ]


def scores_at(bench: Workbench, name: str, step: int) -> np.ndarray:
    """A score of every training example by each scoring model at a step: (models, n), higher = harder.

    GraNd is taken over the parameters of `datadiet.engine.points.parameters_of_grand`: of a pre-trained model the head.
    """
    rows = []
    steps = list(moments(bench).values())
    parameters = parameters_of_grand(bench.setup, None) if name == "grand" else ""
    for index in range(bench.scale.score_seeds):
        run = bench.epochs_run(index, steps)
        if name == "grand":
            found = measure_grand(bench.setup, run, step, parameters)
        else:
            found = measure_points(bench.setup, run, step, [name])
        rows.append(found.columns[name])
    return np.stack(rows).astype(np.float64)


def measure(bench: Workbench, kept: dict[str, Any]) -> Iterator[Row]:
    """Full data and random, then at each moment the hardest and the hardest after the hardest few, by each score."""
    keep, train = bench.scale.keep, bench.setup.examples.train
    yield {**measured_arm(bench, kept, ("full", 0.0, 1.0), None), "drop": None}
    yield {**measured_arm(bench, kept, ("random", 0.0, keep), None), "drop": None}
    classes = bench.setup.examples.num_classes
    for epoch, step in moments(bench).items():
        for score in SCORES:
            per_seed = scores_at(bench, score, step)
            of_models = [train.positions_of(bench.keep(values, keep)) for values in per_seed]
            kept.setdefault("variation", {})[score, epoch] = [
                total_variation(train.labels[rows], train.labels, classes) for rows in of_models
            ]
            for drop in (0.0, *dropped_at(bench, epoch)):
                options: dict[str, Any] = {"rule": "window", "start": drop} if drop else {}
                ids = bench.keep(per_seed.mean(axis=0), keep, **options)
                labels = train.labels[train.positions_of(ids)]
                yield {
                    **measured_arm(bench, kept, (arm(score, drop), epoch, keep), ids),
                    "drop": drop,
                    "evenness": evenness(labels, classes),
                    "evenness_of_all": evenness(train.labels, classes),
                    "total_variation": total_variation(labels, train.labels, classes),
                }


def conclude(bench: Workbench, rows: Sequence[Row], kept: Mapping[str, Any]) -> Conclusion:
    """Accuracy and class balance by the epoch of the score; claims on when scores are useful and what dropping does."""
    keep, epochs = bench.scale.keep, sorted(moments(bench))
    early = next((epoch for epoch in epochs if epoch), epochs[-1])
    late = next((epoch for epoch in epochs if epoch >= 1), epochs[-1])
    last, few = epochs[-1], drops(bench)[0]
    random, full = ("random", 0.0, keep), ("full", 0.0, 1.0)

    def of(score: str, drop: float, epoch: float) -> tuple[str, float, float]:
        return arm(score, drop), epoch, keep

    minus_random, minus_full = "accuracy minus random's", "accuracy minus full data's"
    claims: list[tuple[Claim, Measured | None]] = []
    if early < 1 <= late:
        claims += [
            (
                Claim(
                    f"Before an epoch is over scores are of no use: the hardest {keep:g} by EL2N after "
                    f"{in_epochs(early)} are worse than random.",
                    PAPER,
                    minus_random,
                    "below",
                ),
                difference(kept, of("el2n", 0.0, early), random),
            ),
            (
                Claim(
                    f"An epoch makes scores useful: the hardest {keep:g} by EL2N after {in_epochs(late)} train "
                    f"better than those after {in_epochs(early)}.",
                    PAPER,
                    "accuracy minus that of the earlier score",
                ),
                difference(kept, of("el2n", 0.0, late), of("el2n", 0.0, early)),
            ),
            (
                Claim(
                    f"Early scores choose unbalanced classes: the hardest {keep:g} by EL2N after "
                    f"{in_epochs(early)} are further from the shares of all data than after {in_epochs(late)}.",
                    PAPER,
                    "total variation minus that of the later score",
                ),
                _further(kept, early, late),
            ),
        ]
    claims += [
        (
            Claim(
                f"After {in_epochs(last)} the {keep:g} that follow the {few:g} hardest by EL2N are better than random.",
                PAPER,
                minus_random,
            ),
            difference(kept, of("el2n", few, last), random),
        ),
        (
            Claim(
                f"Without the {few:g} hardest by EL2N, {keep:g} of the data loses no more than half a point.",
                f"{PAPER}; the bound is ours",
                minus_full,
                "above",
                -TOLERANCE,
            ),
            difference(kept, of("el2n", few, last), full),
        ),
        (
            Claim(
                f"Without the {few:g} hardest by EL2N the kept {keep:g} train better than with them.",
                PAPER,
                "accuracy minus that of the hardest",
            ),
            difference(kept, of("el2n", few, last), of("el2n", 0.0, last)),
        ),
        (
            Claim(
                f"After {in_epochs(last)} the hardest {keep:g} by GraNd are better than random.",
                PAPER,
                minus_random,
            ),
            difference(kept, of("grand", 0.0, last), random),
        ),
    ]
    figures = {"bert-diet": _accuracies(bench, rows, few), "balance": _balance(bench, rows)}
    return Conclusion(claims, figures, {"balance": _balances(rows)})


def _further(kept: Mapping[str, Any], early: float, late: float) -> Measured | None:
    """How much further from the shares of all data one model's early choice is than its later one."""
    before, after = (kept.get("variation", {}).get(("el2n", epoch)) for epoch in (early, late))
    if before is None or after is None:
        return None
    return mean_within((np.asarray(before) - np.asarray(after)).tolist(), "scoring models", -1.0, 1.0)


def _balances(rows: Sequence[Row]) -> list[Row]:
    """How each subset's classes are shared out, without its accuracy."""
    names = ("score", "epoch", "keep", "n", "drop", "evenness", "evenness_of_all", "total_variation")
    return [{name: row[name] for name in names} for row in rows if "evenness" in row]


def _accuracies(bench: Workbench, rows: Sequence[Row], few: float) -> Figure:
    figure = new_figure(LIGHT, 7.0, 4.2)
    axes = figure.add_subplot()
    named = {
        f"{title_of(score)}, {'hardest' if not drop else f'hardest after {drop:g} dropped'}": points(
            rows, arm(score, drop), "epoch"
        )
        for score in SCORES
        for drop in (0.0, few)
    }
    draw_lines(axes, {name: found for name, found in named.items() if found})
    for score, style in (("full", "--"), ("random", ":")):
        row = next((row for row in rows if row["score"] == score), None)
        if row is not None:
            name = title_of(score)
            axes.axhline(100 * row["accuracy"], color=LIGHT.muted, linestyle=style, linewidth=1.2, label=name)
    axes.set_xlabel("epoch of the score")
    axes.set_ylabel("test accuracy, %")
    dress(axes, LIGHT)
    finish(figure, axes, fixed(bench, f"keep {bench.scale.keep:g}"), columns=legend_columns(axes, 7.0))
    return figure


def _balance(bench: Workbench, rows: Sequence[Row]) -> Figure:
    series: dict[str, list[tuple[float, float, float, float]]] = {}
    for row in rows:
        if row.get("drop") == 0.0:
            value = row["total_variation"]
            series.setdefault(title_of(row["score"]), []).append((row["epoch"], value, value, value))
    return lines(
        series,
        x="epoch of the score",
        y="total variation of class shares",
        title=fixed(bench, f"hardest {bench.scale.keep:g} against all; 0 is the same shares"),
        level_line=("as all data", 0.0),
    )


STUDY = add_study(
    Study(
        name="bert-diet",
        title="Scores after parts of the first epochs, the classes they choose, and the hardest few dropped.",
        source="BERT on a Data Diet",
        plan=plan,
        measure=measure,
        conclude=conclude,
        tasks=("classification", "intent_slots"),
    )
)
