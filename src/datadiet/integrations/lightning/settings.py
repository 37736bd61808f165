"""What a Lightning Trainer is given: its training loader, and settings under which epochs are the sampler's."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.utilities.combined_loader import CombinedLoader

from datadiet.dynamic import DynamicSampler
from datadiet.foundation.errors import BadInputError


def loaders_in(loaders: Any) -> list[Any]:
    """Every loader in what Lightning was given."""
    if isinstance(loaders, CombinedLoader):
        return list(loaders.flattened)
    return list(CombinedLoader(loaders).flattened)


def samplers_in(loaders: Any) -> list[DynamicSampler]:
    """The dynamic samplers of training loaders, of batches or of single ids."""
    found = [
        getattr(loader, name, None) for loader in loaders_in(loaders) for name in ("batch_sampler", "sampler")
    ]
    return [each for each in found if isinstance(each, DynamicSampler)]


def only_loader(loaders: Any) -> Any:
    every = loaders_in(loaders)
    if len(every) != 1:
        raise BadInputError(
            f"there are {len(every)} training loaders, and Lightning begins shorter ones again; give it one."
        )
    return every[0]


def check_settings(trainer: Any, sampler: DynamicSampler) -> None:
    """Refuse settings under which epochs would be cut, dealt out twice, or by another sampler."""
    if trainer.reload_dataloaders_every_n_epochs != 1:
        raise BadInputError(
            "epochs change their length: give the Lightning Trainer reload_dataloaders_every_n_epochs=1."
        )
    if trainer.overfit_batches > 0:
        raise BadInputError(
            "overfit_batches replaces the sampler by the first batches; leave it out of the Lightning Trainer, or the "
            "callback out of its callbacks."
        )
    limit = trainer.limit_train_batches
    longest = math.ceil(sampler.num_examples / ((sampler.batch_size or 1) * sampler.world_size))
    if not trainer.fast_dev_run and not (limit == 1.0 and isinstance(limit, float)) and not limit >= longest:
        raise BadInputError(
            f"limit_train_batches={limit} would cut the epochs that the sampler chose; leave it out of the Lightning "
            "Trainer, and choose fewer examples instead."
        )
    interval = trainer.val_check_interval
    by_batches = isinstance(interval, int) and trainer.check_val_every_n_epoch is not None
    if by_batches and trainer.limit_val_batches > 0 and interval > _shortest_epoch(trainer, sampler):
        raise BadInputError(
            f"val_check_interval={interval} is more batches than every epoch is sure to have; give a share of an epoch "
            "(val_check_interval=0.5), or count through all epochs with check_val_every_n_epoch=None."
        )
    if trainer.world_size != sampler.world_size:
        raise BadInputError(
            f"the sampler deals out to {sampler.world_size} ranks, but there are {trainer.world_size}; make "
            "it in train_dataloader, when the ranks are known, and leave it out of the callback."
        )
    if trainer.world_size > 1 and getattr(trainer._accelerator_connector, "use_distributed_sampler", False):
        raise BadInputError(
            "Lightning would put a DistributedSampler in the place of the sampler; give its Trainer "
            "use_distributed_sampler=False."
        )


def _shortest_epoch(trainer: Any, sampler: DynamicSampler) -> int:
    """Batches of the shortest epoch to come, as far as it is planned; 1 where nobody knows."""
    last = trainer.max_epochs if (trainer.max_epochs or 0) > sampler.epoch else sampler.epoch + 100
    sizes = [sampler.planned_size(epoch) for epoch in range(sampler.epoch, last)]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return 1
    return max(1, min(known) // ((sampler.batch_size or 1) * sampler.world_size))
