"""Study `lottery-ticket`: what the network must see before the rewinding point for its tickets to be good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from datadiet.engine.training.seeding import derive_seed
from datadiet.foundation.statistics import accuracy_interval
from datadiet.pages.report.canvas import LIGHT, dress, new_figure
from datadiet.sparse.masks import random_mask
from datadiet.sparse.rewinding import train_from
from datadiet.studies.toolbox.claims import Claim, Measured, accuracy_difference
from datadiet.studies.toolbox.context import Workbench
from datadiet.studies.toolbox.figures import caption, draw_lines, finish, legend_columns, plain_log
from datadiet.studies.toolbox.study import Conclusion, Planned, Row, Study, add_study
from datadiet.studies.toolbox.tickets import (
    Pretraining,
    Sizes,
    levels_of,
    planned_levels,
    point_of,
    pretrainings,
    sized_study,
    subset_sizes,
)

TICKETS = "Paul, Larsen et al. 2022, sections 3 and 4"
TOLERANCE = 0.005  # our choice: half a point counts as "as good as"
RANDOM_MASK = "random mask"
MOST_TICKS = 9


def lottery_ticket_study(sizes: Sizes | None = None) -> Study:
    """The study, with sizes of its own or those of the scale.

    Args:
        sizes: levels, rewinding points, subsets; None for the scale's.
    """
    title = "Accuracy against weights left, rewound to after pre-training on all, random, easy or hard data."
    return sized_study("lottery-ticket", title, sizes, plan, measure, conclude)


def plan(bench: Workbench, sizes: Sizes) -> Sequence[Planned]:
    """Scoring runs, pre-trainings, every level of every kind, and random masks."""
    kinds = pretrainings(bench, sizes)
    planned = planned_levels(bench, kinds, sizes, sizes.levels)
    base = _baseline(kinds)
    if base is not None:
        masks = sizes.levels if sizes.all_random_masks else 1
        steps = bench.total_steps - base.step
        planned.append(Planned("random masks", masks * bench.scale.retrain_seeds, steps))
    return planned


def measure(bench: Workbench, kept: dict[str, Any], sizes: Sizes) -> Iterator[Row]:
    """A row a kind of pre-training and level, then the random masks."""
    arms = kept.setdefault("correct", {})
    kinds = pretrainings(bench, sizes)
    masks: dict[tuple[int, int], Any] = {}
    base = _baseline(kinds)
    for how in kinds:
        chains = []
        for index in range(bench.scale.retrain_seeds):
            chain = list(levels_of(bench, how, index, sizes))
            chains.append(chain)
            if how == base:
                masks.update({(index, ticket.level): ticket.mask for ticket in chain})
        for level in range(sizes.levels + 1):
            of_level = [chain[level] for chain in chains]
            correct = np.stack([t.run.test_predictions()["correct"].astype(bool) for t in of_level])
            arms[how, level] = correct
            yield _row(bench, how.title, how, level, of_level[0].mask, correct)
    if base is not None:
        for level in range(1 if sizes.all_random_masks else sizes.levels, sizes.levels + 1):
            rows = [_by_chance(bench, base, index, masks[index, level]) for index in range(len(chains))]
            arms[RANDOM_MASK, level] = np.stack(rows)
            yield _row(bench, RANDOM_MASK, base, level, masks[0, level], arms[RANDOM_MASK, level])


def _by_chance(bench: Workbench, how: Pretraining, index: int, mask: Any) -> np.ndarray:
    """Train with as many weights of every layer, drawn by chance, from the same rewinding point."""
    point = point_of(bench, how, index)
    drawn = random_mask(mask, derive_seed(point.seed, "random mask"))
    label = f"random mask of {drawn.kept:,} weights, seed {index + 1}"
    run = bench.count(train_from(bench.setup, point, drawn, label=label), begins=point.step)
    correct: np.ndarray = run.test_predictions()["correct"].astype(bool)
    return correct


def _baseline(kinds: Sequence[Pretraining]) -> Pretraining | None:
    """All data with its labels up to the last rewinding point: what everything is held against."""
    found = [how for how in kinds if how.kind == "all" and how.labels == "clean"]
    return max(found, key=lambda how: how.step) if found else None


def _row(bench: Workbench, title: str, how: Pretraining, level: int, mask: Any, correct: np.ndarray) -> Row:
    found = accuracy_interval(correct)
    return {
        "pretraining": title,
        "kind": RANDOM_MASK if title == RANDOM_MASK else how.kind,
        "labels": how.labels,
        "rewind_step": how.step,
        "rewind_epoch": bench.epoch_of(how.step),
        "examples": how.size,
        "level": level,
        "weights": mask.kept,
        "weights_of": mask.total,
        "weights_left": mask.kept / mask.total,
        "seeds": len(correct),
        "accuracy": found.mean,
        "low": found.low,
        "high": found.high,
        "accuracies": correct.mean(axis=1).tolist(),
    }


def conclude(bench: Workbench, rows: Sequence[Row], kept: Mapping[str, Any], sizes: Sizes) -> Conclusion:
    """Accuracy against weights left as a figure; claims at the last level, the sparsest."""
    arms = kept.get("correct", {})
    kinds = pretrainings(bench, sizes)
    last, base = sizes.levels, _baseline(kinds)
    left = f"{100 * (1 - sizes.rate) ** last:.3g} % of the weights left"
    small = subset_sizes(bench, sizes)[0] if sizes.subsets else 0

    def find(kind: str, step: int, size: int | None = None) -> Pretraining | None:
        wanted = (how for how in kinds if (how.kind, how.labels, how.step) == (kind, "clean", step))
        return next((how for how in wanted if size is None or how.size == size), None)

    def against(arm: Any, reference: Any) -> Measured | None:
        if (arm, last) not in arms or (reference, last) not in arms:
            return None
        return accuracy_difference(arms[arm, last], arms[reference, last])

    claims: list[tuple[Claim, Measured | None]] = []
    if base is not None:
        claims += [
            (
                Claim(
                    f"With {left}, pre-training on {small:,} random examples loses no more than half a point against "
                    f"all data for the same {base.step:,} steps.",
                    TICKETS,
                    "accuracy minus that after all data",
                    "above",
                    -TOLERANCE,
                ),
                against(find("random", base.step, small), base),
            ),
            (
                Claim(
                    f"With {left}, tickets rewound to a random initialisation are worse than those rewound to "
                    f"{base.step:,} steps on all data.",
                    TICKETS,
                    "accuracy minus that after all data",
                    "below",
                ),
                against(Pretraining("init"), base),
            ),
            (
                Claim(
                    f"With {left}, random masks of the same layer sizes are worse than magnitude masks.",
                    "Frankle and Carbin 2019",
                    "accuracy minus that of magnitude masks",
                    "below",
                ),
                against(RANDOM_MASK, base),
            ),
        ]
        easy = [how for how in kinds if how.kind == "easiest" and how.labels == "clean" and how.size == small]
        shortest = min(easy, key=lambda how: how.step) if easy else None
        if shortest is not None and shortest.step < base.step:
            claims.append(
                (
                    Claim(
                        f"With {left}, {shortest.step:,} steps on the {small:,} easiest examples by EL2N lose no more "
                        f"than half a point against {base.step:,} steps on all data.",
                        TICKETS,
                        "accuracy minus that after all data",
                        "above",
                        -TOLERANCE,
                    ),
                    against(shortest, base),
                )
            )
        elif shortest is not None:
            claims.append(
                (
                    Claim(
                        f"With {left}, {base.step:,} steps on the {small:,} easiest examples by EL2N give a better "
                        "start than as many steps on all data.",
                        TICKETS,
                        "accuracy minus that after all data",
                    ),
                    against(shortest, base),
                )
            )
    return Conclusion(claims, {"lottery-ticket": _figure(bench, rows)})


def _figure(bench: Workbench, rows: Sequence[Row]) -> Any:
    series: dict[str, list[tuple[float, float, float, float]]] = {}
    for row in rows:
        place = (100 * row["weights_left"], 100 * row["accuracy"], 100 * row["low"], 100 * row["high"])
        series.setdefault(row["pretraining"], []).append(place)
    figure = new_figure(LIGHT, 7.2, 4.8)
    axes = figure.add_subplot()
    draw_lines(axes, series)
    plain_log(axes, "x")
    axes.invert_xaxis()
    left = sorted({place[0] for line in series.values() for place in line})
    shown = left[:: -(-len(left) // MOST_TICKS)]
    axes.set_xticks(shown, [f"{place:.3g}" for place in shown])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("weights left, %")
    axes.set_ylabel("test accuracy, %")
    dress(axes, LIGHT)
    finish(
        figure,
        axes,
        caption(bench, bench.scale.retrain_seeds, "pre-training as named", called="seeds"),
        columns=legend_columns(axes, 7.2),
    )
    return figure


STUDY = add_study(lottery_ticket_study())
