"""The one training loop, its learning rate as a pure function of the step, and what observes every run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from datadiet.data import Augmentation, Batch, Store
from datadiet.engine.training.checkpoint import TrainingState
from datadiet.engine.training.devices import autocast, deterministic_kernels, memory_format_of, on_device
from datadiet.engine.training.ledger import Ledger
from datadiet.engine.training.randomness import derive_seed, local_randomness, seed_generators
from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.errors import RunFailedError
from datadiet.foundation.progress import Advance
from datadiet.pergrad.batches import map_tensors
from datadiet.tasks import Task
from datadiet.tracking import Recorder

LOSS_CHECK_EVERY = 50  # steps between looks at the loss where looking makes the device wait


def learning_rate(recipe: Recipe, step: int, total_steps: int) -> float:
    """Learning rate of step `step` (counted from 0) of a run of `total_steps`.

    Being a function of the step alone, it needs no state, and a resumed run cannot get it wrong.

    Example:
        >>> recipe = Recipe(lr=1.0, schedule="multistep", milestones=(0.5,), decay=0.1)
        >>> [learning_rate(recipe, step, 4) for step in range(4)]
        [1.0, 1.0, 0.1, 0.1]
    """
    position = step / total_steps
    if recipe.schedule == "multistep":
        passed = sum(step >= round(milestone * total_steps) for milestone in recipe.milestones)
        return float(recipe.lr * recipe.decay**passed)
    if recipe.warmup > 0 and position < recipe.warmup:
        return float(recipe.lr * (step + 1) / math.ceil(recipe.warmup * total_steps))
    if recipe.schedule == "constant":
        return recipe.lr
    left = min(1.0, (total_steps - step) / (total_steps - math.ceil(recipe.warmup * total_steps) or 1))
    if recipe.schedule == "cosine":
        return float(recipe.lr * 0.5 * (1 - math.cos(math.pi * left)))
    return float(recipe.lr * left)


class Observer:
    """What may watch a loop. Override what is needed; the loop's fields may be read, never changed."""

    def on_begin(self, loop: TrainingLoop) -> None:
        """Before the first step of this process."""

    def on_batch(self, loop: TrainingLoop, batch: Batch, outputs: Any, losses: torch.Tensor) -> None:
        """After each optimiser step; outputs and losses are detached and of the weights before the step."""

    def on_epoch(self, loop: TrainingLoop) -> None:
        """After the last step of each whole epoch."""

    def on_step(self, loop: TrainingLoop) -> None:
        """After `on_batch` and `on_epoch`: everything of this step is done, a checkpoint may be taken."""

    def on_end(self, loop: TrainingLoop) -> None:
        """After the last step of this process."""


