"""A Lightning module that knows of no ids and no weights: they are taken off its batches, and its loss is weighed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden

from datadiet.dynamic import DynamicSampler
from datadiet.dynamic.weighing import LossPart, LossWeigher, not_taken_apart
from datadiet.foundation.errors import BadInputError
from datadiet.integrations.lightning.callback import OUTPUTS, DataDietCallback, has_outputs, tell_of
from datadiet.integrations.lightning.settings import loaders_in, only_loader
from datadiet.integrations.loader_rows import rows_have_ids_in_front, split_batch
from datadiet.tracking import Recorder
from datadiet.tracking.presentations import ids_of_batch

_BY_CALLBACK = "compute one loss an example in training_step, and use DataDietCallback instead of attach"


class _SkippedBatch(Exception):
    """`training_step` returned None, by which Lightning goes on without this batch."""


class _StepWeigher(LossWeigher):
    """Weighs what `training_step` returns, and tells the sampler.

    Args:
        sampler: whose weights.
    """

    returned: Any = None

    def __call__(self, ids: Any, compute: Callable[[], Any], *, tell: bool = True) -> Any:
        """What `training_step` returned, its loss weighed; None where it returned that."""

        def noted() -> Any:
            self.returned = compute()
            if self.returned is None:
                raise _SkippedBatch
            return self.returned

        selector, may_weigh = self.sampler.selector, self.sampler.may_weigh
        try:
            if may_weigh or (selector.needs_reports and selector.measure == "loss"):
                return super().__call__(ids, noted, tell=tell)
            result, parts = self.taken_apart(ids, noted)
        except _SkippedBatch:
            return None
        self._tell(ids, parts)
        return result

    def learn(self, loss: torch.Tensor, parts: list[LossPart]) -> bool:
        """See from a batch how the loss is made of its parts.

        Raises:
            BadInputError: it is not.
        """
        if not super().learn(loss, parts):
            raise BadInputError(not_taken_apart(parts, _BY_CALLBACK))
        return True

    def _tell(self, ids: Any, parts: list[LossPart]) -> None:
        selector = self.sampler.selector
        if not selector.needs_reports:
            tell_of(self.sampler, ids)
        elif selector.measure == "loss":
            super()._tell(ids, parts)
        elif has_outputs(self.returned):
            self.sampler.update(ids, self.returned["logits"], self.returned["targets"])
        else:
            shown = [part for part in parts if part.logits is not None]
            if len(shown) != 1:
                raise BadInputError(
                    f"selector {selector.name!r} ranks by {selector.measure}, and the loss of training_step does not "
                    f"show of which outputs; let it return {OUTPUTS}."
                )
            self.sampler.update(ids, shown[0].logits, shown[0].targets)


class _AttachedCallback(DataDietCallback):
    """What `attach` returns: hands a module its batches without ids, and weighs the loss of its `training_step`."""

    def __init__(self, module: pl.LightningModule, id_column: str, **options: Any) -> None:
        super().__init__(**options)
        self.module, self.id_column = module, id_column
        self._weigher: _StepWeigher | None = None
        self._ids: Any = None
        self._is_training = False

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Take ids off batches before the module sees them, and weigh what it returns."""
        super().setup(trainer, pl_module, stage)
        if pl_module is not self.module:
            raise BadInputError("the Trainer was given another module than attach; give both the same one.")
        if self._stage == "fit" and not pl_module.automatic_optimization:
            raise BadInputError(
                "a module with automatic_optimization=False calls backward itself, before its loss could be "
                "weighed; use DataDietCallback, and multiply the losses by sampler.weights(ids)."
            )
        name, data = "on_before_batch_transfer", trainer.datamodule
        owner = data if is_overridden(name, data) else pl_module

        def without_ids(own: Any) -> Any:
            @functools.wraps(own)
            def hook(batch: Any, dataloader_idx: int) -> Any:
                return own(self._without_ids(trainer, batch, dataloader_idx), dataloader_idx)

            return hook

        self.replace(owner, name, without_ids)

    def _without_ids(self, trainer: Any, batch: Any, index: int) -> Any:
        if trainer.training and self._is_training:
            dataset = only_loader(trainer.train_dataloader).dataset
            self._ids, rest = split_batch(batch, dataset, self.id_column)
            return rest
        loaders = _evaluated(trainer)
        if not loaders:
            return batch  # an example input, on which a summary or a graph is made
        dataset = getattr(loaders[index], "dataset", None)
        if isinstance(batch, Mapping) or rows_have_ids_in_front(dataset):
            return split_batch(batch, dataset, self.id_column)[1]
        return batch

    def followed_step(self, pl_module: Any, own: Callable[..., Any]) -> Callable[..., Any]:
        """A module's `training_step`, its loss weighed."""

        @functools.wraps(own)
        def training_step(*args: Any, **kwargs: Any) -> Any:
            self._ids = ids_of_batch(self._ids).to(self.module.device)
            returned = self._weighed(self._ids, lambda: own(*args, **kwargs))
            self.check_outputs(returned)
            return returned

        return training_step

    def _weighed(self, ids: torch.Tensor, compute: Callable[[], Any]) -> Any:
        if self.sampler is None:
            return compute()
        if self._weigher is None or self._weigher.sampler is not self.sampler:
            self._weigher = _StepWeigher(self.sampler)
        return self._weigher(ids, compute)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """From here on batches are those of the training."""
        super().on_train_start(trainer, pl_module)
        self._is_training = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """From here on they are not."""
        super().on_train_end(trainer, pl_module)
        self._is_training = False

    def tell(self, outputs: Mapping[str, Any]) -> None:
        """Tell the recorder what `training_step` returned; the sampler has been told."""
        if self.recorder is not None:
            self.recorder.update(self._ids, outputs["logits"], outputs["targets"])


