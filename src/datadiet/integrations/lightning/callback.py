"""Lightning callbacks: they see to the loader, tell of each batch, close epochs, and save with checkpoints."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from datadiet.dynamic import DynamicSampler, score_everything
from datadiet.foundation.errors import BadInputError
from datadiet.integrations.lightning.settings import check_settings, only_loader, samplers_in
from datadiet.integrations.loader_rows import check_rows
from datadiet.tracking import Recorder

OUTPUTS = "{'loss': ..., 'logits': logits, 'targets': targets}"
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
                check_settings(trainer, self.sampler)
            self.replace(pl_module, "training_step", lambda own: self.followed_step(pl_module, own))
            source = trainer.fit_loop._data_source
            self.replace(source, "dataloader", lambda own: lambda: self._ready(trainer, pl_module, own()))

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Put what is made of a method in its place, until the training is over."""
        own, is_of_class = getattr(owner, name), name not in vars(owner)
        setattr(owner, name, make(own))
        self._undo.append(lambda: delattr(owner, name) if is_of_class else setattr(owner, name, own))

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
        if self.sampler is not None and self.sampler not in samplers_in(trainer.train_dataloader):
            raise BadInputError(
                "Lightning put a sampler of its own in the place of the callback's; give the Trainer "
                "use_distributed_sampler=False, and leave out overfit_batches."
            )

    def _ready(self, trainer: Any, pl_module: Any, loaders: Any) -> Any:
        """The training loader, once it is seen that an epoch of it is one of the sampler's, and which comes next."""
        self._close_if_over(trainer)
        found = samplers_in(loaders)
        if not self._is_given:
            self._take(found[0] if found else None)
        elif self.sampler not in found:
            raise BadInputError(
                f"the training loader does not have the callback's sampler; {_HANDED_OVER}, or leave the sampler of "
                "the callback out, so that it takes that of the loader."
            )
        sampler = self.sampler
        if sampler is None:
            if self.recorder is None:
                raise BadInputError(
                    f"give the callback a sampler, a recorder, or both; or {_HANDED_OVER}, whose sampler it takes."
                )
            return loaders
        check_settings(trainer, sampler)
        loader = only_loader(loaders)
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
                    f"the training loader has no DynamicSampler, but had one before; {_HANDED_OVER}."
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

    def followed_step(self, pl_module: Any, own: Callable[..., Any]) -> Callable[..., Any]:
        """A module's `training_step`, and a look at what it returns before the model is trained on it."""

        @functools.wraps(own)
        def training_step(*args: Any, **kwargs: Any) -> Any:
            returned = own(*args, **kwargs)
            is_left_out = returned is None and pl_module.automatic_optimization
            if not is_left_out and (not isinstance(returned, Mapping) or "ids" not in returned):
                raise BadInputError(
                    "training_step returned no 'ids'; wrap the data set with datadiet.dynamic.with_ids and return "
                    "{'loss': ..., 'ids': ids, 'logits': logits, 'targets': targets}, or let "
                    "datadiet.integrations.lightning.attach take the ids off the batch."
                )
            self.check_outputs(returned)
            return returned

        return training_step

    def check_outputs(self, returned: Any) -> None:
        """See that a recorder gets what it needs.

        Raises:
            BadInputError: it does not.
        """
        if self.recorder is not None and returned is not None and not has_outputs(returned):
            raise BadInputError(
                f"the recorder needs logits and targets; let training_step return {OUTPUTS}, or leave the recorder "
                "out."
            )

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell of a batch what `training_step` returned; one that it left out by returning None is not told of."""
        self._open = trainer.current_epoch
        if outputs:
            self.tell(outputs)

    def tell(self, outputs: Mapping[str, Any]) -> None:
        """Tell sampler and recorder what `training_step` returned."""
        ids, targets = outputs["ids"], outputs.get("targets")
        logits, losses = outputs.get("logits"), outputs.get("losses")
        if self.sampler is not None:
            if self.sampler.selector.measure == "loss" and losses is not None:
                self.sampler.update(ids, losses)
            elif logits is None and not self.sampler.selector.needs_reports:
                tell_of(self.sampler, ids)
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


def tell_of(sampler: DynamicSampler, ids: Any) -> None:
    """Tell that a batch was trained on, where the selector takes no numbers: a state then knows how far it was."""
    sampler.update(ids, measured=torch.zeros(len(ids)))


def has_outputs(returned: Any) -> bool:
    return isinstance(returned, Mapping) and "logits" in returned and "targets" in returned