class TrainingLoop:
    """Trains a model on some ids of a store, step by step, with the randomness of each step its own.

    Args:
        recipe: a recipe with nothing left on "auto".
        model: freshly initialised, or to be restored by `load_state`.
        task: gives the loss.
        store: batches of the training part.
        ids: the ids to train on; None for all.
        seed: seed of the run: order, augmentation and dropout derive from it.
        total_steps: length of the run, which the schedule is laid over.
        accelerator: carries the run to its device or devices.
        augmentation: what is done to training images; None for nothing.
        observers: called in this order.

    Note:
        The loss of a step is the mean over the global batch, whatever share of it a device has.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        task: Task,
        store: Store,
        *,
        ids: np.ndarray | None,
        seed: int,
        total_steps: int,
        accelerator: Accelerator,
        augmentation: Augmentation | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.recipe, self.task, self.store, self.seed = recipe, task, store, seed
        self.ids = store.ids if ids is None else ids
        self.num_examples = len(self.ids)
        self.steps_per_epoch = recipe.steps_per_epoch(self.num_examples)
        self.batch_size = min(recipe.batch_size, self.num_examples)
        self.total_steps = total_steps
        self.accelerator = accelerator
        self.device: torch.device = accelerator.device
        self.augmentation = augmentation
        self.observers = list(observers)
        self.step = 0
        self.ledger = Ledger()
        self.memory_format = memory_format_of(recipe)
        model = on_device(recipe, model, self.device)
        # Precision and clipping are this loop's, so the optimiser needs no wrapper, which costs time at every step.
        self.optimizer = make_optimizer(recipe, model, self.device)
        self.model = accelerator.prepare(model)
        self._trainable = [p for p in self.model.parameters() if p.requires_grad]
        self._last_batch: Batch | None = None
        self._bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)

    @property
    def bare_model(self) -> nn.Module:
        """The model without the wrapper of distributed training."""
        return self.accelerator.unwrap_model(self.model)  # type: ignore[no-any-return]

    @property
    def seconds(self) -> float:
        """What the training took so far, with what its method needs: see `Ledger.method_seconds`."""
        return self.ledger.method_seconds

    @property
    def steps_taken(self) -> int:
        """Steps that the optimiser has made."""
        return self.step

    def run(self, until: int | None = None) -> None:
        """Train to step `until` (by default to the end); does nothing if it is already there.

        Raises:
            RunFailedError: the loss is no longer finite; the message names the step.
        """
        until = self.total_steps if until is None else min(until, self.total_steps)
        if self.step >= until:
            return
        self.model.train()
        with local_randomness(self.device), deterministic_kernels():
            self._notify("on_begin")
            while self.step < until:
                self._run_epoch(until)
            self._check_loss()
            self._notify("on_end")

    def _run_epoch(self, until: int) -> None:
        self.ledger.start()
        for batch, global_size in self._batches(until):
            self.ledger.lap("loading")
            self._step(batch, global_size)
            self.ledger.lap("training")
            if self._epoch_is_over():
                self._check_loss()
                self._notify("on_epoch")
                self._end_epoch()
            self._notify("on_step")
            self.ledger.lap("training")

    def _batches(self, until: int) -> Iterator[tuple[Batch, int]]:
        """The batches of the rest of this epoch, up to step `until`, each with the size of the global batch."""
        epoch, start = divmod(self.step, self.steps_per_epoch)
        batches = self.store.epoch(
            self.ids,
            batch_size=self.batch_size,
            seed=derive_seed(self.seed, "order"),
            epoch=epoch,
            augment=self.augmentation,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
            start_batch=start,
            device=self.device,
            memory_format=self.memory_format,
            bucket_by_length=self.recipe.bucket_by_length,
        )
        stop = min(self.steps_per_epoch - start, until - self.step)
        for _, batch in zip(range(stop), batches, strict=False):
            before = self.step % self.steps_per_epoch * self.batch_size
            yield batch, min(self.batch_size, self.num_examples - before)

    def _step(self, batch: Batch, global_size: int) -> None:
        process = self.accelerator.process_index
        seed_generators(derive_seed(self.seed, "step", self.step, process), self.device)
        rate = learning_rate(self.recipe, self.step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        shown = batch if len(batch) else self._last_batch
        if shown is None:
            raise RunFailedError(
                f"There are fewer examples ({self.num_examples}) than processes "
                f"({self.accelerator.num_processes}); start fewer processes."
            )
        with autocast(self.recipe, self.device):
            outputs = self.model(shown.inputs)
        losses = self.task.loss(outputs, shown.targets)
        share = self.accelerator.num_processes / global_size if len(batch) else 0.0
        loss = self._weighted(losses).sum() * share
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._trainable, self.recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        first_bad = (~torch.isfinite(loss.detach())) & (self._bad_step < 0)
        self._bad_step.masked_fill_(first_bad, self.step)
        self._last_batch = shown  # what a device without a share of a tiny last batch runs, at weight zero
        self._advance()
        self.ledger.steps += 1
        self.ledger.forwarded += global_size
        self.ledger.backwarded += global_size
        if self.device.type == "cpu" or self.step % LOSS_CHECK_EVERY == 0:
            self._check_loss()
        if len(batch):
            outputs, losses = map_tensors(torch.Tensor.detach, outputs), losses.detach()
            for observer in self.observers:
                observer.on_batch(self, batch, outputs, losses)
            self._report(batch, outputs, losses)

    # What a loop does otherwise whose epochs are not all on the same examples.

    def _weighted(self, losses: torch.Tensor) -> torch.Tensor:
        return losses

    def _advance(self) -> None:
        self.step += 1

    def _epoch_is_over(self) -> bool:
        return self.step % self.steps_per_epoch == 0

    def _report(self, batch: Batch, outputs: torch.Tensor, losses: torch.Tensor) -> None:
        """After the observers, what this process's share of the batch came to."""

    def _end_epoch(self) -> None:
        """After the last step of each whole epoch and its observers."""

    def selection_state(self) -> dict[str, torch.Tensor]:
        """What has to be kept of what examples are chosen by; nothing here."""
        return {}

    def load_selection(self, state: dict[str, torch.Tensor]) -> None:
        """Go on with what `selection_state` gave."""

    def _check_loss(self) -> None:
        bad = int(self._bad_step)
        if bad >= 0:
            raise RunFailedError(
                f"The loss became NaN or infinite at step {bad} of {self.total_steps} (epoch "
                f"{bad // self.steps_per_epoch + 1}, seed {self.seed}); this run was stopped and what was "
                f"finished is kept. Try a lower learning rate than {self.recipe.lr:g}."
            )

    def _notify(self, event: str) -> None:
        for observer in self.observers:
            getattr(observer, event)(self)

    def model_state(self) -> dict[str, torch.Tensor]:
        """The model's state on the CPU, without wrappers."""
        return {name: tensor.detach().cpu() for name, tensor in self.bare_model.state_dict().items()}

    def training_state(self) -> TrainingState:
        """Where the loop stands, but for what observers keep."""
        return TrainingState(
            self.step,
            self.model_state(),
            self.seconds,
            self.optimizer.state_dict(),
            ledger=self.ledger.as_dict(),
            selection=self.selection_state(),
        )

    def load_state(self, state: TrainingState) -> None:
        """Go on from a checkpoint, to the same bits as without the interruption; the ledger goes on as well."""
        self.bare_model.load_state_dict(state.model)
        if state.optimizer is not None:
            self.optimizer.load_state_dict(state.optimizer)
        self.step = state.step
        self.ledger = Ledger.from_dict(state.ledger or {"seconds": {"training": state.seconds}})
        if state.selection:
            self.load_selection(state.selection)


