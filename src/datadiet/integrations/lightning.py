"""Lightning callbacks: they see to the loader, tell of each batch, close epochs, and save with checkpoints."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.utils.data import DataLoader

from datadiet.dynamic import DynamicSampler, score_everything
from datadiet.dynamic.weighing import LossPart, LossWeigher
from datadiet.foundation.errors import BadInputError
from datadiet.integrations.loader_rows import check_rows, rows_have_ids_in_front, split_batch
from datadiet.tracking import Recorder
from datadiet.tracking.presentations import ids_of_batch

_RETURNS = "{'loss': ..., 'ids': ids, 'logits': logits, 'targets': targets}"
_HANDED_OVER = "hand the Trainer DataLoader(with_ids(dataset), batch_sampler=sampler)"


class DataDietCallback(pl.Callback):  # type: ignore[misc]
    """Lets a dynamic sampler and a recorder follow a Lightning training.

    `training_step` returns, beside `loss`, the `ids` of the batch and either `losses` (one an example) or `logits` and
    `targets`; a loss that shall be weighed is multiplied by `sampler.weights(ids)` there. `attach` needs neither. The
    loader has `batch_sampler=sampler`, and the Lightning `Trainer` is given `reload_dataloaders_every_n_epochs=1`,
    since it otherwise takes the length of the first epoch for that of all. Under several processes make the sampler
    in `train_dataloader`, when ranks are known, leave it out here, and switch Lightning's own dealing out off:
    `use_distributed_sampler=False`.

    Args:
        sampler: with `batch_size`. Left out, it is the one of the training loader; `train_dataloader` may make a new
            one each time that it is called, which goes on where the last one was.
        recorder: needs `logits` and `targets`.
        scoring_batch_size: of scoring passes.
        forward: `forward(module, batch)` -> (ids, outputs, targets) in scoring passes, on batches as the loader gives
            them; by default they are (ids, inputs, targets).
        loss: `loss(outputs, targets)` -> (batch,) in scoring passes of selectors by loss.

    Raises:
        BadInputError: when `fit` begins: there is neither a sampler nor a recorder, the loader that Lightning uses has
            another sampler, its rows bring no ids, or a setting of the Trainer would cut epochs.
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
        self.sampler, self.recorder = sampler, recorder
        self.scoring_batch_size, self.forward, self.loss = scoring_batch_size, forward, loss
        self._is_given = sampler is not None
        self._state: dict[str, Any] | None = None  # of a sampler that is not known yet
        self._stage: str | None = None
        self._open: int | None = None  # Lightning's number of the epoch that was told of, and is not closed
        self._undo: list[Callable[[], None]] = []

    @property
    def state_key(self) -> str:
        """Under which checkpoints have the state: the same with and without `attach`."""
        return "DataDietCallback"

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Look at each training loader before Lightning takes its length."""
        self.undo()
        self._stage = str(getattr(stage, "value", stage))
        if self._stage == "fit":
            if self.sampler is not None:
                _check_settings(trainer, self.sampler)
            source = trainer.fit_loop._data_source
            self.replace(source, "dataloader", lambda own: lambda: self._ready(trainer, pl_module, own()))

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Put what is made of a method in its place, until the training is over."""
        setattr(owner, name, make(getattr(owner, name)))
        self._undo.append(lambda: delattr(owner, name) if name in vars(owner) else None)

    def undo(self) -> None:
        """Leave every method as it was."""
        while self._undo:
            self._undo.pop()()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave Trainer and module as they were."""
        self.undo()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave Trainer and module as they were."""
        self.undo()
        _put_loader_away(trainer)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """See that Lightning put no other sampler in the place of the callback's.

        Raises:
            BadInputError: it did.
        """
        _count_batch_saved_at(trainer.fit_loop)
        if self.sampler is not None and self.sampler not in _samplers(trainer.train_dataloader):
            raise BadInputError(
                "Lightning put a sampler of its own in the place of the callback's; give the Trainer "
                "use_distributed_sampler=False, and leave out overfit_batches."
            )

    def _ready(self, trainer: Any, pl_module: Any, loaders: Any) -> Any:
        """The training loader, once it is seen that an epoch of it is one of the sampler's, and which comes next."""
        self._close_if_over(trainer)
        found = _samplers(loaders)
        if not self._is_given:
            self._take(found[0] if found else None)
        elif self.sampler not in found:
            raise BadInputError(
                "the training loader does not have the callback's sampler; "
                + _HANDED_OVER
                + ", or leave the sampler "
                "of the callback out, so that it takes that of the loader."
            )
        sampler = self.sampler
        if sampler is None:
            if self.recorder is None:
                raise BadInputError(
                    "give the callback a sampler, a recorder, or both; or "
                    + _HANDED_OVER
                    + ", whose sampler it takes."
                )
            return loaders
        _check_settings(trainer, sampler)
        loader = _only(loaders)
        check_rows(loader.dataset, sampler)
        if sampler.needs_scoring_pass:
            self._score(trainer, pl_module, loader)
        return loaders

    def _take(self, sampler: DynamicSampler | None) -> None:
        """Go on with the loader's sampler, where the last one was."""
        before = self.sampler
        if sampler is None:
            if before is not None or self._state is not None:
                raise BadInputError(
                    "the training loader has no DynamicSampler, but had one before; " + _HANDED_OVER + "."
                )
            return
        if sampler is before:
            return
        if self._state is not None:
            sampler.load_state_dict(self._state)
        elif before is not None:
            sampler.load_state_dict(before.state_dict())
        self.sampler, self._state = sampler, None

    def _score(self, trainer: Any, pl_module: Any, loader: Any) -> None:
        assert self.sampler is not None
        batches = DataLoader(
            loader.dataset,
            batch_sampler=self.sampler.scoring_batches(self.scoring_batch_size),
            collate_fn=loader.collate_fn,
            num_workers=loader.num_workers,
        )
        with trainer.precision_plugin.forward_context():
            score_everything(
                pl_module,
                map(trainer.precision_plugin.convert_input, batches),
                self.sampler,
                forward=self.forward,
                loss=self.loss,
                device=pl_module.device,
            )

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Let Lightning begin an epoch twice, as it does after reloading: workers may have read all of it by then."""
        self._close_if_over(trainer)
        sampler, fit_loop = self.sampler, trainer.fit_loop
        begins_again = trainer.current_epoch > 0 and not fit_loop.restarting
        if sampler is not None and begins_again and sampler.finished and not sampler.resumed_at:
            sampler.load_state_dict(sampler.state_dict(done=0))

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell of a batch what `training_step` returned."""
        self._open = trainer.current_epoch
        if not isinstance(outputs, Mapping) or "ids" not in outputs:
            raise BadInputError(
                "training_step returned no 'ids'; wrap the data set with datadiet.dynamic.with_ids and return "
                f"{_RETURNS}, or let datadiet.integrations.lightning.attach take the ids off the batch."
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
        """Close the epoch."""
        self._open = None
        if self.recorder is not None:
            if trainer.world_size > 1:
                self.recorder.reduce(lambda tensor: trainer.strategy.reduce(tensor, reduce_op="sum"))
            self.recorder.end_epoch(write=trainer.is_global_zero)
        if self.sampler is not None:
            self.sampler.end_epoch()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Spare the last epoch a scoring pass whose choice nobody trains on."""
        self._close_if_over(trainer)
        if self.sampler is not None and self.sampler.needs_scoring_pass:
            _put_loader_away(trainer)

    def _close_if_over(self, trainer: Any) -> None:
        """Close an epoch that Lightning takes for closed, since it goes on from a state saved after its last batch."""
        if self._open is not None and trainer.current_epoch > self._open:
            self.on_train_epoch_end(trainer, trainer.lightning_module)

    def state_dict(self) -> dict[str, Any]:
        """Both states, for the checkpoint; on every rank."""
        if self.sampler is not None:
            self.sampler.gather()
        both = {"sampler": self.sampler, "recorder": self.recorder}
        states = {name: each.state_dict() for name, each in both.items() if each is not None}
        return {**states, "open": self._open}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """See that a training that goes on has a state to go on from.

        Raises:
            BadInputError: the checkpoint was saved without this callback.
        """
        if self._stage == "fit" and self.state_key not in checkpoint["callbacks"]:
            raise BadInputError(
                "the checkpoint was saved without DataDietCallback, so it does not say where the sampler and the "
                "recorder were; begin a new training, and load only the weights from it."
            )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint; one that is only validated or tested changes nothing.

        Raises:
            BadInputError: it is of another sampler or recorder, or is damaged; neither has changed then.
        """
        if self._stage not in (None, "fit"):
            return
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
        self._open = state_dict.get("open")
        if self.sampler is None:
            self._state = state_dict.get("sampler")


def _loaders(loaders: Any) -> list[Any]:
    """Every loader in what Lightning was given."""
    if isinstance(loaders, CombinedLoader):
        return list(loaders.flattened)
    return list(CombinedLoader(loaders).flattened)


def _samplers(loaders: Any) -> list[DynamicSampler]:
    """The dynamic samplers of training loaders, of batches or of single ids."""
    found = [
        getattr(loader, name, None) for loader in _loaders(loaders) for name in ("batch_sampler", "sampler")
    ]
    return [each for each in found if isinstance(each, DynamicSampler)]


def _only(loaders: Any) -> Any:
    every = _loaders(loaders)
    if len(every) != 1:
        raise BadInputError(
            f"there are {len(every)} training loaders, and Lightning begins shorter ones again; give it one."
        )
    return every[0]


def _put_loader_away(trainer: Any) -> None:
    """As Lightning does, which first asks for a length that nobody knows before a scoring pass or after a failure."""
    fetcher = trainer.fit_loop._data_fetcher
    if fetcher is not None:
        fetcher.combined_loader.reset()
        trainer.fit_loop._data_fetcher = None


def _count_batch_saved_at(fit_loop: Any) -> None:
    """Count the batch after which the checkpoint was saved: early versions of Lightning take one less for done.

    Windows of accumulation would otherwise begin a batch late.
    """
    progress = fit_loop.epoch_loop.batch_progress
    is_late = progress.current.processed == progress.current.completed + 1
    if fit_loop.restarting and is_late and not hasattr(fit_loop.epoch_loop, "restarted_on_train_batch_end"):
        progress.increment_completed()


def _check_settings(trainer: Any, sampler: DynamicSampler) -> None:
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


class _ReturnedOutputs(LossWeigher):
    """Tells selectors that rank by outputs what `training_step` returned, where it did.

    Args:
        sampler: whose weights.
    """

    returned: Any = None

    def _tell(self, ids: Any, parts: list[LossPart]) -> None:
        selector = self.sampler.selector
        by_outputs = selector.measure != "loss"
        if by_outputs and _has_outputs(self.returned):
            self.sampler.update(ids, self.returned["logits"], self.returned["targets"])
        elif by_outputs and selector.needs_reports and all(part.logits is None for part in parts):
            raise BadInputError(
                f"selector {selector.name!r} ranks by {selector.measure}, which the loss does not show; let "
                "training_step return {'loss': ..., 'logits': logits, 'targets': targets}."
            )
        else:
            super()._tell(ids, parts)


def _has_outputs(returned: Any) -> bool:
    return isinstance(returned, Mapping) and "logits" in returned and "targets" in returned


class _AttachedCallback(DataDietCallback):
    """What `attach` returns: hands a module its batches without ids, and weighs the loss of its `training_step`."""

    def __init__(self, module: pl.LightningModule, id_column: str, **options: Any) -> None:
        super().__init__(**options)
        self.module, self.id_column = module, id_column
        self._weigher: _ReturnedOutputs | None = None
        self._ids: Any = None
        self._is_training = False

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Take ids off batches before the module sees them, and weigh what it returns."""
        super().setup(trainer, pl_module, stage)
        if pl_module is not self.module:
            raise BadInputError("the Trainer was given another module than attach; give both the same one.")
        if self._stage == "fit":
            if not pl_module.automatic_optimization:
                raise BadInputError(
                    "a module with automatic_optimization=False calls backward itself, before its loss could be "
                    "weighed; use DataDietCallback, and multiply the losses by sampler.weights(ids)."
                )
            self.replace(pl_module, "training_step", self._weighed_step)
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
            dataset = _only(trainer.train_dataloader).dataset
            self._ids, rest = split_batch(batch, dataset, self.id_column)
            return rest
        loaders = _evaluated(trainer)
        if not loaders:
            return batch  # an example input, on which a summary or a graph is made
        dataset = getattr(loaders[index], "dataset", None)
        if isinstance(batch, Mapping) or rows_have_ids_in_front(dataset):
            return split_batch(batch, dataset, self.id_column)[1]
        return batch

    def _weighed_step(self, own: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(own)
        def training_step(*args: Any, **kwargs: Any) -> Any:
            ids = ids_of_batch(self._ids).to(self.module.device)
            if self.sampler is None:
                return own(*args, **kwargs)
            if self._weigher is None or self._weigher.sampler is not self.sampler:
                self._weigher = _ReturnedOutputs(self.sampler)
            weigher = self._weigher

            def compute() -> Any:
                weigher.returned = own(*args, **kwargs)
                return weigher.returned

            return weigher(ids, compute)

        return training_step

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """From here on batches are those of the training."""
        super().on_train_start(trainer, pl_module)
        self._is_training = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """From here on they are not."""
        super().on_train_end(trainer, pl_module)
        self._is_training = False

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell the recorder what `training_step` returned; the sampler has been told."""
        self._open = trainer.current_epoch
        if self.recorder is None:
            return
        if not _has_outputs(outputs):
            raise BadInputError(
                "the recorder needs logits and targets; let training_step return {'loss': ..., 'logits': logits, "
                "'targets': targets}, or leave the recorder out of attach."
            )
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
    return [] if loaders is None else _loaders(loaders)


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
