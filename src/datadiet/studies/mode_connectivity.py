"""Study `mode-connectivity`: from when on two children of a run stay in one valley, for easy and hard examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from datadiet.data import Batch
from datadiet.engine.points import load_weights
from datadiet.engine.runs import Run
from datadiet.foundation.errors import BadInputError
from datadiet.landscape import Barrier, error_barrier
from datadiet.pages.report.canvas import LIGHT, dress, new_figure
from datadiet.studies.toolbox.claims import Claim, Measured, mean_within
from datadiet.studies.toolbox.context import Workbench, groups_by_hardness
from datadiet.studies.toolbox.figures import caption, draw_lines, finish, in_epochs, spread_of
from datadiet.studies.toolbox.study import Conclusion, Planned, Row, Study, add_study

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, section on linear mode connectivity"
GROUPS = ("easiest", "random", "hardest")
ALPHAS = 11
ESTIMATED_ON = 1_024  # examples that BatchNorm statistics on the line are re-estimated on
CONNECTED = 0.02  # our choice: a barrier of at most two points of error counts as none
LEAST = 4  # examples a group
PARENTS = 3  # at least: with fewer, no interval is short enough to decide anything


def moments(bench: Workbench) -> list[int]:
    """Steps t* at which children leave their parent: not the last one, where there is nothing left to train."""
    return [step for step in bench.score_steps.values() if step < bench.total_steps]


def parents(bench: Workbench) -> int:
    """How many scoring runs are parents: as many as there would be retrainings, three at least."""
    return max(PARENTS, bench.scale.retrain_seeds)


def group_size(bench: Workbench) -> int:
    """Examples in each group: so few that easiest and hardest are apart; less than asked is noted.

    Raises:
        BadInputError: too few examples for any group.
    """
    have, wanted = len(bench.setup.examples.train), bench.scale.group
    size = min(wanted, have // 4)
    if size < LEAST:
        raise BadInputError(
            f"mode-connectivity compares groups of a quarter of the data at most; {have} training examples are "
            f"too few, it takes {4 * LEAST}."
        )
    note = f"The groups have {size:,} examples in place of {wanted:,}: a quarter of {have:,}."
    if size < wanted and note not in bench.notes:
        bench.notes.append(note)
    return size


def plan(bench: Workbench) -> Sequence[Planned]:
    """Scoring runs, and two children a parent and moment."""
    group_size(bench)
    count = 2 * parents(bench)
    return [
        Planned("scoring runs", max(bench.scale.score_seeds, parents(bench)), bench.total_steps),
        *(
            Planned(f"children from epoch {bench.epoch_of(step):g} on", count, bench.total_steps - step)
            for step in moments(bench)
        ),
    ]


def measure(bench: Workbench, kept: dict[str, Any]) -> Iterator[Row]:
    """A row a moment and group: barriers of all parents' pairs of children."""
    ids = bench.setup.examples.train.ids
    hardness = bench.hardness("el2n", bench.score_step)
    groups = {
        name: ids[at] for name, at in groups_by_hardness(hardness, group_size(bench), bench.seed).items()
    }
    paths = kept.setdefault("paths", [])
    for step in moments(bench):
        found = [between_children(bench, bench.scoring_run(i), step, groups) for i in range(parents(bench))]
        for name in GROUPS:
            parts = [line.of(groups[name]) for line in found]
            barriers = [part.barrier for part in parts]
            _, least, largest = spread_of(barriers)
            yield {
                "epoch": bench.epoch_of(step),
                "step": step,
                "group": name,
                "n": len(groups[name]),
                "barrier": float(np.mean(barriers)),
                "least": least,
                "largest": largest,
                "parents": len(barriers),
                "barriers": barriers,
                "loss_barrier": float(np.mean([part.loss_barrier for part in parts])),
                "error_at_ends": float(np.mean([float(part.error[[0, -1]].mean()) for part in parts])),
                "batchnorm": parts[0].batchnorm,
            }
            for parent, part in enumerate(parts):
                points = zip(part.alphas.tolist(), part.error.tolist(), part.loss.tolist(), strict=True)
                for alpha, error, loss in points:
                    place = {"epoch": bench.epoch_of(step), "parent": parent, "group": name}
                    paths.append({**place, "alpha": alpha, "error": error, "loss": loss})


