"""What the ticket studies share: kinds of pre-training, their rewinding points, and levels of pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from datadiet.engine.training.seeding import derive_seed
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.compare import FRESH_SEEDS
from datadiet.sparse.iterative import Ticket, tickets
from datadiet.sparse.masks import sparsity_schedule
from datadiet.sparse.rewinding import RewindingPoint, pretrain, with_random_labels
from datadiet.studies.toolbox.context import Workbench
from datadiet.studies.toolbox.study import Conclusion, Planned, Row, Study

Kind = Literal["init", "all", "random", "easiest", "hardest"]
Labels = Literal["clean", "random"]
BY_SCORE = ("easiest", "hardest")


@dataclass(frozen=True)
class Sizes:
    """How large the ticket studies are.

    Args:
        levels: how often weights are pruned.
        rate: share of what is left that a level removes.
        rewinds: rewinding points as shares of the training.
        subsets: sizes of pre-training subsets as shares of the data, at least a batch.
        kinds: kinds of pre-training data.
        labels: labels of pre-training.
        crossed: every kind at every rewinding point; else easiest only at the first one and the others only at
            the last one, which is what the claims look at.
        all_random_masks: the random-mask baseline at every level; else at the last one.
        connected_level: level whose tickets `ticket-connectivity` looks at.
        children: dense children of a rewinding point, each pair of which makes a line.
    """

    levels: int
    rate: float
    rewinds: tuple[float, ...]
    subsets: tuple[float, ...]
    kinds: tuple[Kind, ...] = ("init", "all", "random", "easiest", "hardest")
    labels: tuple[Labels, ...] = ("clean",)
    crossed: bool = True
    all_random_masks: bool = True
    connected_level: int = 1
    children: int = 2


# The papers' own: 200 and 400 of 62,400 steps, 256 to 25,600 of 50,000 examples, 16 levels of 20 %, level 12 shown.
SIZES = {
    "smoke": Sizes(
        2,
        0.8,
        (0.05, 0.15),
        (0.1,),
        kinds=("init", "all", "random", "easiest"),
        crossed=False,
        all_random_masks=False,
    ),
    "fast": Sizes(6, 0.4, (0.02, 0.06), (0.02,), connected_level=4),
    "paper": Sizes(
        16,
        0.2,
        (200 / 62_400, 400 / 62_400),
        (0.00512, 0.0512, 0.512),
        labels=("clean", "random"),
        connected_level=12,
        children=3,
    ),
}


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
        seen = {"all": "all data", "random": f"{self.size:,} random"}.get(
            self.kind, f"{self.size:,} {self.kind}"
        )
        shuffled = ", labels shuffled" if self.labels == "random" else ""
        return f"{seen}{shuffled}, {self.step:,} steps"


def sized_study(
    name: str,
    title: str,
    sizes: Sizes | None,
    plan: Callable[[Workbench, Sizes], Sequence[Planned]],
    measure: Callable[[Workbench, dict[str, Any], Sizes], Iterator[Row]],
    conclude: Callable[[Workbench, Sequence[Row], Mapping[str, Any], Sizes], Conclusion],
) -> Study:
    """A study of tickets, with sizes of its own or, where they are None, those of the scale."""

    def chosen(bench: Workbench) -> Sizes:
        return SIZES[bench.scale.name] if sizes is None else sizes

    return Study(
        name=name,
        title=title,
        source="Lottery Tickets on a Data Diet",
        plan=lambda bench: plan(bench, chosen(bench)),
        measure=lambda bench, kept: measure(bench, kept, chosen(bench)),
        conclude=lambda bench, rows, kept: conclude(bench, rows, kept, chosen(bench)),
    )


def check_sizes(bench: Workbench, sizes: Sizes) -> None:
    """Refuse sizes that cannot be met before anything is trained.

    Raises:
        BadInputError: no levels, a rate or a share outside (0, 1), or a subset that is smaller than a batch.
    """
    sparsity_schedule(sizes.levels, sizes.rate)
    for name in ("rewinds", "subsets"):
        for share in getattr(sizes, name):
            if not 0 < share < 1:
                raise BadInputError(f"{name} are shares between 0 and 1, not {share:g}.")
    batch, have = bench.setup.recipe.batch_size, len(bench.setup.examples.train)
    if have <= batch:
        raise BadInputError(
            f"A pre-training subset has a batch of {batch} examples or more, and there are only {have} in all; "
            "take a smaller --batch-size."
        )


def rewinding_steps(bench: Workbench, sizes: Sizes) -> list[int]:
    """Rewinding points in steps, ascending: at least one step, and before the end."""
    total = bench.total_steps
    return sorted({min(total - 1, max(1, round(share * total))) for share in sizes.rewinds})


def subset_sizes(bench: Workbench, sizes: Sizes) -> list[int]:
    """Sizes of pre-training subsets, ascending: at least a batch; less data than all."""
    have, batch = len(bench.setup.examples.train), bench.setup.recipe.batch_size
    found = set()
    for share in sizes.subsets:
        size = round(share * have)
        if size < batch:
            note = f"A pre-training subset has {batch:,} examples, a batch, in place of {size:,}."
            if note not in bench.notes:
                bench.notes.append(note)
        found.add(max(batch, size))
    return sorted(found)


def pretrainings(bench: Workbench, sizes: Sizes) -> list[Pretraining]:
    """The kinds of pre-training of a study, initialisation and all data first."""
    check_sizes(bench, sizes)
    steps, have = rewinding_steps(bench, sizes), len(bench.setup.examples.train)
    found = [Pretraining("init")] if "init" in sizes.kinds else []
    for kind in (kind for kind in sizes.kinds if kind != "init"):
        at = steps
        if not sizes.crossed:
            at = steps[:1] if kind == "easiest" else steps[-1:]
        counts = [have] if kind == "all" else subset_sizes(bench, sizes)
        found += [
            Pretraining(kind, labels, step, size) for labels in sizes.labels for step in at for size in counts
        ]
    return found


def subset_of(bench: Workbench, how: Pretraining, index: int) -> np.ndarray | None:
    """The ids that pre-training sees with the index-th seed; None for all."""
    if how.kind in ("init", "all"):
        return None
    ids = bench.setup.examples.train.ids
    if how.kind == "random":
        generator = np.random.default_rng(derive_seed(bench.seed, "ticket subset", how.size, index))
        return np.sort(generator.choice(ids, size=how.size, replace=False))
    hardness = bench.hardness("el2n", bench.score_step)
    order = ids[np.lexsort((ids, hardness))]
    return np.sort(order[: how.size] if how.kind == "easiest" else order[-how.size :])


def point_of(bench: Workbench, how: Pretraining, index: int) -> RewindingPoint:
    """The rewinding point of the index-th seed after that pre-training."""
    seed = bench.seed + FRESH_SEEDS + index
    on = bench.setup
    if how.labels == "random" and how.step:
        on = bench.on(with_random_labels(bench.setup.examples, bench.seed)).setup
    return pretrain(
        on,
        seed,
        how.step,
        ids=subset_of(bench, how, index),
        total=bench.total_steps,
        label=f"pre-training on {how.title}, seed {index + 1}",
    )


def levels_of(
    bench: Workbench, how: Pretraining, index: int, sizes: Sizes, through: int | None = None
) -> Iterator[Ticket]:
    """The levels of iterative pruning from there, dense network first."""
    point = point_of(bench, how, index)
    for ticket in tickets(
        bench.setup,
        point,
        sparsity_schedule(sizes.levels, sizes.rate)[: None if through is None else through + 1],
        label=f"{how.title}, seed {index + 1}",
        allow_empty_layer=True,
        count=lambda run: bench.count(run, begins=point.step),
    ):
        if ticket.mask.emptied:
            bench.notes.append(
                f"After {how.title}, seed {index + 1}, level {ticket.level} leaves no weight of "
                f"{', '.join(ticket.mask.emptied)}."
            )
        yield ticket


def planned_levels(
    bench: Workbench, chosen: Sequence[Pretraining], sizes: Sizes, levels: int
) -> list[Planned]:
    """The runs of pre-training and of levels 0 to `levels`."""
    seeds = bench.scale.retrain_seeds
    scored = any(how.kind in BY_SCORE for how in chosen)
    found = [Planned("scoring runs", bench.scale.score_seeds if scored else 0, bench.total_steps)]
    for how in chosen:
        if how.step:
            found.append(Planned(f"pre-trainings on {how.title}", seeds, how.step))
        found.append(
            Planned(f"levels of pruning from {how.title}", seeds * (levels + 1), bench.total_steps - how.step)
        )
    return found
