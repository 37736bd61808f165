"""Study `lottery-ticket`: what the network must see before the rewinding point for its tickets to be good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from datadiet.engine.training.randomness import derive_seed
from datadiet.sparse.masks import random_mask
from datadiet.sparse.rewinding import train_from
from datadiet.studies.toolbox.accuracy import accuracy_columns, difference, in_percent
from datadiet.studies.toolbox.claims import TOLERANCE, Claim, Measurement
from datadiet.studies.toolbox.context import StudyContext, correct_of
from datadiet.studies.toolbox.figures import Point, caption, draw_lines, finish, label, panel, plain_log
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, study
from datadiet.studies.toolbox.tickets import (
    Pretraining,
    levels_of,
    planned_levels,
    point_of,
    pretrainings,
    subset_sizes,
)

TICKETS = "Paul, Larsen et al. 2022, sections 3 and 4"
RANDOM_MASK = "random mask"
MOST_TICKS = 9


def plan(context: StudyContext) -> Sequence[Planned]:
    """Scoring runs, pre-trainings, every level of every kind, and random masks."""
    kinds, sizes = pretrainings(context), context.scale.tickets
    planned = planned_levels(context, kinds, sizes.levels)
    base = _baseline(kinds)
    if base is not None:
        masks = sizes.levels if sizes.all_random_masks else 1
        steps = context.total_steps - base.step
        planned.append(Planned("random masks", masks * context.scale.retrain_seeds, steps))
    return planned


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """A row a kind of pre-training and level, then the random masks."""
    kinds, sizes = pretrainings(context), context.scale.tickets
    masks: dict[tuple[int, int], Any] = {}
    base = _baseline(kinds)
    for how in kinds:
        chains = [
            list(levels_of(context, how, index, sizes.levels)) for index in range(context.scale.retrain_seeds)
        ]
        if how == base:
            masks = {
                (index, ticket.level): ticket.mask for index, chain in enumerate(chains) for ticket in chain
            }
        for level in range(sizes.levels + 1):
            of_level = [chain[level] for chain in chains]
            kept[how, level] = np.stack([correct_of(ticket.run) for ticket in of_level])
            yield _row(context, how.title, how, level, of_level[0].mask, kept[how, level])
    if base is not None:
        for level in range(1 if sizes.all_random_masks else sizes.levels, sizes.levels + 1):
            rows = [
                _correct_with_random_mask(context, base, index, masks[index, level])
                for index in range(len(chains))
            ]
            kept[RANDOM_MASK, level] = np.stack(rows)
            yield _row(context, RANDOM_MASK, base, level, masks[0, level], kept[RANDOM_MASK, level])


def _correct_with_random_mask(context: StudyContext, how: Pretraining, index: int, mask: Any) -> np.ndarray:
    """Train with as many weights of every layer, drawn by chance, from the same rewinding point."""
    point = point_of(context, how, index)
    drawn = random_mask(mask, derive_seed(point.seed, "random mask"))
    label = f"random mask of {drawn.kept:,} weights, seed {index + 1}"
    return correct_of(context.count(train_from(context.setup, point, drawn, label=label), begins=point.step))


def _baseline(kinds: Sequence[Pretraining]) -> Pretraining | None:
    """All data with its labels up to the last rewinding point: what everything is held against."""
    found = [how for how in kinds if how.kind == "all" and how.labels == "clean"]
    return max(found, key=lambda how: how.step) if found else None


def _row(
    context: StudyContext, title: str, how: Pretraining, level: int, mask: Any, correct: np.ndarray
) -> Row:
    return {
        "pretraining": title,
        "kind": RANDOM_MASK if title == RANDOM_MASK else how.kind,
        "labels": how.labels,
        "rewind_step": how.step,
        "rewind_epoch": context.epoch_of(how.step),
        "examples": how.size,
        "level": level,
        "weights": mask.kept,
        "weights_of": mask.total,
        "weights_left": mask.kept / mask.total,
        **accuracy_columns(correct),
    }


@study(
    "lottery-ticket",
    "Accuracy against weights left, rewound to after pre-training on all, random, easy or hard data.",
    "Lottery Tickets on a Data Diet",
    plan=plan,
    measure=measure,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Accuracy against weights left as a figure; claims at the last level, the sparsest."""
    kinds, sizes = pretrainings(context), context.scale.tickets
    last, base = sizes.levels, _baseline(kinds)
    left = f"{100 * (1 - sizes.rate) ** last:.3g} % of the weights left"
    small = subset_sizes(context)[0] if sizes.subsets else 0

    def against(arm: Any, reference: Any) -> Measurement | None:
        return difference(kept, (arm, last), (reference, last))

    minus_all = "accuracy minus that after all data"
    claims: list[Claim] = []
    if base is not None:
        claims += [
            Claim(
                f"With {left}, pre-training on {small:,} random examples loses no more than half a point against "
                f"all data for the same {base.step:,} steps.",
                TICKETS,
                minus_all,
                against(Pretraining("random", step=base.step, size=small), base),
                above=-TOLERANCE,
            ),
            Claim(
                f"With {left}, tickets rewound to a random initialisation are worse than those rewound to "
                f"{base.step:,} steps on all data.",
                TICKETS,
                minus_all,
                against(Pretraining("init"), base),
                below=0.0,
            ),
            Claim(
                f"With {left}, random masks of the same layer sizes are worse than magnitude masks.",
                "Frankle and Carbin 2019",
                "accuracy minus that of magnitude masks",
                against(RANDOM_MASK, base),
                below=0.0,
            ),
        ]
        easy = [how for how in kinds if how.kind == "easiest" and how.labels == "clean" and how.size == small]
        if easy:
            shortest = min(easy, key=lambda how: how.step)
            sentence, bound = (
                f"With {left}, {base.step:,} steps on the {small:,} easiest examples by EL2N give a better start "
                "than as many steps on all data.",
                0.0,
            )
            if shortest.step < base.step:
                sentence, bound = (
                    f"With {left}, {shortest.step:,} steps on the {small:,} easiest examples by EL2N lose no more "
                    f"than half a point against {base.step:,} steps on all data.",
                    -TOLERANCE,
                )
            claims.append(Claim(sentence, TICKETS, minus_all, against(shortest, base), above=bound))
    return Conclusion(claims, {"lottery-ticket": _figure(context, rows)})


def _figure(context: StudyContext, rows: Sequence[Row]) -> Any:
    series: dict[str, list[Point]] = {}
    for row in rows:
        series.setdefault(row["pretraining"], []).append(in_percent(100 * row["weights_left"], row))
    figure, axes = panel(7.2, 4.8)
    draw_lines(axes, series)
    plain_log(axes, "x")
    axes.invert_xaxis()
    left = sorted({place[0] for line in series.values() for place in line})
    shown = left[:: -(-len(left) // MOST_TICKS)]
    axes.set_xticks(shown, [f"{place:.3g}" for place in shown])
    axes.set_xticks([], minor=True)
    label(axes, "weights left, %", "test accuracy, %")
    said = caption(context, context.scale.retrain_seeds, "pre-training as named", called="seeds")
    return finish(figure, axes, said)
