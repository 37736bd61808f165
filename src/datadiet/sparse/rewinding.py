"""Runs that begin at a rewinding point: pre-training up to it, and dense or sparse training from it on."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from datadiet.data import Examples
from datadiet.data.fingerprint import fingerprint
from datadiet.engine.runs import Run, describe, train_described
from datadiet.engine.setup import Setup
from datadiet.engine.training.checkpoint import TrainingState, weights_hash
from datadiet.engine.training.loop import TrainingLoop
from datadiet.engine.training.randomness import derive_seed
from datadiet.engine.workspace import RunFolder
from datadiet.foundation.errors import BadInputError
from datadiet.sparse.masks import Mask, apply_mask


@dataclass(frozen=True, eq=False)
class RewindingPoint:
    """A moment that networks are rewound to.

    Attributes:
        step: of the schedule; training goes on from there.
        seed: of the run that it comes from.
        model: parameters and BatchNorm statistics, by name, on the CPU.
        weights: hash of `model`.
        optimizer: the optimiser's state at that moment; None where it was not kept.
    """

    step: int
    seed: int
    model: Mapping[str, torch.Tensor]
    weights: str
    optimizer: Mapping[str, Any] | None = None


def rewinding_point(run: Run, step: int) -> RewindingPoint:
    """A moment of a run that keeps its weights there (`train_run(..., weights_at=[step])`).

    Raises:
        BadInputError: the step is not before the run's end, or no weights were kept at it.
        RunFailedError: the checkpoint is damaged.
    """
    check_rewinding_step(step, run.total_steps)
    if not run.folder.listed(run.folder.weights_path(step)):
        raise BadInputError(
            f"There is no checkpoint at step {step} to rewind to: train the run with weights_at=[{step}, ...]."
        )
    state, facts = run.weights(step)
    return RewindingPoint(step, run.seed, state, facts["hash"])


def check_rewinding_step(step: int, total: int) -> None:
    """Raise `BadInputError` unless there is something left to train after a rewinding point."""
    if not 0 <= step < total:
        raise BadInputError(
            f"The rewinding point is step {step}; it must be 0 or above and before the end of training at step {total}."
        )


def pretrain(
    setup: Setup,
    seed: int,
    steps: int,
    *,
    ids: np.ndarray | None = None,
    total: int | None = None,
    label: str = "",
) -> RewindingPoint:
    """The first `steps` steps of a training, on all data or on a subset: a run of the workspace of its own.

    The learning rate is that of the whole training at these steps, however small the subset, which is gone
    through as often as it takes. The optimiser's state at the end is kept with the weights.

    Args:
        setup: data, recipe, machine; for randomised labels one on `with_random_labels(examples)`.
        seed: of initialisation, order and augmentation.
        steps: how many; 0 for the initialisation itself.
        ids: what to train on; None for all.
        total: steps of the whole training, which the schedule is laid over; None for the recipe's on all data.
        label: what the progress bar calls it.

    Raises:
        BadInputError: not before the end, or a subset smaller than a batch.
    """
    whole = setup.recipe.total_steps(len(setup.examples.train)) if total is None else total
    check_rewinding_step(steps, whole)
    if ids is not None and len(ids) < min(setup.recipe.batch_size, len(setup.examples.train)):
        raise BadInputError(
            f"The pre-training subset has {len(ids)} examples, fewer than a batch of {setup.recipe.batch_size}; "
            "take more examples or a smaller batch."
        )
    if steps == 0:
        state = {name: value.detach().cpu() for name, value in setup.build(seed).state_dict().items()}
        return RewindingPoint(0, seed, state, weights_hash(state), {"state": {}, "param_groups": []})
    # An address of its own: it stops here for ever, so its last state is the state at this step.
    description = describe(setup, seed, ids, False) | {"total_steps": whole, "stops_at": steps}
    called = label or f"pre-training of seed {seed}"
    run = train_described(setup, description, seed, ids=ids, until=steps, weights_at=[steps], label=called)
    last = TrainingState.read(run.folder.state_path)
    return RewindingPoint(steps, seed, last.model, weights_hash(last.model), last.optimizer)


def train_from(
    setup: Setup,
    point: RewindingPoint,
    mask: Mask | None = None,
    *,
    ids: np.ndarray | None = None,
    optimizer: bool = False,
    noise: int | None = None,
    label: str = "",
) -> Run:
    """Train from a rewinding point to the end, with the weights that a mask removes at exactly zero throughout.

    Weights and BatchNorm statistics are those of the point, bit for bit; the learning rate goes on where the
    schedule stood; order and augmentation are those of the point's seed. The run lies in the workspace under
    the weights it began with, the mask and the rest of its description, is trained once and resumes to the same
    bits; it keeps its last weights and `mask.safetensors`.

    Args:
        setup: data, recipe, machine.
        point: where to begin.
        mask: which weights stay; None for all.
        ids: the example ids to train on; None for all.
        optimizer: begin with the optimiser's state of the point (of what stays); else it begins at rest.
        noise: another order and augmentation, one for each number: a child, for linear mode connectivity.
        label: what the progress bar calls it.

    Raises:
        BadInputError: a mask of another model, a point after the end, or an optimiser's state that was not kept.
        RunFailedError: the loss became NaN.
    """
    if mask is not None:
        mask.check_model(setup.build(point.seed))
        mask = None if mask.keeps_all else mask
    if optimizer and point.optimizer is None:
        raise BadInputError(
            "The rewinding point keeps no state of the optimiser: make it with pretrain, or rewind the weights only."
        )
    description = describe(setup, point.seed, ids, False)
    total = int(description["total_steps"])
    check_rewinding_step(point.step, total)
    # At step 0 the optimiser is at rest either way. A copy: it takes loaded tensors as its own and changes them.
    state = copy.deepcopy(dict(point.optimizer or {})) if optimizer and point.step else None
    digest = None if state is None else _state_digest(state)
    description["rewound_to"] = {"step": point.step, "weights": point.weights, "optimizer": digest}
    if mask is not None:
        description["mask"] = mask.digest()
    if noise is not None:
        description["noise"] = noise

    def apply(loop: TrainingLoop, folder: RunFolder) -> None:
        if mask is None:
            return
        apply_mask(loop.bare_model, mask, loop.optimizer)
        path = folder.path / "mask.safetensors"
        if setup.accelerator.is_main_process and not path.exists():
            mask.write(path)

    return train_described(
        setup,
        description,
        point.seed if noise is None else derive_seed(point.seed, "child", point.step, noise),
        ids=ids,
        weights_at=[total],
        label=label or f"seed {point.seed} from step {point.step}",
        start=TrainingState(point.step, dict(point.model), optimizer=state),
        configure=apply,
    )


def with_random_labels(examples: Examples, seed: int = 0) -> Examples:
    """The data with the labels of the training part shuffled over all its examples; the test part as it is.

    Example:
        >>> from datadiet.data import load
        >>> digits = load("digits")
        >>> shuffled = with_random_labels(digits)
        >>> sorted(shuffled.train.labels) == sorted(digits.train.labels)
        True
    """
    labels = np.random.default_rng([seed, 0x6C6162]).permutation(examples.train.labels)
    train = dataclasses.replace(examples.train, labels=labels)
    return dataclasses.replace(
        examples,
        name=f"{examples.name} (labels shuffled, seed {seed})",
        train=train,
        fingerprint=fingerprint(examples.class_names, (train, examples.test)),
        notes=(*examples.notes, f"The labels of the training part are shuffled, seed {seed}."),
    )


def _state_digest(optimizer: Mapping[str, Any]) -> str:
    tensors = {
        f"{index}/{name}": value
        for index, values in optimizer["state"].items()
        for name, value in values.items()
        if isinstance(value, torch.Tensor)
    }
    return weights_hash(tensors)