def _evaluated(trainer: Any) -> list[Any]:
    """The loaders that are evaluated or predicted just now."""
    if trainer.validating or trainer.sanity_checking:
        loaders = trainer.val_dataloaders
    elif trainer.testing:
        loaders = trainer.test_dataloaders
    elif trainer.predicting:
        loaders = trainer.predict_dataloaders
    else:
        return []
    return [] if loaders is None else loaders_in(loaders)


def attach(
    module: pl.LightningModule,
    sampler: DynamicSampler | None = None,
    recorder: Recorder | None = None,
    *,
    id_column: str = "id",
    scoring_batch_size: int = 512,
    forward: Callable[[torch.nn.Module, Any], tuple[Any, Any, Any]] | None = None,
    loss: Callable[[Any, Any], torch.Tensor] | None = None,
) -> DataDietCallback:
    """A callback for a module that knows of no ids and no weights: its `training_step` stays as it is.

    The loader brings ids (`with_ids`); they are taken off each batch before any hook of the module sees it, in
    training and, where there are any, in validation, test and prediction. The loss that `training_step` returns, with
    its class weights or label smoothing, is weighed example by example (`datadiet.dynamic.weighed_loss`), and the
    sampler told.

    Args:
        module: that the Trainer fits.
        sampler: as in `DataDietCallback`.
        recorder: needs a `training_step` that returns `logits` and `targets` beside `loss`.
        id_column: where batches that are mappings have their ids.
        scoring_batch_size: of scoring passes.
        forward: `forward(module, batch)` -> (ids, outputs, targets) in scoring passes, on batches with their ids; by
            default they are (ids, inputs, targets).
        loss: `loss(outputs, targets)` -> (batch,) in scoring passes of selectors by loss.

    Returns:
        the callback, for `Trainer(callbacks=[...])`.

    Raises:
        BadInputError: when `fit` begins, as `DataDietCallback` does; a module that calls backward itself; on the first
            batch, before it is trained on, a loss that is no sum of losses of examples.

    Example:
        callback = attach(module, sampler)
        trainer = Trainer(callbacks=[callback], reload_dataloaders_every_n_epochs=1)
        trainer.fit(module, DataLoader(with_ids(dataset), batch_sampler=sampler))
    """
    return _AttachedCallback(
        module,
        id_column,
        sampler=sampler,
        recorder=recorder,
        scoring_batch_size=scoring_batch_size,
        forward=forward,
        loss=loss,
    )
