"""The training loop with a dynamic sampler: each epoch is on what was chosen, and the choosing is on the bill."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from datadiet.data import Batch
from datadiet.dynamic import DynamicSampler
from datadiet.dynamic.measured import numbers_of, numbers_of_task
from datadiet.training.dynamic_plan import sampler_for
from datadiet.training.evaluation import evaluate
from datadiet.training.loop import TrainingLoop
from datadiet.training.seeding import derive_seed

SCORING_BATCHES = 4  # a pass that only scores takes batches that many times as large: it keeps no gradients


class DynamicLoop(TrainingLoop):
    """Trains for the recipe's epochs of a `DynamicSampler`, which are as long as what was chosen for them.

    `step` and `total_steps` count in steps of an epoch on everything: an epoch of fewer steps moves `step` on by more
    than one at a time, so that every epoch passes through the same learning rates however long it is, and the
    schedule ends where the run does, though nobody knows beforehand how many steps there will be. `ledger.steps`
    counts the optimiser's own.

    Arguments are those of `TrainingLoop`; the recipe names the selector.

    Note:
        The loss of a step is the mean over the global batch of each loss times its weight, as the selector gives it.
        Selectors are told the losses and outputs of the training pass, or those of a scoring pass where they want one.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.ids = np.sort(self.ids)
        lengths = self.store.lengths() if self.recipe.bucket_by_length else None
        if lengths is not None:
            lengths = lengths[self.store.part.positions_of(self.ids)]
        self.sampler: DynamicSampler = sampler_for(
            self.recipe, self.ids, derive_seed(self.seed, "order"), lengths
        )
        self._epoch_steps = 0  # of the epoch under way
        self._done = 0  # of these
        self._weights: torch.Tensor | None = None  # of the batch under way, this process's share

    @property
    def steps_taken(self) -> int:
        """Steps that the optimiser has made."""
        return self.ledger.steps

    def selection_state(self) -> dict[str, torch.Tensor]:
        """The sampler's state, between two steps."""
        return self.sampler.state_dict(done=self._done)

    def load_selection(self, state: dict[str, torch.Tensor]) -> None:
        """Go on with the sampler where it stood."""
        self.sampler.load_state_dict(state)
        self._done = self.sampler.resumed_at

    def _batches(self, until: int) -> Iterator[tuple[Batch, int]]:
        sampler, process = self.sampler, self.accelerator.process_index
        if sampler.needs_scoring_pass:
            self._score_everything()
        self._epoch_steps = len(sampler)
        sizes = self.ledger.epoch_sizes
        sizes[sampler.epoch :] = [len(sampler.chosen_ids)]
        self.ledger.lap("scoring")  # the choice was made
        first = sampler.resumed_at
        dealt = [np.asarray(batch, dtype=np.int64) for batch in sampler]
        shares = [batch[process :: self.accelerator.num_processes] for batch in dealt]
        batches = self.store.dealt(
            shares,
            seed=derive_seed(self.seed, "order"),
            epoch=sampler.epoch,
            augment=self.augmentation,
            device=self.device,
            memory_format=self.memory_format,
        )
        weighted = sampler.is_weighted
        for index, (whole, share) in enumerate(zip(dealt, shares, strict=True), first):
            if self.step >= until:
                return
            batch = next(batches)
            self._done = index
            self._weights = None
            if weighted and len(share):
                weights = sampler.weights(torch.from_numpy(share))
                self._weights = weights.to(self.device, non_blocking=True)
            yield batch, len(whole)

    def _weighed(self, losses: torch.Tensor) -> torch.Tensor:
        # Where this process stands in for an empty share there are no weights, and the loss counts for nothing anyway.
        return losses if self._weights is None else losses * self._weights

    def _advance(self) -> None:
        self._done += 1
        whole = self.sampler.epoch * self.steps_per_epoch
        self.step = min(
            self.total_steps, whole + self._done * self.steps_per_epoch // max(1, self._epoch_steps)
        )

    def _epoch_is_over(self) -> bool:
        return self._done == self._epoch_steps

    def _tell(self, batch: Batch, outputs: torch.Tensor, losses: torch.Tensor) -> None:
        selector = self.sampler.selector
        if selector.needs_reports:
            measured = losses if selector.measure == "loss" else self._measured(outputs, batch.targets)
            self.sampler.update(batch.ids, measured=measured)

    def _end_epoch(self) -> None:
        self.ledger.lap("training")
        self.sampler.end_epoch()
        self._done = 0
        self.ledger.lap("scoring")

    def _score_everything(self) -> None:
        """The scoring pass before a choice: forward only, in evaluation mode, over everything."""
        sampler = self.sampler
        self.ledger.lap("loading")

        def visit(batch: Batch, outputs: torch.Tensor) -> None:
            sampler.update(batch.ids, measured=self._measured(outputs, batch.targets))

        sampler.begin_scoring()
        try:
            evaluate(
                self.bare_model,
                self.store,
                self.recipe,
                self.accelerator,
                visit,
                ids=self.ids,
                batch_size=SCORING_BATCHES * self.batch_size,
            )
        except BaseException:
            sampler.abandon_scoring()
            raise
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        sampler.end_scoring(self.ledger.lap("scoring"))
        self.ledger.forwarded += self.num_examples

    def _measured(self, outputs: Any, targets: Any) -> torch.Tensor:
        """The selector's number of each example: of logits by their own definition, else by the task's."""
        measure = self.sampler.selector.measure
        plain = isinstance(outputs, torch.Tensor) and isinstance(targets, torch.Tensor)
        if plain and outputs.ndim == 2 and targets.ndim == 1 and not targets.is_floating_point():
            return numbers_of(measure, outputs, targets)
        return numbers_of_task(measure, self.task, outputs, targets)
