"""A dynamic sampler under Accelerate, which deals its batches out to the processes."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from torch.utils.data import DataLoader

from datadiet.dynamic import DynamicSampler
from datadiet.foundation.errors import BadInputError
from datadiet.integrations.loader_rows import check_rows
from datadiet.tracking import Recorder

#: Options of a loader that say what a batch is, which the sampler says already.
_OF_THE_SAMPLER = ("batch_size", "shuffle", "batch_sampler", "drop_last")
#: Settings of an accelerator under which batches are no longer those of the sampler, and why.
_UNFIT_SETTINGS = {
    "dispatch_batches": "one process would read all batches and cut them up",
    "split_batches": "batches of the sampler would be cut up among the processes",
    "use_stateful_dataloader": "loader and sampler would both go on from a checkpoint, and skip batches twice",
}


def dynamic_loader(
    accelerator: Accelerator, dataset: Any, sampler: DynamicSampler, **options: Any
) -> DataLoader[Any]:
    """A prepared loader over a sampler, whose state goes into the checkpoints of the accelerator.

    Accelerate deals the sampler's batches out to the ranks itself, so the sampler is made with
    `rank=0, world_size=1`; its `end_epoch` still merges what all ranks were told. Before `save_state` in the
    middle of an epoch call `sampler.gather()` on every rank. After `load_state` the loader goes on in the middle of
    its epoch by itself: `accelerator.skip_first_batches` would skip the same batches once more, so leave it out.

    A loss as the loop has it, with class weights or label smoothing, is weighed by `datadiet.dynamic.weighed_loss`:

        for ids, inputs, targets in loader:
            with accelerator.accumulate(model):
                loss = weighed_loss(sampler, ids, lambda: F.cross_entropy(model(inputs), targets))
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
        end_epoch(accelerator, sampler)

    Args:
        accelerator: prepares the loader.
        dataset: rows that bring their ids, as `with_ids` makes them.
        sampler: with `batch_size`.
        options: as `torch.utils.data.DataLoader`, but for those that make batches.

    Raises:
        BadInputError: the sampler makes no batches, or deals out itself; rows without ids, ids that are not the
            positions of the rows, data without a length; options or settings under which batches would be others
            than the sampler's.
    """
    if sampler.batch_size is None or sampler.world_size != 1:
        raise BadInputError(
            "Accelerate deals batches out itself; make the sampler with batch_size and with rank=0, world_size=1."
        )
    given = [name for name in _OF_THE_SAMPLER if name in options]
    if given:
        raise BadInputError(
            f"the sampler says what is in a batch; leave {', '.join(f'{name}=' for name in given)} out, and give "
            "DynamicSampler its batch_size=, shuffle= or drop_last=."
        )
    for name, why in _UNFIT_SETTINGS.items():
        if getattr(accelerator.dataloader_config, name, None):
            raise BadInputError(f"under {name}=True {why}; make the Accelerator with {name}=False.")
    check_rows(dataset, sampler)
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
