"""The scoring pass, forward only, over everything, its time on the bill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from datadiet.dynamic.measurements import measure_task_batch
from datadiet.dynamic.sampler import DynamicSampler
from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.batches import moved
from datadiet.tasks import Task


def score_everything(
    model: nn.Module,
    batches: Iterable[Any],
    sampler: DynamicSampler,
    *,
    task: Task | None = None,
    loss: Callable[[Any, Any], torch.Tensor] | None = None,
    forward: Callable[[nn.Module, Any], tuple[Any, Any, Any]] | None = None,
    device: torch.device | str | None = None,
) -> float:
    """Score every example for the sampler's next choice; returns the seconds it took, also in `scoring_seconds`.

    The model is put in evaluation mode and each of its modules back in the mode it was in; so are the generators. No
    gradient is kept, so batches may be several times as large as in training: `sampler.scoring_batches(size)` gives
    them. Under several processes each scores its share; call this on every rank.

    Args:
        model: called with a batch's inputs.
        batches: `(ids, inputs, targets)` tuples, or anything with these attributes.
        task: how outputs are read, where they are not plain logits of classes.
        loss: `loss(outputs, targets)` -> (batch,), for selectors by loss.
        forward: `forward(model, batch)` -> (ids, outputs, targets), for batches of another form.
        device: where inputs are moved before the model sees them; that of its first parameter by default.

    Raises:
        BadInputError: batches without ids, ids left out, a loss for a selector that ranks otherwise.

    Example:
        >>> sampler = DynamicSampler(4, {"warmup": 1}, "nlu-data-diet")
        >>> _ = list(sampler); sampler.end_epoch(); sampler.needs_scoring_pass
        True
        >>> batches = [(torch.arange(4), torch.eye(4), torch.tensor([0, 1, 1, 0]))]
        >>> seconds = score_everything(nn.Linear(4, 2), batches, sampler)
        >>> len(sampler), sampler.scoring_passes
        (2, 1)
    """
    if loss is not None and sampler.selector.measure != "loss":
        raise BadInputError(
            f"selector {sampler.selector.name!r} ranks by {sampler.selector.measure}, not by loss; give a task, or "
            "neither for logits of classes."
        )
    device = next(model.parameters(), torch.empty(0)).device if device is None else torch.device(device)
    begun = time.perf_counter()
    sampler.begin_scoring()
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        # A loader draws from the global generator when it starts; training shall not depend on the pass.
        devices = [device] if device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices):
            for batch in batches:
                if forward is not None:
                    ids, outputs, targets = forward(model, batch)
                else:
                    ids, inputs, targets = _parts(batch)
                    targets = moved(targets, device)
                    outputs = model(moved(inputs, device))
                if loss is not None:
                    sampler.update(ids, loss(outputs, targets))
                elif task is not None:
                    sampler.update(
                        ids, measured=measure_task_batch(sampler.selector.measure, task, outputs, targets)
                    )
                else:
                    sampler.update(ids, outputs, targets)
    except BaseException:
        sampler.abandon_scoring()
        raise
    finally:
        for module, mode in modes:
            module.training = mode
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - begun
    sampler.end_scoring(seconds)
    return seconds


def _parts(batch: Any) -> tuple[Any, Any, Any]:
    if all(hasattr(batch, name) for name in ("ids", "inputs", "targets")):
        return batch.ids, batch.inputs, batch.targets
    if isinstance(batch, tuple | list) and len(batch) == 3:
        return batch[0], batch[1], batch[2]
    raise BadInputError(
        "a batch of the scoring pass must be (ids, inputs, targets); wrap the data set with "
        "datadiet.dynamic.with_ids, so that each row brings its id, or give forward=."
    )
