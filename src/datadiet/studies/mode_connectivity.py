"""Study `mode-connectivity`: from when on two children of a run stay in one valley, for easy and hard examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from datadiet.engine.points import load_weights
from datadiet.engine.runs import Run
from datadiet.foundation.errors import BadInputError
from datadiet.landscape import Barrier, error_barrier
from datadiet.studies.toolbox.claims import Claim, Measurement, mean_difference, mean_within
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import caption, in_epochs, lines
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, study

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, section on linear mode connectivity"
GROUPS = ("easiest", "random", "hardest")
ALPHAS = 11
ESTIMATED_ON = 1_024  # examples that BatchNorm statistics on the line are re-estimated on
CONNECTED = 0.02  # our choice: a barrier of at most two points of error counts as none
LEAST = 4  # examples a group
PARENTS = 3  # at least: with fewer, no interval is short enough to decide anything


def moments(context: StudyContext) -> list[int]:
    """Steps t* at which children leave their parent: not the last one, where there is nothing left to train."""
    return [step for step in context.score_steps.values() if step < context.total_steps]


def parents(context: StudyContext) -> int:
    """How many scoring runs are parents: as many as there would be retrainings, three at least."""
    return max(PARENTS, context.scale.retrain_seeds)


def group_size(context: StudyContext) -> int:
    """Examples in each group: so few that easiest and hardest are apart; less than asked is noted.

    Raises:
        BadInputError: too few examples for any group.
    """
    have, wanted = len(context.setup.examples.train), context.scale.group
    size = min(wanted, have // 4)
    if size < LEAST:
        raise BadInputError(
            f"mode-connectivity compares groups of a quarter of the data at most; {have} training examples are "
            f"too few, it takes {4 * LEAST}."
        )
    if size < wanted:
        context.note(f"The groups have {size:,} examples in place of {wanted:,}: a quarter of {have:,}.")
    return size


def plan(context: StudyContext) -> Sequence[Planned]:
    """Scoring runs, and two children a parent and moment."""
    group_size(context)
    count = 2 * parents(context)
    return [
        Planned("scoring runs", max(context.scale.score_seeds, parents(context)), context.total_steps),
        *(
            Planned(f"children from epoch {context.epoch_of(step):g} on", count, context.total_steps - step)
            for step in moments(context)
        ),
    ]


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """A row a moment and group: barriers of all parents' pairs of children."""
    ids = context.setup.examples.train.ids
    hardness = context.hardness("el2n", context.score_step)
    places = groups_by_hardness(hardness, group_size(context), context.seed)
    groups = {name: ids[place] for name, place in places.items()}
    paths = kept.setdefault("paths", [])
    for step in moments(context):
        found = [
            between_children(context, context.scoring_run(i), step, groups) for i in range(parents(context))
        ]
        for name in GROUPS:
            parts = [line.of(groups[name]) for line in found]
            barriers = [part.barrier for part in parts]
            yield {
                "epoch": context.epoch_of(step),
                "step": step,
                "group": name,
                "n": len(groups[name]),
                "barrier": float(np.mean(barriers)),
                "least": min(barriers),
                "largest": max(barriers),
                "parents": len(barriers),
                "barriers": barriers,
                "loss_barrier": float(np.mean([part.loss_barrier for part in parts])),
                "error_at_ends": float(np.mean([float(part.error[[0, -1]].mean()) for part in parts])),
                "batchnorm": parts[0].batchnorm,
            }
            for parent, part in enumerate(parts):
                place = {"epoch": context.epoch_of(step), "parent": parent, "group": name}
                points = zip(part.alphas.tolist(), part.error.tolist(), part.loss.tolist(), strict=True)
                paths += [
                    place | {"alpha": alpha, "error": error, "loss": loss} for alpha, error, loss in points
                ]