def between_children(bench: Workbench, parent: Run, step: int, groups: Mapping[str, np.ndarray]) -> Barrier:
    """The line between two children of a parent, evaluated on all groups at once."""
    setup = bench.setup
    ends = []
    for index in range(2):
        child = bench.child(parent, step, index)
        ends.append(load_weights(setup, child, child.total_steps)[0])
    return line_between(bench, ends, np.unique(np.concatenate(list(groups.values()))))


def line_between(bench: Workbench, ends: Sequence[nn.Module], examples: np.ndarray) -> Barrier:
    """The line between two networks, evaluated on some training examples; statistics are re-estimated on it."""
    setup = bench.setup
    generator = np.random.default_rng([bench.seed, 0xB2])
    everything = setup.examples.train.ids
    sample = np.sort(generator.choice(everything, min(len(everything), ESTIMATED_ON), replace=False))

    def batches(ids: np.ndarray) -> Iterator[Batch]:
        channels_last = setup.recipe.memory_format == "channels_last"
        return setup.train.epoch(
            ids,
            batch_size=256,
            device=setup.accelerator.device,
            memory_format=torch.channels_last if channels_last else torch.contiguous_format,
        )

    return error_barrier(
        ends[0],
        ends[1],
        lambda: batches(examples),
        ALPHAS,
        batchnorm="reestimated",
        estimate_on=lambda: batches(sample),
        task=setup.task,
        autocast=torch.bfloat16 if setup.recipe.precision == "bfloat16" else None,
    )


def conclude(bench: Workbench, rows: Sequence[Row], kept: Mapping[str, Any]) -> Conclusion:
    """Barriers by t* as a figure; claims on the first moment after initialisation and on the last."""
    barriers = {(row["step"], row["group"]): row["barriers"] for row in rows}
    steps = moments(bench)
    early = next((step for step in steps if step), None)

    def difference(first: tuple[int, str], second: tuple[int, str]) -> Measured | None:
        if first not in barriers or second not in barriers:
            return None
        pairs = zip(barriers[first], barriers[second], strict=True)
        return mean_within([one - other for one, other in pairs], "parents", -1, 1)

    claims: list[tuple[Claim, Measured | None]] = []
    if early is not None:
        at = in_epochs(bench.epoch_of(early))
        claims = [
            (
                Claim(
                    f"Children that part after {at} have a higher barrier on the hardest examples than on the easiest.",
                    DATA_DIET,
                    "error barrier on the hardest minus on the easiest, share of examples",
                ),
                difference((early, "hardest"), (early, "easiest")),
            ),
            (
                Claim(
                    f"On the easiest examples, children that part after {at} are connected (barrier under 2 points).",
                    DATA_DIET,
                    "error barrier on the easiest, share of examples",
                    "below",
                    CONNECTED,
                ),
                mean_within(barriers[early, "easiest"], "parents", 0, 1)
                if (early, "easiest") in barriers
                else None,
            ),
            (
                Claim(
                    "On the hardest examples the barrier falls the later the children part: "
                    f"after {in_epochs(bench.epoch_of(steps[-1]))} it is lower than from initialisation.",
                    DATA_DIET,
                    "error barrier on the hardest from the last t* minus from initialisation",
                    "below",
                ),
                difference((steps[-1], "hardest"), (0, "hardest")),
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
    figure = new_figure(LIGHT, 6.4, 4.2)
    axes = figure.add_subplot()
    draw_lines(axes, {name: points for name, points in series.items() if points})
    axes.set_xlabel("epoch t* at which two children part")
    axes.set_ylabel("training error barrier, points")
    dress(axes, LIGHT)
    more = f"groups of {rows[0]['n']:,}; bars span parents"
    finish(figure, axes, caption(bench, parents(bench), more, called="parents"))
    return Conclusion(claims, {"mode-connectivity": figure}, {"paths": kept.get("paths", [])})


STUDY = add_study(
    Study(
        name="mode-connectivity",
        title="Training-error barrier between children spawned at t*, on the easiest, hardest and random examples.",
        source="Deep Learning on a Data Diet, study 6",
        plan=plan,
        measure=measure,
        conclude=conclude,
    )
)
