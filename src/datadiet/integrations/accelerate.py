"""A dynamic sampler under Accelerate, which deals its batches out to the processes."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from torch.utils.data import DataLoader

from datadiet.dynamic import DynamicSampler
from datadiet.foundation.errors import BadInputError
from datadiet.tracking import Recorder


def dynamic_loader(
    accelerator: Accelerator, dataset: Any, sampler: DynamicSampler, **options: Any
) -> DataLoader[Any]:
    """A prepared loader over a sampler, whose state goes into the checkpoints of the accelerator.

    Accelerate deals the sampler's batches out to the ranks itself, so the sampler is made with
    `rank=0, world_size=1`; its `end_epoch` still merges what all ranks were told. Before `save_state` in the
    middle of an epoch call `sampler.gather()` on every rank.

    Args:
        accelerator: prepares the loader.
        dataset: rows that bring their ids, as `with_ids` makes them.
        sampler: with `batch_size`.
        options: as `torch.utils.data.DataLoader`.

    Raises:
        BadInputError: the sampler makes no batches, or deals out itself.
    """
    if sampler.batch_size is None or sampler.world_size != 1:
        raise BadInputError(
            "Accelerate deals batches out itself; make the sampler with batch_size and with rank=0, world_size=1."
        )
    loader: DataLoader[Any] = accelerator.prepare(DataLoader(dataset, batch_sampler=sampler, **options))
    accelerator.register_for_checkpointing(sampler)
    return loader


def end_epoch(
    accelerator: Accelerator, sampler: DynamicSampler | None = None, recorder: Recorder | None = None
) -> None:
    """Close an epoch of both on every rank, merging what the ranks saw.

    Args:
        accelerator: of the training.
        sampler: told by its `update`.
        recorder: writes its trace on the main process only.
    """
    if recorder is not None:
        if accelerator.num_processes > 1:
            recorder.reduce(lambda tensor: accelerator.reduce(tensor, "sum"))
        recorder.end_epoch(write=accelerator.is_main_process)
    if sampler is not None:
        sampler.end_epoch()
