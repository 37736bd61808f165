"""Study `ntk-velocity`: how fast the tangent kernel turns on examples of low and of high score, clean and noisy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats

from datadiet.data.corruption import corrupt
from datadiet.engine.points import load_weights
from datadiet.engine.runs import Run
from datadiet.foundation.errors import BadInputError
from datadiet.landscape import kernel_distance, ntk_gram
from datadiet.pages.report.canvas import LIGHT, new_figure
from datadiet.studies.toolbox.accuracy import rank_resolution
from datadiet.studies.toolbox.claims import Claim, Measurement, mean_correlation, mean_of
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import caption, draw_lines, finish, label, plain_log, spread_of
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, study

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, section on the data-dependent kernel"
OFFSETS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)  # from the easiest to the hardest group
BELOW_NOISE = 0.75  # the group that lies under a tenth of wrong labels
MOST_ROWS = 10_000  # logits of one kernel: its matrix takes 1.2 GB then
LEAST = 2  # examples of one kernel
MODELS = 3  # at least: with fewer, no interval is short enough to decide anything


def neighbours(context: StudyContext) -> int:
    """Examples of one kernel: so few that the groups do not meet and the matrix fits; less than asked is noted.

    Raises:
        BadInputError: too few examples, or too many classes, for any kernel.
    """
    have, wanted = len(context.setup.examples.train), context.scale.neighbours
    classes = context.setup.examples.num_classes
    size = min(wanted, have // 20, MOST_ROWS // classes)
    if size < LEAST:
        raise BadInputError(
            f"ntk-velocity takes kernels of a twentieth of the data at most and {MOST_ROWS:,} logits; with "
            f"{have:,} training examples of {classes:,} classes that is less than {LEAST} examples."
        )
    if size < wanted:
        context.note(
            f"Kernels are of {size} examples in place of {wanted}: a twentieth of {have:,} examples at most, and "
            f"{MOST_ROWS:,} logits."
        )
    return size


def epochs(context: StudyContext) -> list[int]:
    """Epochs whose end a velocity is taken from, to the end of the next: those near the moments of scores."""
    per_epoch = context.setup.steps_per_epoch
    last = context.total_steps // per_epoch - 1
    return sorted({min(step // per_epoch, last) for step in context.score_steps.values() if last >= 0})


def models(context: StudyContext) -> int:
    """How many runs kernels are taken of: as many as there would be retrainings, three at least."""
    return max(MODELS, context.scale.retrain_seeds)


def plan(context: StudyContext) -> Sequence[Planned]:
    """Scoring runs on clean and on noisy labels, and runs that keep weights at ends of following epochs."""
    neighbours(context)
    if not epochs(context):
        raise BadInputError("ntk-velocity compares ends of epochs; train for one epoch at least.")
    return [
        Planned("scoring runs, clean and noisy", 2 * context.scale.score_seeds, context.total_steps),
        Planned("runs epoch by epoch, clean and noisy", 2 * models(context), context.total_steps),
    ]


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """A row for each data set, place in the order of scores, and epoch."""
    corrupted = corrupt(context.setup.examples, context.scale.noise, seed=context.seed)
    for labels, wrong in (("clean", np.zeros_like(corrupted.mask)), ("noisy", corrupted.mask)):
        there = context if labels == "clean" else context.on(corrupted.examples)
        hardness = there.hardness("el2n", there.score_step)
        groups = groups_in_order(hardness, neighbours(context))
        found = [velocities(there, there.epochs_run(i, ends(there)), groups) for i in range(models(context))]
        for offset, positions in groups.items():
            for epoch in epochs(there):
                values = [model[offset, epoch] for model in found]
                mean, least, largest = spread_of(values)
                yield {
                    "labels": labels,
                    "offset": offset,
                    "epoch": epoch,
                    "velocity": mean,
                    "least": least,
                    "largest": largest,
                    "velocities": values,
                    "examples": len(positions),
                    "el2n": float(hardness[positions].mean()),
                    "wrong_labels": float(wrong[positions].mean()),
                }


def groups_in_order(hardness: np.ndarray, size: int) -> dict[float, np.ndarray]:
    """Positions of `size` neighbours in the order of scores at each offset.

    Example:
        >>> found = groups_in_order(np.arange(100.0), 5)
        >>> found[0.0].tolist(), found[1.0].tolist()
        ([0, 1, 2, 3, 4], [95, 96, 97, 98, 99])
    """
    order = np.lexsort((np.arange(len(hardness)), hardness))
    begins = {offset: round(offset * (len(order) - size)) for offset in OFFSETS}
    return {offset: np.sort(order[begin : begin + size]) for offset, begin in begins.items()}


def ends(context: StudyContext) -> list[int]:
    """Steps whose weights the kernels need."""
    found = {epoch + more for epoch in epochs(context) for more in (0, 1)}
    return [epoch * context.setup.steps_per_epoch for epoch in sorted(found)]


def velocities(
    context: StudyContext, run: Run, groups: Mapping[float, np.ndarray]
) -> dict[tuple[float, int], float]:
    """Kernel distance from the end of an epoch to that of the next: (offset, epoch) -> velocity."""
    setup, per_epoch = context.setup, context.setup.steps_per_epoch
    ids = setup.examples.train.ids
    inputs = {
        offset: next(context.batches(ids[positions], len(positions))).inputs
        for offset, positions in groups.items()
    }
    before: dict[float, torch.Tensor] = {}  # kernels at the last of the ends
    found: dict[tuple[float, int], float] = {}
    total = len(ends(context)) * len(groups)
    with setup.display.step("kernels", total, unit="kernels/s") as advance:
        for step in ends(context):
            model, _ = load_weights(setup, run, step)
            now = {}
            for offset, batch in inputs.items():
                now[offset] = ntk_gram(model, batch)
                advance(1)
            epoch = step // per_epoch - 1
            if epoch in epochs(context):
                found |= {(offset, epoch): kernel_distance(before[offset], now[offset]) for offset in groups}
            before = now
    return found


@study(
    "ntk-velocity",
    "How fast the tangent kernel of neighbours in the order of EL2N turns, clean and noisy.",
    "Deep Learning on a Data Diet, study 5",
    plan=plan,
    measure=measure,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Velocity by score and epoch as a figure; claims on clean and noisy labels."""
    averaged = len({row["epoch"] for row in rows if row["epoch"] > 0})
    finest = rank_resolution(len(OFFSETS)) / max(1, averaged)
    claims = [
        Claim(
            "On clean labels, the kernel turns faster on examples of higher score.",
            DATA_DIET,
            "Spearman correlation of velocity with the place in the order of scores, mean over epochs",
            per_model(rows, "clean", _trend, partial(mean_correlation, resolution=finest)),
        ),
        Claim(
            "On clean labels, it turns faster on the hardest examples than on the easiest.",
            DATA_DIET,
            "log2 of the hardest group's velocity over the easiest group's",
            per_model(rows, "clean", lambda values: log_ratio(values, OFFSETS[-1], OFFSETS[0])),
        ),
        Claim(
            f"With {context.scale.noise:.0%} wrong labels, the velocity collapses for the very highest scores.",
            DATA_DIET,
            "log2 of the hardest group's velocity over that of the group at three quarters of the order",
            per_model(rows, "noisy", lambda values: log_ratio(values, OFFSETS[-1], BELOW_NOISE)),
            below=0.0,
        ),
    ]
    return Conclusion(claims, {"ntk-velocity": _figure(context, rows)})


