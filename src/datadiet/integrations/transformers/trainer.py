"""`DataDietTrainer`, and `attach` for a Trainer of any class: what a Trainer does otherwise with ids."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback

from datadiet.dynamic import DynamicSampler, score_everything, with_ids
from datadiet.foundation.errors import BadInputError
from datadiet.integrations.accelerate import end_epoch
from datadiet.integrations.transformers.loss import ExampleLosses, TrainerLoss, logits_of
from datadiet.integrations.transformers.rows import CollatorWithIds, Positions, places_of_ids, size_of
from datadiet.tracking import Recorder

_SAMPLER_FILE = "datadiet_sampler.safetensors"

if TYPE_CHECKING:

    class _BesideTrainer(Trainer):  # type: ignore[misc]
        """Stands beside a Trainer, whose methods and attributes it has."""

else:
    _BesideTrainer = object


class DataDietCallback(TrainerCallback):  # type: ignore[misc]
    """Closes epochs, runs the scoring passes that are due, and saves beside the Trainer's checkpoints."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say how many steps are planned, before anything is shown of them."""
        steps = self.trainer.planned_steps()
        if steps is not None:
            state.max_steps = steps

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Merge over ranks what was told, let the selector know, and score everything where it wants that next."""
        self.trainer.close_epoch()
        if not control.should_training_stop:
            self.trainer.score_if_due()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save the sampler once, and each rank's recorder."""
        self.trainer.save_progress(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class _Followed(_BesideTrainer):
    """What a Trainer does otherwise once a sampler or a recorder follows it; stands before its class."""

    def follow(
        self,
        sampler: DynamicSampler | None,
        recorder: Recorder | None,
        id_column: str,
        scoring_batch_size: int | None,
        example_losses: ExampleLosses | None,
    ) -> None:
        """Check what is given, and let the Trainer's epochs be told of.

        Raises:
            BadInputError: what does not go together.
        """
        if sampler is None and recorder is None:
            raise BadInputError("give the Trainer a sampler, a recorder, or both.")
        size_of(self.train_dataset)
        self.sampler, self.recorder, self.id_column = sampler, recorder, id_column
        self.scoring_batch_size = scoring_batch_size or self.args.eval_batch_size
        self._recorder_file = f"datadiet_recorder_{self.args.process_index}.safetensors"
        columns = getattr(self.train_dataset, "column_names", None)
        if columns is not None and id_column not in columns:
            raise BadInputError(
                f"the training set has no column {id_column!r}; add it with "
                "datadiet.dynamic.with_ids(dataset), so that each example brings its id."
            )
        self._places = None
        if sampler is not None:
            self._check_settings(sampler)
            self._places = places_of_ids(self.train_dataset, id_column, sampler)
        collator: Any = self.data_collator
        self.data_collator: Any = CollatorWithIds(collator, id_column)
        own = getattr(type(self), "example_losses", None)
        given = example_losses or (own and functools.partial(own, self))
        self._weighed = TrainerLoss(self, sampler, recorder, given or None)
        self._fresh = [(each, each.state_dict()) for each in (sampler, recorder) if each is not None]
        self._resumed_from: str | None = None
        self._steps: int | None = None
        callback = DataDietCallback(self)
        self.add_callback(callback)
        handlers = self.callback_handler.callbacks
        handlers.insert(0, handlers.pop())  # before those that show how many steps there will be

    def _check_settings(self, sampler: DynamicSampler) -> None:
        if sampler.batch_size is not None or sampler.world_size != 1:
            raise BadInputError(
                "the Trainer makes batches and deals them out itself; make the sampler without batch_size and "
                "with rank=0, world_size=1."
            )
        order = getattr(self.args, "train_sampling_strategy", "random")
        if getattr(self.args, "group_by_length", False):
            order = "group_by_length"
        if str(getattr(order, "value", order)) != "random":
            raise BadInputError(
                f"{order} orders the training set itself, where the sampler has to; leave it out of TrainingArguments."
            )

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **named: Any) -> Any:
        """The Trainer's loss, with the sampler's weights where there are any; tells sampler and recorder."""
        inputs = dict(inputs)
        ids = inputs.pop(self.id_column, None)
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs=return_outputs, **named)
        if ids is None:
            raise BadInputError(
                f"a training batch has no {self.id_column!r}; wrap the data set with datadiet.dynamic.with_ids, and "
                "let the collator return a mapping."
            )
        counted = "num_items_in_batch" in named

        def compute(whose: Any, given: Mapping[str, Any], items: Any) -> tuple[torch.Tensor, Any]:
            if counted:
                named["num_items_in_batch"] = items
            outputs_too = return_outputs or self._weighed.wants_outputs
            result = super(_Followed, self).compute_loss(
                whose, dict(given), return_outputs=outputs_too, **named
            )
            return result if isinstance(result, tuple) else (result, None)

        loss, outputs = self._weighed(model, inputs, ids, named.get("num_items_in_batch"), compute)
        return (loss, outputs) if return_outputs else loss

    def prediction_step(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        """The Trainer's, on inputs without ids."""
        inputs = {key: value for key, value in inputs.items() if key != self.id_column}
        return super().prediction_step(model, inputs, *rest, **named)

    def close_epoch(self) -> None:
        """End the epoch of the recorder and the sampler; on every rank."""
        end_epoch(self.accelerator, self.sampler, self.recorder)

    def score_if_due(self) -> None:
        """A scoring pass where another epoch comes that wants one before its choice."""
        sampler = self.sampler
        if sampler is None or not sampler.needs_scoring_pass:
            return
        if self.args.max_steps > 0 or sampler.epoch < self.args.num_train_epochs:
            self.score_everything()

    def score_everything(self) -> float:
        """A scoring pass over the training set, each rank its share; returns its seconds."""
        assert self.sampler is not None
        dataset, collator = self.train_dataset, self.data_collator
        if hasattr(dataset, "column_names"):
            dataset = self._remove_unused_columns(dataset, description="training")
        else:
            collator = self._get_collator_with_removed_columns(collator, description="training")
        batches = self.sampler.scoring_batches(self.scoring_batch_size)
        if self._places is not None:
            batches = [[int(self._places[number]) for number in batch] for batch in batches]
        loader = DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=collator,
            num_workers=self.args.dataloader_num_workers,
        )
        by_loss = self.sampler.selector.measure == "loss"

        def forward(model: torch.nn.Module, batch: dict[str, Any]) -> tuple[Any, Any, Any]:
            inputs = dict(self._prepare_inputs(batch))
            ids = inputs.pop(self.id_column, None)
            with self.compute_loss_context_manager():
                outputs = model(**inputs)
            return ids, outputs if by_loss else logits_of(outputs), self._weighed.labels_of(inputs)

        model = self.accelerator.unwrap_model(self.model_wrapped)
        loss = (self._weighed.example_losses or _cross_entropy) if by_loss else None
        return score_everything(model, loader, self.sampler, forward=forward, loss=loss)

    def save_progress(self, folder: Path) -> None:
        """Write the states of sampler and recorder into a checkpoint; on every rank."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.recorder is not None:
            save_file(self.recorder.state_dict(), folder / self._recorder_file)
        if self.sampler is not None:
            self.sampler.gather()
            if self.is_world_process_zero():
                save_file(self.sampler.state_dict(), folder / _SAMPLER_FILE)

    # Steps and epochs

    def planned_steps(self) -> int | None:
        """The steps of all epochs as the sampler plans them; None where the Trainer knows better."""
        if self.sampler is None or self.args.max_steps > 0:
            return None
        steps = 0.0
        for epoch in range(math.ceil(self.args.num_train_epochs)):
            size = self.sampler.planned_size(epoch)
            batches = self._batches_of(self.sampler.num_examples if size is None else size)
            steps += min(1.0, self.args.num_train_epochs - epoch) * self._steps_of(batches)
        return math.ceil(steps)

    def _batches_of(self, size: int) -> int:
        """How many batches each process gets of so many examples."""
        per_round = int(self._train_batch_size * self.accelerator.num_processes)
        return size // per_round if self.args.dataloader_drop_last else math.ceil(size / per_round)

    def _steps_of(self, batches: int) -> int:
        """How many steps the optimiser takes in so many batches."""
        return max(1, math.ceil(batches / int(self.args.gradient_accumulation_steps)))

    def _inner_training_loop(
        self,
        batch_size: int | None = None,
        args: Any = None,
        resume_from_checkpoint: Any = None,
        trial: Any = None,
        ignore_keys_for_eval: Any = None,
    ) -> Any:
        for each, state in self._fresh:
            each.load_state_dict(state)  # a call of train() begins anew
        self._resumed_from = resume_from_checkpoint or None
        return super()._inner_training_loop(
            batch_size=batch_size,
            args=args,
            resume_from_checkpoint=resume_from_checkpoint,
            trial=trial,
            ignore_keys_for_eval=ignore_keys_for_eval,
        )

    def set_initial_training_values(self, args: Any, dataloader: Any, *rest: Any, **named: Any) -> Any:
        """The Trainer's, with the steps of all epochs as the sampler plans them."""
        epochs, *between, steps = super().set_initial_training_values(args, dataloader, *rest, **named)
        if self.sampler is not None and args.max_steps > 0:
            epochs = sys.maxsize  # how many it takes is not known: later epochs may be shorter than the first
        return (epochs, *between, self.planned_steps() or steps)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The Trainer's, over the steps of all epochs as the sampler plans them."""
        return super().create_scheduler(self.planned_steps() or num_training_steps, optimizer)

    def _load_callback_state(self) -> None:
        # What comes next in every version: epochs and batches that are over are worked out from global_step.
        super()._load_callback_state()
        if self._resumed_from is None:
            return
        folder = Path(self._resumed_from)
        if self.recorder is not None:
            self.recorder.load_state_dict(_read(folder / self._recorder_file))
        if self.sampler is None:
            if self.recorder is not None and self.state.epoch >= self.recorder.epoch + 1:
                self.close_epoch()  # saved after an epoch's last step, before its end
            return
        # The Trainer counts epochs as if all were as long as the first, so the sampler says where training is.
        # It skips batches itself, so the sampler hands the epoch out from its beginning.
        state = _read(folder / _SAMPLER_FILE)
        self.sampler.load_state_dict(state)
        done = self.sampler.resumed_at
        self.sampler.load_state_dict(state, rewind=True)
        batches = -(-done // (self._train_batch_size * self.accelerator.num_processes))
        if done and batches >= self._batches_of(len(self.sampler)):
            self.close_epoch()
            batches = 0
        self.score_if_due()
        steps = _Steps(self.state.global_step)
        steps.epoch, steps.of_epoch = self.sampler.epoch, batches // self.args.gradient_accumulation_steps
        self.state.global_step = steps

    def _run_epoch(self, **named: Any) -> Any:
        if self.sampler is not None:
            batches = self._batches_of(len(self.sampler))
            named |= {"steps_in_epoch": batches, "num_update_steps_per_epoch": self._steps_of(batches)}
        return super()._run_epoch(**named)

    # Data

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        if self.sampler is None:
            return super()._get_train_sampler(*args, **kwargs)
        return self.sampler if self._places is None else Positions(self.sampler, self._places)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if self.id_column not in self._signature_columns:
            self._signature_columns.append(self.id_column)


class _Steps(int):
    """The steps taken so far, divided by the epochs that they really were: `//` gives these, `%` what is left."""

    epoch = of_epoch = 0

    def __floordiv__(self, _: Any) -> int:
        return self.epoch

    def __mod__(self, _: Any) -> int:
        return self.of_epoch


class DataDietTrainer(_Followed, Trainer):  # type: ignore[misc]
    """A `Trainer` whose batches carry the ids of their examples.

    The training set needs a column of ids: `datadiet.dynamic.with_ids(dataset)` adds it. It survives
    `remove_unused_columns` and any collator, never reaches the model, and what the model returned goes to the sampler
    and the recorder under it. Rows may have been shuffled, filtered or selected after their ids were given: the sampler
    deals out ids. Gradient accumulation, several processes and `resume_from_checkpoint` work as ever; epochs have the
    lengths of the sampler. Nothing of transformers is patched: this is a subclass; `attach` does the same for a Trainer
    of another class.

    The loss that a selector weighs is the Trainer's own: that of the model, `compute_loss`, `compute_loss_func` or
    the label smoother, with its class weights, ignored tokens and what it is divided by (see
    `datadiet.dynamic.weighed_loss`). On the first batch it is checked that it is a sum of losses of examples; where it
    cannot be taken apart, give `example_losses`.

    The learning rate schedule is laid over the steps that are planned. A selector whose epochs depend on the losses
    (`infobatch`) takes fewer, so that its schedule does not quite reach the end; give `max_steps` where that matters.

    Args:
        sampler: without `batch_size`, and with `rank=0, world_size=1`: the Trainer deals out batches itself.
        recorder: records every training batch.
        id_column: the column of the ids.
        scoring_batch_size: of one rank in scoring passes; the evaluation batch size by default.
        example_losses: `(outputs, labels) -> (batch,)`, by which examples are ranked, and that are weighed where the
            Trainer's own loss cannot be taken apart. A method of this name does the same.
        args, kwargs: as `transformers.Trainer`.

    Raises:
        BadInputError: a sampler that deals out batches or is of other ids, data without ids or length, a setting that
            orders the data itself; on the first batch a loss that cannot be weighed.
    """

    def __init__(
        self,
        *args: Any,
        sampler: DynamicSampler | None = None,
        recorder: Recorder | None = None,
        id_column: str = "id",
        scoring_batch_size: int | None = None,
        example_losses: ExampleLosses | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.follow(sampler, recorder, id_column, scoring_batch_size, example_losses)


def attach(
    trainer: Trainer,
    *,
    sampler: DynamicSampler | None = None,
    recorder: Recorder | None = None,
    id_column: str = "id",
    scoring_batch_size: int | None = None,
    example_losses: ExampleLosses | None = None,
) -> Trainer:
    """Let a sampler and a recorder follow a Trainer that is there already, also one of a subclass (TRL's `SFTTrainer`).

    Its class becomes one that derives from it and does what `DataDietTrainer` does beside, and a callback is added. A
    training set without ids gets them: the positions in it. (What the Trainer made of the data, such as packed
    sequences, is what has ids then.)

    Args:
        trainer: before `train()`.
        sampler: as of `DataDietTrainer`.
        recorder: as of `DataDietTrainer`.
        id_column: as of `DataDietTrainer`.
        scoring_batch_size: as of `DataDietTrainer`.
        example_losses: as of `DataDietTrainer`.

    Returns:
        The same trainer.

    Raises:
        BadInputError: as `DataDietTrainer`, or something is attached already; the trainer is unchanged then.
    """
    if isinstance(trainer, _Followed):
        raise BadInputError("a sampler or a recorder follows this Trainer already; attach both at once.")
    kind, dataset = type(trainer), trainer.train_dataset
    size_of(dataset)
    columns = getattr(dataset, "column_names", None)
    if columns is None or id_column not in columns:
        trainer.train_dataset = with_ids(dataset, id_column)
    trainer.__class__ = type(f"DataDiet{kind.__name__}", (_Followed, kind), {})
    try:
        trainer.follow(sampler, recorder, id_column, scoring_batch_size, example_losses)
    except BaseException:
        trainer.__class__, trainer.train_dataset = kind, dataset
        raise
    return trainer


def _cross_entropy(outputs: Any, labels: Any) -> torch.Tensor:
    """Losses of a scoring pass, where none are given: of one class an example."""
    logits = logits_of(outputs)
    if logits.ndim != 2 or labels is None or labels.ndim != 1 or labels.is_floating_point():
        raise BadInputError(
            f"logits of shape {tuple(logits.shape)} are no classification with one label an example; give "
            "example_losses=, a function (outputs, labels) -> (batch,)."
        )
    return F.cross_entropy(logits.float(), labels, reduction="none")


def _read(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise BadInputError(
            f"{path.parent} has no {path.name}: it was saved without the sampler or recorder that is to go on from it."
        )
    try:
        state: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read as a state: {error}.") from error
    return state
