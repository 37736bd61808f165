"""A Lightning callback: tells the sampler and the recorder of each batch, closes epochs, saves with checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader

from datadiet.dynamic import DynamicSampler, score_everything
from datadiet.foundation.errors import BadInputError
from datadiet.tracking import Recorder


class DataDietCallback(Callback):  # type: ignore[misc]
    """Lets a dynamic sampler and a recorder follow a Lightning training.

    `training_step` returns, beside `loss`, the `ids` of the batch and either `losses` (one an example) or `logits` and
    `targets`. The loader has `batch_sampler=sampler`, and the Lightning `Trainer` is given
    `reload_dataloaders_every_n_epochs=1`, since it otherwise takes the length of the first epoch for that of all.
    Under several processes make the sampler in `train_dataloader` or `setup`, when ranks are known, and switch
    Lightning's own dealing out off: `use_distributed_sampler=False`.

    Args:
        sampler: with `batch_size`.
        recorder: needs `logits` and `targets`.
        scoring_batch_size: of scoring passes.
        forward: `forward(module, batch)` -> (ids, outputs, targets) in scoring passes, on batches as the loader gives
            them; by default they are (ids, inputs, targets).
        loss: `loss(outputs, targets)` -> (batch,) in scoring passes of selectors by loss.

    Raises:
        BadInputError: neither a sampler nor a recorder.
    """

    def __init__(
        self,
        sampler: DynamicSampler | None = None,
        recorder: Recorder | None = None,
        *,
        scoring_batch_size: int = 512,
        forward: Callable[[torch.nn.Module, Any], tuple[Any, Any, Any]] | None = None,
        loss: Callable[[Any, Any], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        if sampler is None and recorder is None:
            raise BadInputError("give the callback a sampler, a recorder, or both.")
        self.sampler, self.recorder = sampler, recorder
        self.scoring_batch_size, self.forward, self.loss = scoring_batch_size, forward, loss

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuse settings under which epochs would be cut or dealt out twice."""
        if self.sampler is None:
            return
        if trainer.reload_dataloaders_every_n_epochs != 1:
            raise BadInputError(
                "epochs change their length: give the Lightning Trainer reload_dataloaders_every_n_epochs=1."
            )
        if trainer.world_size != self.sampler.world_size:
            raise BadInputError(
                f"the sampler deals out to {self.sampler.world_size} ranks, but there are {trainer.world_size}; make "
                "it in train_dataloader or setup, when the ranks are known."
            )

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell of a batch what `training_step` returned."""
        if not isinstance(outputs, Mapping) or "ids" not in outputs:
            raise BadInputError(
                "training_step returned no 'ids'; wrap the data set with datadiet.dynamic.with_ids and return "
                "{'loss': ..., 'ids': ids, 'logits': logits, 'targets': targets}."
            )
        ids, targets = outputs["ids"], outputs.get("targets")
        logits, losses = outputs.get("logits"), outputs.get("losses")
        if self.sampler is not None:
            if self.sampler.selector.measure == "loss" and losses is not None:
                self.sampler.update(ids, losses)
            else:
                self.sampler.update(ids, logits, targets)
        if self.recorder is not None:
            self.recorder.update(ids, logits, targets)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the epoch, and score everything where the next one wants it."""
        if self.recorder is not None:
            if trainer.world_size > 1:
                self.recorder.reduce(lambda tensor: trainer.strategy.reduce(tensor, reduce_op="sum"))
            self.recorder.end_epoch(write=trainer.is_global_zero)
        if self.sampler is None:
            return
        self.sampler.end_epoch()
        last = trainer.max_epochs is not None and 0 < trainer.max_epochs <= self.sampler.epoch
        if self.sampler.needs_scoring_pass and not last:
            loader = trainer.train_dataloader
            batches = DataLoader(
                loader.dataset,
                batch_sampler=self.sampler.scoring_batches(self.scoring_batch_size),
                collate_fn=loader.collate_fn,
                num_workers=loader.num_workers,
            )
            score_everything(
                pl_module,
                batches,
                self.sampler,
                forward=self.forward,
                loss=self.loss,
                device=pl_module.device,
            )

    def state_dict(self) -> dict[str, Any]:
        """Both states, for the checkpoint; on every rank."""
        if self.sampler is not None:
            self.sampler.gather()
        both = {"sampler": self.sampler, "recorder": self.recorder}
        return {name: each.state_dict() for name, each in both.items() if each is not None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            BadInputError: it is of another sampler or recorder, or is damaged; neither has changed then.
        """
        both = {"sampler": self.sampler, "recorder": self.recorder}
        mine = {name: each for name, each in both.items() if each is not None}
        for name in mine:
            if name not in state_dict:
                raise BadInputError(f"the checkpoint has no state of a {name}; it was saved without one.")
        before = self.sampler.state_dict() if self.sampler is not None else None
        try:
            for name, each in mine.items():
                each.load_state_dict(state_dict[name])
        except BadInputError:
            if self.sampler is not None and before is not None:
                self.sampler.load_state_dict(before)
            raise