def _trend(velocities: Mapping[float, float]) -> float:
    places = sorted(velocities)
    values = [velocities[place] for place in places]
    return float(stats.spearmanr(places, values).statistic) if np.ptp(values) > 0 else 0.0


def log_ratio(velocities: Mapping[float, float], above: float, below: float) -> float:
    """log2 of one group's velocity over another's, of distances not under the rounding of their sum.

    Example:
        >>> log_ratio({0.0: 0.1, 1.0: 0.4}, 1.0, 0.0)
        2.0
    """
    smallest = 1e-12
    return float(np.log2(max(velocities[above], smallest) / max(velocities[below], smallest)))


def per_model(
    rows: Sequence[Row],
    labels: str,
    quantity: Callable[[Mapping[float, float]], float],
    mean: Callable[[Sequence[float], str], Measurement] = mean_of,
) -> Measurement | None:
    """A quantity of velocities by offset: its mean over epochs after the first, for each model, then over models.

    The first epoch starts from initialisation, where scores mean nothing yet.
    """
    chosen = [row for row in rows if row["labels"] == labels and row["epoch"] > 0]
    if not chosen:
        return None
    found = []
    for model in range(len(chosen[0]["velocities"])):
        by_epoch: dict[int, dict[float, float]] = {}
        for row in chosen:
            by_epoch.setdefault(row["epoch"], {})[row["offset"]] = row["velocities"][model]
        found.append(float(np.mean([quantity(values) for values in by_epoch.values()])))
    return mean(found, "models")


def _figure(context: StudyContext, rows: Sequence[Row]) -> Figure:
    """Velocity against the place in the order of scores, a line an epoch; clean and noisy side by side."""
    figure = new_figure(LIGHT, 8.4, 4.3)
    first = None
    for position, labels in enumerate(("clean", "noisy")):
        chosen = [row for row in rows if row["labels"] == labels]
        axes = figure.add_subplot(1, 2, position + 1, sharey=first)
        series = {
            f"epoch {epoch} to {epoch + 1}": [
                (row["offset"], row["velocity"], row["least"], row["largest"])
                for row in chosen
                if row["epoch"] == epoch
            ]
            for epoch in sorted({row["epoch"] for row in chosen})
        }
        draw_lines(axes, series)
        if any(row["velocity"] > 0 for row in chosen):
            plain_log(axes, "y")
        share = "" if labels == "clean" else f" ({context.scale.noise:.0%} of them wrong)"
        label(
            axes,
            "place in the order of EL2N: 1 is hardest",
            "kernel distance from one epoch to the next",
            f"{labels} labels{share}",
        )
        first = first or axes
    more = f"{rows[0]['examples']} neighbours a kernel; bars span models"
    assert first is not None
    return finish(figure, first, caption(context, models(context), more), columns=4)
