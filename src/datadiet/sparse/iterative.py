"""Iterative magnitude pruning with rewinding: train, prune, rewind, again and again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from datadiet.engine.reloading import read_examples
from datadiet.engine.runs import Run
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.errors import BadInputError
from datadiet.sparse.masks import Mask, Scope, full_mask, magnitude_mask, schedule_to, sparsity_schedule
from datadiet.sparse.rewinding import (
    RewindingPoint,
    check_rewinding_step,
    pretrain,
    train_from,
    with_random_labels,
)

REWIND_SHARE = 0.05  # of the training: our choice, where nobody gives a rewinding point


@dataclass(frozen=True)
class Ticket:
    """One level: a mask, and the network trained with it from the rewinding point.

    Attributes:
        level: 0 is the dense network.
        sparsity: that was asked for.
        mask: which weights stay.
        run: the finished training.
        accuracy: on the test part, a fraction.
    """

    level: int
    sparsity: float
    mask: Mask
    run: Run
    accuracy: float


@dataclass(frozen=True)
class Tickets:
    """What `iterative_magnitude_pruning` found.

    Attributes:
        point: what every level was rewound to.
        levels: the dense network and the tickets, from dense to sparse.
    """

    point: RewindingPoint
    levels: Sequence[Ticket]

    def table(self) -> list[dict[str, Any]]:
        """One row a level: `level`, `weights` that stay, `of`, `sparsity`, `accuracy`, `run` (its folder's name)."""
        return [
            {
                "level": ticket.level,
                "weights": ticket.mask.kept,
                "of": ticket.mask.total,
                "sparsity": ticket.mask.sparsity,
                "accuracy": ticket.accuracy,
                "run": ticket.run.folder.path.name,
            }
            for ticket in self.levels
        ]


def iterative_magnitude_pruning(
    source: Any,
    *,
    levels: int = 8,
    rate: float = 0.2,
    sparsity: float | None = None,
    rewind_step: int | None = None,
    pretrain_ids: np.ndarray | None = None,
    pretrain_labels: str = "clean",
    ids: np.ndarray | None = None,
    scope: Scope = "global",
    biases: bool = False,
    norms: bool = False,
    head: bool = True,
    include: Sequence[str] | None = None,
    rewind_optimizer: bool = False,
    allow_empty_layer: bool = False,
    seed: int = 0,
    recipe: str | Recipe = "fast",
    workspace: str | Path = "runs",
    **options: Any,
) -> Tickets:
    """Pre-train to a rewinding point; then train to the end, prune the smallest weights, rewind the rest, repeat.

    Every level is a run of the workspace: what is there is not trained again, and a call that was killed goes on
    where it stopped. The same seed gives every level the same initialisation, order and augmentation.

    Args:
        source: anything that `datadiet.load` takes, or `Examples`.
        levels: how often weights are pruned.
        rate: share of what is left that each level removes.
        sparsity: in place of `rate`: share of all weights that is removed at the last level.
        rewind_step: where pre-training ends and every level begins; None for a twentieth of the training.
        pretrain_ids: what pre-training sees; None for the same as the rest of the training.
        pretrain_labels: "clean", or "random": pre-training sees shuffled labels.
        ids: what is trained on after the rewinding point; None for all.
        scope: "global" or "layer", see `magnitude_mask`; so are `biases`, `norms`, `head`, `include` and
            `allow_empty_layer`.
        rewind_optimizer: rewind the optimiser's state as well; else every level begins with it at rest.
        seed: of everything.
        recipe: "fast", "paper", "finetune", a YAML file, or a `Recipe`.
        workspace: where runs live.
        options: further arguments of `datadiet.engine.setup.prepare`.

    Raises:
        BadInputError: no levels, a sparsity outside [0, 1) or one that empties a layer, a rewinding point after
            the end, a pre-training subset smaller than a batch.
        RunFailedError: a training broke off; what was finished is found again by the next call.

    Source:
        Frankle, Dziugaite, Roy, Carbin 2020, "Linear Mode Connectivity and the Lottery Ticket Hypothesis",
        algorithm 2; pre-training on parts of the data: Paul, Larsen et al. 2022, "Lottery Tickets on a Data
        Diet".
    """
    planned = sparsity_schedule(levels, rate) if sparsity is None else schedule_to(sparsity, levels)
    if pretrain_labels not in ("clean", "random"):
        raise BadInputError(f"pretrain_labels is {pretrain_labels!r}; it must be 'clean' or 'random'.")
    examples = read_examples(source, display=options.get("display"))
    with contextlib.ExitStack() as stack:
        setup = prepare(examples, recipe, workspace=workspace, **options)
        stack.callback(setup.close)
        chosen = checked_ids(setup, ids)
        first = chosen if pretrain_ids is None else checked_ids(setup, pretrain_ids)
        total = setup.recipe.total_steps(
            len(examples.train.ids if chosen is None else chosen), len(examples.train)
        )
        step = rewinding_step(total) if rewind_step is None else rewind_step
        check_rewinding_step(step, total)
        before = setup
        if pretrain_labels == "random":
            shuffled = with_random_labels(examples, seed)
            before = prepare(shuffled, setup.recipe, workspace=setup.workspace, **options)
            stack.callback(before.close)
        setup.display.plan(step + (total - step) * len(planned), "pruning")
        point = pretrain(before, seed, step, ids=first, total=total)
        found = tickets(
            setup,
            point,
            planned,
            ids=chosen,
            optimizer=rewind_optimizer,
            allow_empty_layer=allow_empty_layer,
            scope=scope,
            biases=biases,
            norms=norms,
            head=head,
            include=include,
        )
        return Tickets(point, list(found))


def tickets(
    setup: Setup,
    point: RewindingPoint,
    sparsities: Sequence[float],
    *,
    ids: np.ndarray | None = None,
    optimizer: bool = False,
    label: str = "",
    allow_empty_layer: bool = False,
    count: Callable[[Run], Any] | None = None,
    **prune: Any,
) -> Iterator[Ticket]:
    """The levels one after the other, for loops of one's own.

    Args:
        setup: data, recipe, machine.
        point: what every level is rewound to.
        sparsities: of the levels, ascending, the first 0; see `sparsity_schedule`.
        ids: what is trained on; None for all.
        optimizer: see `train_from`.
        label: what the progress bar calls it.
        allow_empty_layer: go on where a layer has no weights left; it is said.
        count: called with every run.
        prune: `scope`, `biases`, `norms`, `head` and `include` of `magnitude_mask`.
    """
    scope = prune.pop("scope", "global")
    model = setup.build(point.seed)
    mask, run = full_mask(model, **prune), None
    for level, sparsity in enumerate(sparsities):
        if run is not None:
            last = load_last_weights(model, run)
            mask = magnitude_mask(
                last, sparsity, scope, within=mask, allow_empty_layer=allow_empty_layer, **prune
            )
            if mask.emptied:
                setup.display.say(f"Level {level} leaves no weight of {', '.join(mask.emptied)}.")
        called = f"{label or f'seed {point.seed}'}, level {level} of {len(sparsities) - 1}"
        run = train_from(setup, point, mask, ids=ids, optimizer=optimizer, label=called)
        if count is not None:
            count(run)
        elif not run.trained:
            setup.display.skip(run.total_steps - point.step)
        assert run.result is not None
        yield Ticket(level, sparsity, mask, run, float(run.result["accuracy"]))


def load_last_weights(model: nn.Module, run: Run) -> nn.Module:
    """The model with a run's last weights."""
    model.load_state_dict(run.weights(run.total_steps)[0])
    return model


def rewinding_step(total: int) -> int:
    """The rewinding point where none is given: a twentieth of the training, at least a step where there are two.

    Example:
        >>> rewinding_step(200), rewinding_step(1)
        (10, 0)
    """
    return min(total - 1, max(1, round(REWIND_SHARE * total)))


def checked_ids(setup: Setup, ids: np.ndarray | None) -> np.ndarray | None:
    """Sorted ids of the training part, each once; None stays None."""
    if ids is None:
        return None
    chosen = np.unique(np.asarray(ids, dtype=np.int64))
    if len(chosen) != len(ids):
        raise BadInputError("Some ids are given twice; give each once.")
    setup.examples.train.positions_of(chosen)
    return chosen