def groups_by_hardness(hardness: np.ndarray, size: int, seed: int) -> dict[str, np.ndarray]:
    """Positions of the easiest, the hardest and of random examples, `size` each.

    Example:
        >>> found = groups_by_hardness(np.array([0.3, 0.1, 0.9, 0.5]), 1, seed=0)
        >>> found["easiest"].tolist(), found["hardest"].tolist()
        ([1], [2])
    """
    order = np.lexsort((np.arange(len(hardness)), hardness))
    drawn = np.random.default_rng([seed, 0x67]).choice(len(hardness), size=size, replace=False)
    return {"easiest": np.sort(order[:size]), "hardest": np.sort(order[-size:]), "random": np.sort(drawn)}


def between_children(
    context: StudyContext, parent: Run, step: int, groups: Mapping[str, np.ndarray]
) -> Barrier:
    """The line between two children of a parent, evaluated on all groups at once."""
    children = (context.child(parent, step, index) for index in range(2))
    ends = [load_weights(context.setup, child, child.total_steps)[0] for child in children]
    return line_between(context, ends, np.unique(np.concatenate(list(groups.values()))))


def line_between(context: StudyContext, ends: Sequence[nn.Module], examples: np.ndarray) -> Barrier:
    """The line between two networks, evaluated on some training examples; statistics are re-estimated on it."""
    setup = context.setup
    generator = np.random.default_rng([context.seed, 0xB2])
    everything = setup.examples.train.ids
    sample = np.sort(generator.choice(everything, min(len(everything), ESTIMATED_ON), replace=False))
    return error_barrier(
        ends[0],
        ends[1],
        lambda: context.batches(examples, 256),
        ALPHAS,
        batchnorm="reestimated",
        estimate_on=lambda: context.batches(sample, 256),
        task=setup.task,
        autocast=torch.bfloat16 if setup.recipe.precision == "bfloat16" else None,
    )


@study(
    "mode-connectivity",
    "Training-error barrier between children spawned at t*, on the easiest, hardest and random examples.",
    "Deep Learning on a Data Diet, study 6",
    plan=plan,
    measure=measure,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Barriers by t* as a figure; claims on the first moment after initialisation and on the last."""
    barriers = {(row["step"], row["group"]): row["barriers"] for row in rows}
    steps, one_example = moments(context), 1 / rows[0]["n"]
    early = next((step for step in steps if step), None)

    def change(first: tuple[int, str], second: tuple[int, str]) -> Measurement | None:
        return mean_difference(
            barriers.get(first), barriers.get(second), "parents", -1, 1, resolution=one_example
        )

    claims: list[Claim] = []
    if early is not None:
        easiest = barriers.get((early, "easiest"))
        at = in_epochs(context.epoch_of(early))
        claims = [
            Claim(
                f"Children that part after {at} have a higher barrier on the hardest examples than on the easiest.",
                DATA_DIET,
                "error barrier on the hardest minus on the easiest, share of examples",
                change((early, "hardest"), (early, "easiest")),
            ),
            Claim(
                f"On the easiest examples, children that part after {at} are connected (barrier under 2 points).",
                DATA_DIET,
                "error barrier on the easiest, share of examples",
                mean_within(easiest, "parents", 0, 1, resolution=one_example) if easiest else None,
                below=CONNECTED,
            ),
            Claim(
                "On the hardest examples the barrier falls the later the children part: "
                f"after {in_epochs(context.epoch_of(steps[-1]))} it is lower than from initialisation.",
                DATA_DIET,
                "error barrier on the hardest from the last t* minus from initialisation",
                change((steps[-1], "hardest"), (0, "hardest")),
                below=0.0,
            ),
        ]
    series = {
        name: [
            (row["epoch"], 100 * row["barrier"], 100 * row["least"], 100 * row["largest"])
            for row in rows
            if row["group"] == name
        ]
        for name in GROUPS
    }
    more = f"groups of {rows[0]['n']:,}; bars span parents"
    figure = lines(
        series,
        x="epoch t* at which two children part",
        y="training error barrier, points",
        title=caption(context, parents(context), more, called="parents"),
        height=4.2,
    )
    return Conclusion(claims, {"mode-connectivity": figure}, {"paths": kept.get("paths", [])})
