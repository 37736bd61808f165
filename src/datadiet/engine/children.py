"""A child of a run: on from its weights at a step, with other noise of the order of batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.engine.runs import Run, describe, recorded_columns, train_described
from datadiet.engine.setup import Setup
from datadiet.engine.training.checkpoint import TrainingState
from datadiet.engine.training.dynamic import refuse_dynamic
from datadiet.engine.training.randomness import derive_seed
from datadiet.engine.workspace import ids_digest
from datadiet.foundation.errors import BadInputError


def train_child(
    setup: Setup,
    parent: Run,
    step: int,
    seed: int,
    *,
    ids: np.ndarray | None = None,
    label: str = "",
) -> Run:
    """Go on from a parent's weights at a step, to the parent's last step, with another choice of SGD noise.

    Parameters and BatchNorm statistics are the parent's; the learning rate goes on where the parent's schedule
    stood. Order, augmentation and dropout come from a stream of their own for each (parent, step, seed).
    Checkpoints hold no momentum, so the optimiser starts at rest: with momentum 0.9 the trace of that is gone
    after some tens of steps, and all children of a step share it. A step in the middle of an epoch goes on in
    the middle of an epoch of the new order.

    The child lives in the workspace under an address of its own, made from the parent's, the step with its
    weights, and the seed; it keeps its last weights, resumes to the same bits, and is trained only once.

    Args:
        setup: data, recipe and machine that the parent was trained with.
        parent: a run that keeps its weights at `step`.
        step: where the child leaves its parent, 0 to the parent's last step.
        seed: tells the children of one step apart.
        ids: what the parent was trained on; None for all.
        label: what the progress bar calls it.

    Raises:
        BadInputError: the parent belongs to another setup or other ids, or keeps no weights at that step.
        RunFailedError: the kept weights are damaged, or the loss became NaN.

    Source:
        Frankle, Dziugaite, Roy, Carbin 2020, "Linear Mode Connectivity and the Lottery Ticket Hypothesis",
        instability analysis: a network is trained to step k, then two copies go on with other SGD noise.
    """
    refuse_dynamic(setup.recipe, "Children go on with")
    _check_parent(setup, parent, step, ids)
    state, facts = parent.weights(step)
    description = describe(setup, seed, ids, False) | {
        "child_of": parent.folder.path.name,
        "step": step,
        "weights": facts["hash"],
    }
    return train_described(
        setup,
        description,
        derive_seed(parent.seed, "child", step, seed),
        ids=ids,
        weights_at=[parent.total_steps],
        label=label or f"child {seed} of seed {parent.seed}",
        start=TrainingState(step, model=state),
    )


def _check_parent(setup: Setup, parent: Run, step: int, ids: np.ndarray | None) -> None:
    was: dict[str, Any] = parent.folder.description
    now = describe(setup, parent.seed, ids, recorded_columns(was))
    if was.get("ids") != ids_digest(ids):
        raise BadInputError("The parent was trained on other ids: pass ids=, those that it was trained on.")
    for name, value in now.items():
        if was.get(name) != value:
            raise BadInputError(
                f"The parent is no run of this setup: its {name.replace('_', ' ')} is another. "
                "Train children with the data, recipe and device of their parent."
            )
    if not 0 <= step <= parent.total_steps:
        raise BadInputError(f"step is {step}; the parent has steps 0 to {parent.total_steps}.")
    if not parent.folder.listed(parent.folder.weights_path(step)):
        raise BadInputError(
            f"The parent keeps no weights at step {step}: train it with weights_at=[{step}, ...]."
        )