def make_optimizer(recipe: Recipe, model: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters that take gradients."""
    parameters = _decayed_and_not(model, recipe)
    fused = device.type in ("cpu", "cuda")
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov and recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
            fused=fused,
        )
    return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused)


def _decayed_and_not(model: nn.Module, recipe: Recipe) -> list[Any]:
    """The parameters that take gradients, in two groups where weight decay leaves some of them alone."""
    learnt = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if recipe.decay_norms_and_biases:
        return list(learnt.values())
    free = {
        id(p)
        for module in model.modules()
        for name, p in module.named_parameters(recurse=False)
        if "bias" in name or "norm" in type(module).__name__.lower()
    }
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learnt.values() if id(p) not in free]},
        {"params": [p for p in learnt.values() if id(p) in free], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


class RecordTrace(Observer):
    """Feeds a `Recorder`, and merges at the end of each epoch what the processes saw."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def on_batch(self, loop: TrainingLoop, batch: Batch, outputs: Any, losses: torch.Tensor) -> None:
        """Record the batch as the training pass saw it."""
        self.recorder.update(batch.ids, outputs, batch.targets)

    def on_epoch(self, loop: TrainingLoop) -> None:
        """Close the epoch."""
        if loop.accelerator.num_processes > 1:
            accelerator = loop.accelerator
            self.recorder.reduce(lambda column: accelerator.reduce(column.to(accelerator.device), "sum"))
        self.recorder.end_epoch(write=loop.accelerator.is_main_process)


class NoteEpochs(Observer):
    """Tells which file of the trace was written, at the end of each epoch.

    Args:
        recorder: that writes the trace to a folder.
        note: takes the path of the epoch's file.
    """

    def __init__(self, recorder: Recorder, note: Callable[[Path], None]) -> None:
        self.recorder, self.note = recorder, note

    def on_epoch(self, loop: TrainingLoop) -> None:
        """After the recorder has closed the epoch."""
        if loop.accelerator.is_main_process:
            self.note(self.recorder.trace.file_of(self.recorder.epoch))


class SaveCheckpoints(Observer):
    """Writes the state every so many seconds; with several processes, at ends of epochs, where they agree.

    Args:
        keep: keeps the bytes of the latest state.
        recorder: whose state goes along; None when nothing is recorded.
        every: seconds between two checkpoints.
    """

    def __init__(self, keep: Callable[[bytes], None], recorder: Recorder | None, every: float) -> None:
        self.keep, self.recorder, self.every = keep, recorder, every
        self._last = time.monotonic()

    def on_step(self, loop: TrainingLoop) -> None:
        """Write, if it is time and this is the process that writes."""
        if not loop.accelerator.is_main_process or time.monotonic() - self._last < self.every:
            return
        if loop.accelerator.num_processes > 1 and loop.step % loop.steps_per_epoch:
            return
        self.write(loop)

    def write(self, loop: TrainingLoop) -> None:
        """Write the state now."""
        state = loop.training_state()
        if self.recorder is not None:
            state.recorder = self.recorder.state_dict()
        self.keep(state.as_bytes())
        self._last = time.monotonic()


class ShowProgress(Observer):
    """Moves a progress bar a step at a time; a step of a dynamic loop may be worth several."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self._shown = 0

    def on_begin(self, loop: TrainingLoop) -> None:
        """From where the loop stands."""
        self._shown = loop.step

    def on_step(self, loop: TrainingLoop) -> None:
        """One step further."""
        self.advance(loop.step - self._shown)
        self._shown = loop.step
