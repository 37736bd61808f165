"""What the ticket studies share: kinds of pre-training, their rewinding points, and levels of pruning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from datadiet.engine.training.randomness import derive_seed
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.arms import FRESH_SEEDS
from datadiet.sparse.iterative import Ticket, tickets
from datadiet.sparse.masks import sparsity_schedule
from datadiet.sparse.rewinding import RewindingPoint, pretrain, with_random_labels
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.protocol import Planned
from datadiet.studies.toolbox.scale import Kind, Labels


@dataclass(frozen=True)
class Pretraining:
    """One kind of pre-training.

    Args:
        kind: what it sees: "init" for nothing, "all", "random", "easiest" or "hardest".
        labels: "clean" or "random".
        step: how long it is; the rewinding point.
        size: examples it sees.
    """

    kind: Kind
    labels: Labels = "clean"
    step: int = 0
    size: int = 0

    @property
    def title(self) -> str:
        """What it is called in figures."""
        if self.kind == "init":
            return "initialisation"
        seen = "all data" if self.kind == "all" else f"{self.size:,} {self.kind}"
        shuffled = ", labels shuffled" if self.labels == "random" else ""
        return f"{seen}{shuffled}, {self.step:,} steps"


def check_sizes(context: StudyContext) -> None:
    """Refuse sizes of tickets that cannot be met before anything is trained.

    Raises:
        BadInputError: no levels, a rate or a share outside (0, 1), or a subset that is smaller than a batch.
    """
    sizes = context.scale.tickets
    sparsity_schedule(sizes.levels, sizes.rate)
    for name in ("rewinds", "subsets"):
        for share in getattr(sizes, name):
            if not 0 < share < 1:
                raise BadInputError(f"{name} are shares between 0 and 1, not {share:g}.")
    batch, have = context.setup.recipe.batch_size, len(context.setup.examples.train)
    if have <= batch:
        raise BadInputError(
            f"A pre-training subset has a batch of {batch} examples or more, and there are only {have} in all; "
            "take a smaller --batch-size."
        )


def subset_sizes(context: StudyContext) -> list[int]:
    """Sizes of pre-training subsets, ascending: at least a batch; less data than all."""
    have, batch = len(context.setup.examples.train), context.setup.recipe.batch_size
    wanted = [round(share * have) for share in context.scale.tickets.subsets]
    for size in wanted:
        if size < batch:
            context.note(f"A pre-training subset has {batch:,} examples, a batch, in place of {size:,}.")
    return sorted({max(batch, size) for size in wanted})


def pretrainings(context: StudyContext) -> list[Pretraining]:
    """The kinds of pre-training of a study, initialisation and all data first.

    Rewinding points are at least one step, and before the end.
    """
    check_sizes(context)
    sizes, total, have = context.scale.tickets, context.total_steps, len(context.setup.examples.train)
    steps = sorted({min(total - 1, max(1, round(share * total))) for share in sizes.rewinds})
    found = [Pretraining("init")] if "init" in sizes.kinds else []
    for kind in (kind for kind in sizes.kinds if kind != "init"):
        at = steps
        if not sizes.crossed:
            at = steps[:1] if kind == "easiest" else steps[-1:]
        counts = [have] if kind == "all" else subset_sizes(context)
        found += [
            Pretraining(kind, labels, step, size) for labels in sizes.labels for step in at for size in counts
        ]
    return found


def subset_of(context: StudyContext, how: Pretraining, index: int) -> np.ndarray | None:
    """The ids that pre-training sees with the index-th seed; None for all."""
    if how.kind in ("init", "all"):
        return None
    ids = context.setup.examples.train.ids
    if how.kind == "random":
        generator = np.random.default_rng(derive_seed(context.seed, "ticket subset", how.size, index))
        return np.sort(generator.choice(ids, size=how.size, replace=False))
    hardness = context.hardness("el2n", context.score_step)
    order = ids[np.lexsort((ids, hardness))]
    return np.sort(order[: how.size] if how.kind == "easiest" else order[-how.size :])


def point_of(context: StudyContext, how: Pretraining, index: int) -> RewindingPoint:
    """The rewinding point of the index-th seed after that pre-training."""
    seed = context.seed + FRESH_SEEDS + index
    on = context.setup
    if how.labels == "random" and how.step:
        on = context.on(with_random_labels(context.setup.examples, context.seed)).setup
    return pretrain(
        on,
        seed,
        how.step,
        ids=subset_of(context, how, index),
        total=context.total_steps,
        label=f"pre-training on {how.title}, seed {index + 1}",
    )


def levels_of(context: StudyContext, how: Pretraining, index: int, through: int) -> Iterator[Ticket]:
    """The levels of iterative pruning from there, dense network first, through the given one."""
    point, sizes = point_of(context, how, index), context.scale.tickets
    for ticket in tickets(
        context.setup,
        point,
        sparsity_schedule(sizes.levels, sizes.rate)[: through + 1],
        label=f"{how.title}, seed {index + 1}",
        allow_empty_layer=True,
        count=lambda run: context.count(run, begins=point.step),
    ):
        if ticket.mask.emptied:
            emptied = ", ".join(ticket.mask.emptied)
            where = f"After {how.title}, seed {index + 1}, level {ticket.level}"
            context.note(f"{where} leaves no weight of {emptied}.")
        yield ticket


def planned_levels(context: StudyContext, chosen: Sequence[Pretraining], levels: int) -> list[Planned]:
    """The runs of pre-training and of levels 0 to `levels`."""
    seeds = context.scale.retrain_seeds
    scored = any(how.kind in ("easiest", "hardest") for how in chosen)
    found = [Planned("scoring runs", context.scale.score_seeds if scored else 0, context.total_steps)]
    for how in chosen:
        if how.step:
            found.append(Planned(f"pre-trainings on {how.title}", seeds, how.step))
        found.append(
            Planned(
                f"levels of pruning from {how.title}", seeds * (levels + 1), context.total_steps - how.step
            )
        )
    return found
