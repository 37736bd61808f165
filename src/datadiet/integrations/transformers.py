"""The Hugging Face Trainer with example ids: a dynamic sampler, a recorder, or both, resumed with its checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback

from datadiet.dynamic import DynamicSampler, score_everything
from datadiet.foundation.errors import BadInputError
from datadiet.integrations.accelerate import end_epoch
from datadiet.tracking import Recorder

_SAMPLER_FILE = "datadiet_sampler.safetensors"


class DataDietCallback(TrainerCallback):  # type: ignore[misc]
    """Closes epochs, runs the scoring passes that are due, and saves beside the Trainer's checkpoints."""

    def __init__(self, trainer: DataDietTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Score everything where the selector wants that before its choice."""
        if self.trainer.sampler is not None and self.trainer.sampler.needs_scoring_pass:
            self.trainer.score_everything()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Merge over ranks what was told, and let the selector know."""
        self.trainer.close_epoch()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save the sampler once, and each rank's recorder."""
        self.trainer.save_progress(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class DataDietTrainer(Trainer):  # type: ignore[misc]
    """A `Trainer` whose batches carry the ids of their examples.

    The training set needs a column of ids: `datadiet.dynamic.with_ids(dataset)` adds it. It survives
    `remove_unused_columns`, never reaches the model, and what the model returned goes to the sampler and the recorder
    under it. Gradient accumulation, several processes and `resume_from_checkpoint` work as ever; epochs have the
    lengths of the sampler. Nothing of transformers is patched: this is a subclass.

    The learning rate schedule is laid over the steps that are planned. A selector whose epochs depend on the losses
    (`infobatch`) takes fewer, so that its schedule does not quite reach the end; give `max_steps` where that matters.

    Args:
        sampler: without `batch_size`, and with `rank=0, world_size=1`: the Trainer deals out batches itself.
        recorder: records every training batch.
        id_column: the column of the ids.
        scoring_batch_size: of one rank in scoring passes; the evaluation batch size by default.
        args, kwargs: as `transformers.Trainer`.

    Raises:
        BadInputError: a sampler that deals out batches or is of another size, or data without ids.
    """

    def __init__(
        self,
        *args: Any,
        sampler: DynamicSampler | None = None,
        recorder: Recorder | None = None,
        id_column: str = "id",
        scoring_batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if sampler is None and recorder is None:
            raise BadInputError("give the Trainer a sampler, a recorder, or both.")
        self.sampler, self.recorder, self.id_column = sampler, recorder, id_column
        self.scoring_batch_size = scoring_batch_size or self.args.eval_batch_size
        self._recorder_file = f"datadiet_recorder_{self.args.process_index}.safetensors"
        columns = getattr(self.train_dataset, "column_names", None)
        if columns is not None and id_column not in columns:
            raise BadInputError(
                f"the training set has no column {id_column!r}; add it with "
                "datadiet.dynamic.with_ids(dataset), so that each example brings its id."
            )
        if sampler is not None:
            if sampler.batch_size is not None or sampler.world_size != 1:
                raise BadInputError(
                    "the Trainer makes batches and deals them out itself; make the sampler without batch_size and "
                    "with rank=0, world_size=1."
                )
            if not hasattr(Trainer, "_init_training_state"):
                raise BadInputError("a sampler in the Trainer needs transformers 5 or later; update it.")
            size = len(self.train_dataset)
            if int(sampler.ids[-1]) >= size:
                raise BadInputError(
                    f"the sampler has ids up to {sampler.ids[-1]}, the training set {size} rows."
                )
        self._fresh = [(each, each.state_dict()) for each in (sampler, recorder) if each is not None]
        self.add_callback(DataDietCallback(self))

    def example_losses(self, outputs: Any, labels: Any) -> torch.Tensor:
        """(batch,) losses for selectors by loss and for weights: cross-entropy of one label an example. Override it
        for other tasks.

        Raises:
            BadInputError: the outputs are not logits of classes.
        """
        logits = _logits(outputs)
        if logits.ndim != 2 or labels.ndim != 1 or labels.is_floating_point():
            raise BadInputError(
                f"logits of shape {tuple(logits.shape)} and labels of shape {tuple(labels.shape)} are no "
                "classification; override DataDietTrainer.example_losses with the loss of each example."
            )
        return F.cross_entropy(logits.float(), labels, reduction="none")

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The Trainer's loss, times the sampler's weights where there are any; tells sampler and recorder."""
        inputs = dict(inputs)
        ids, labels = inputs.pop(self.id_column, None), inputs.get("labels")
        loss, outputs = super().compute_loss(
            model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        if model.training:
            if ids is None:
                raise BadInputError(
                    f"a training batch has no {self.id_column!r}; wrap the data set with datadiet.dynamic.with_ids, "
                    "and let the collator keep it."
                )
            losses = None
            if self.sampler is not None and self.sampler.selector.measure == "loss":
                losses = self.example_losses(outputs, labels)
                self.sampler.update(ids, losses)
            elif self.sampler is not None:
                self.sampler.update(ids, _logits(outputs), labels)
            if self.recorder is not None:
                self.recorder.update(ids, _logits(outputs), labels)
            if self.sampler is not None and self.sampler.is_weighted:
                losses = self.example_losses(outputs, labels) if losses is None else losses
                loss = self._mean_of_weighted(
                    losses * self.sampler.weights(ids).to(losses), num_items_in_batch
                )
        return (loss, outputs) if return_outputs else loss

    def _mean_of_weighted(self, weighted: torch.Tensor, num_items: Any) -> torch.Tensor:
        """Mean of weighted losses, scaled for gradient accumulation as the Trainer's own."""
        if self.label_smoother is not None or self.compute_loss_func is not None:
            raise BadInputError(
                "this selector weighs losses, which a label smoother or compute_loss_func does not let through; "
                "leave these out and override DataDietTrainer.example_losses."
            )
        if not (self.model_accepts_loss_kwargs and num_items is not None):
            return weighted.mean()
        total: torch.Tensor = weighted.sum() / num_items
        if self.args.average_tokens_across_devices:
            total = total * (self.accelerator.num_processes if self.args.n_gpu <= 1 else self.args.n_gpu)
        return total

    def close_epoch(self) -> None:
        """End the epoch of the recorder and the sampler; on every rank."""
        end_epoch(self.accelerator, self.sampler, self.recorder)

    def score_everything(self) -> float:
        """A scoring pass over the training set, each rank its share; returns its seconds."""
        assert self.sampler is not None
        dataset, collator = self.train_dataset, self.data_collator
        if hasattr(dataset, "column_names"):
            dataset = self._remove_unused_columns(dataset, description="training")
        else:
            collator = self._get_collator_with_removed_columns(collator, description="training")
        batches = DataLoader(
            dataset,
            batch_sampler=self.sampler.scoring_batches(self.scoring_batch_size),
            collate_fn=collator,
            num_workers=self.args.dataloader_num_workers,
        )
        by_loss = self.sampler.selector.measure == "loss"

        def forward(model: torch.nn.Module, batch: dict[str, Any]) -> tuple[Any, Any, Any]:
            inputs = dict(self._prepare_inputs(batch))
            ids, labels = inputs.pop(self.id_column, None), inputs.get("labels")
            with self.compute_loss_context_manager():
                outputs = model(**inputs)
            return ids, outputs if by_loss else _logits(outputs), labels

        model = self.accelerator.unwrap_model(self.model_wrapped)
        loss = self.example_losses if by_loss else None
        return score_everything(model, batches, self.sampler, forward=forward, loss=loss)

    def save_progress(self, folder: Path) -> None:
        """Write the states of sampler and recorder into a checkpoint; on every rank."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.recorder is not None:
            save_file(self.recorder.state_dict(), folder / self._recorder_file)
        if self.sampler is not None:
            self.sampler.gather()
            if self.is_world_process_zero():
                save_file(self.sampler.state_dict(), folder / _SAMPLER_FILE)

    def set_initial_training_values(self, args: Any, dataloader: Any, *rest: Any, **named: Any) -> Any:
        """The Trainer's, with the steps of all epochs as the sampler plans them."""
        for each, state in self._fresh:
            each.load_state_dict(state)  # a call of train() begins anew
        values = super().set_initial_training_values(args, dataloader, *rest, **named)
        if self.sampler is None or args.max_steps > 0:
            return values
        steps = 0.0
        for epoch in range(math.ceil(args.num_train_epochs)):
            size = self.sampler.planned_size(epoch)
            batches = self._batches_of(self.sampler.num_examples if size is None else size)
            steps += min(1.0, args.num_train_epochs - epoch) * self._steps_of(batches)
        return (*values[:-1], math.ceil(steps))

    def _batches_of(self, size: int) -> int:
        """How many batches each process gets of so many examples."""
        per_round = int(self._train_batch_size * self.accelerator.num_processes)
        return size // per_round if self.args.dataloader_drop_last else math.ceil(size / per_round)

    def _steps_of(self, batches: int) -> int:
        """How many steps the optimiser takes in so many batches."""
        return max(1, math.ceil(batches / int(self.args.gradient_accumulation_steps)))

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        return super()._get_train_sampler(*args, **kwargs) if self.sampler is None else self.sampler

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if self.id_column not in self._signature_columns:
            self._signature_columns.append(self.id_column)

    def _init_training_state(
        self,
        max_steps: int,
        num_update_steps_per_epoch: int,
        num_train_epochs: int,
        resume_from_checkpoint: str | None,
        trial: Any,
    ) -> tuple[int, int]:
        trained: tuple[int, int] = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        if resume_from_checkpoint is None:
            return trained
        folder = Path(resume_from_checkpoint)
        if self.recorder is not None:
            self.recorder.load_state_dict(_read(folder / self._recorder_file))
        if self.sampler is None:
            if self.recorder is not None and trained[1] == 0 and self.recorder.epoch < trained[0]:
                self.close_epoch()  # saved after an epoch's last step, before its end
            return trained
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
        return self.sampler.epoch, batches

    def _run_epoch(self, **named: Any) -> Any:
        if self.sampler is not None:
            batches = self._batches_of(len(self.sampler))
            named |= {"steps_in_epoch": batches, "num_update_steps_per_epoch": self._steps_of(batches)}
        return super()._run_epoch(**named)


def _logits(outputs: Any) -> Any:
    if isinstance(outputs, Mapping):
        if "logits" not in outputs:
            raise BadInputError(f"the model returns no logits, only {', '.join(outputs)}.")
        return outputs["logits"]
    return outputs[1] if isinstance(outputs, tuple | list) else outputs.logits


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
