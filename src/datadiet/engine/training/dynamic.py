"""The training loop with a dynamic sampler: each epoch is on what was chosen, the choosing on the bill."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from datadiet.data import Batch
from datadiet.dynamic import DynamicSampler, Schedule, make_selector, selector_card
from datadiet.dynamic.measurements import measure_batch, measure_task_batch
from datadiet.engine.training.evaluation import evaluate
from datadiet.engine.training.loop import TrainingLoop
from datadiet.engine.training.randomness import derive_seed
from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.errors import BadInputError

SCORING_BATCHES = 4  # a pass that only scores takes batches that many times as large: it keeps no gradients
# Shares of a run that are on everything at its end, where the paper has it so.
FULL_TAILS = {"infobatch": 0.125}
_SCHEDULE_OPTIONS = ("warmup", "every", "full_tail")


def dynamic_epochs(recipe: Recipe, num_examples: int) -> int:
    """Epochs of the sampler in a run, the last of which may be cut short."""
    return math.ceil(recipe.total_steps(num_examples) / recipe.steps_per_epoch(num_examples))


def schedule_of(recipe: Recipe, num_examples: int) -> Schedule:
    """When a run is on everything and when it chooses.

    Where the options leave it open: the selector's own warm-up, but a third of the run at most; a choice in every
    epoch; for `infobatch` everything in the last eighth of runs of four epochs or more.

    Raises:
        BadInputError: values that a schedule cannot have, or a warm-up that leaves nothing to choose.
    """
    assert recipe.dynamic is not None
    options = recipe.dynamic_options
    epochs = dynamic_epochs(recipe, num_examples)
    default = make_selector(recipe.dynamic).default_schedule
    schedule = Schedule(
        warmup=options.get("warmup", min(default.warmup, max(1, epochs // 3), epochs - 1)),
        every=options.get("every", default.every),
        full_tail=options.get("full_tail", FULL_TAILS.get(recipe.dynamic, 0.0) if epochs >= 4 else 0.0),
        epochs=epochs,
    )
    if all(schedule.phase(epoch) != "choose" for epoch in range(epochs)):
        raise BadInputError(
            f"dynamic {recipe.dynamic!r}: a warm-up of {schedule.warmup} epochs and a full tail of "
            f"{schedule.full_tail:g} leave none of the run's {epochs} epochs to choose in; shorten them, or train "
            "longer."
        )
    return schedule


def sampler_for(
    recipe: Recipe, ids: np.ndarray, seed: int, lengths: np.ndarray | None = None
) -> DynamicSampler:
    """The sampler of a run; every process deals out the whole epoch, so that the loop can share its batches out.

    Args:
        recipe: with `dynamic`.
        ids: sorted ids that it may choose from.
        seed: of its choices and its order.
        lengths: of the ids' sequences, for batches of similar length; None for batches at random.

    Raises:
        BadInputError: no such selector or option, or a choice that leaves less than a batch.
    """
    assert recipe.dynamic is not None
    card = selector_card(recipe.dynamic)
    known = (*card.options, *_SCHEDULE_OPTIONS)
    for key in recipe.dynamic_options:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}."
            raise BadInputError(f"dynamic {recipe.dynamic!r} has no option {key!r}; {hint}")
    chosen = {key: value for key, value in recipe.dynamic_options.items() if key not in _SCHEDULE_OPTIONS}
    try:
        selector = make_selector(recipe.dynamic, **chosen)
        schedule = schedule_of(recipe, len(ids))
    except BadInputError:
        raise  # which says it better, and is a ValueError as well
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in recipe.dynamic_options.items())
        raise BadInputError(
            f"dynamic {recipe.dynamic!r} cannot take {given}; `datadiet run SOURCE --dynamic help` says what each "
            "option is."
        ) from error
    in_order = len(ids) > 0 and ids[0] == 0 and ids[-1] == len(ids) - 1
    whole = {"num_examples": len(ids)} if in_order else {"ids": ids}
    return DynamicSampler(
        schedule=schedule,
        selector=selector,
        batch_size=min(recipe.batch_size, len(ids)),
        drop_last=recipe.drop_last,
        seed=seed,
        lengths=lengths,
        rank=0,
        world_size=1,
        **whole,
    )


def without_dynamic(recipe: Recipe) -> Recipe:
    """The same recipe on everything, in every epoch."""
    return dataclasses.replace(recipe, dynamic=None, dynamic_options={})


def refuse_dynamic(recipe: Recipe, what: str) -> None:
    """Raise `BadInputError` where a recipe is dynamic and that makes no sense.

    Args:
        recipe: any.
        what: what is asked for, as the beginning of a sentence.
    """
    if recipe.dynamic is not None:
        raise BadInputError(
            f"{what} ordinary training, and this recipe is dynamic ({recipe.dynamic!r}); leave `dynamic` out of it, or "
            "use `datadiet run SOURCE --dynamic NAME`."
        )


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
        self.sampler = sampler_for(self.recipe, self.ids, derive_seed(self.seed, "order"), lengths)
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
        self.ledger.epoch_sizes[sampler.epoch :] = [len(sampler.chosen_ids)]
        self.ledger.lap("scoring")  # the choice was made
        first = sampler.resumed_at
        dealt = [np.asarray(batch, dtype=np.int64) for batch in sampler]
        shares = [batch[process :: self.accelerator.num_processes] for batch in dealt]
        batches = self.store.given_batches(
            shares,
            seed=derive_seed(self.seed, "order"),
            epoch=sampler.epoch,
            augment=self.augmentation,
            device=self.device,
            memory_format=self.memory_format,
        )
        for index, (whole, share) in enumerate(zip(dealt, shares, strict=True), first):
            if self.step >= until:
                return
            batch = next(batches)
            self._done = index
            self._weights = None
            if sampler.is_weighted and len(share):
                self._weights = sampler.weights(torch.from_numpy(share)).to(self.device, non_blocking=True)
            yield batch, len(whole)

    def _weighted(self, losses: torch.Tensor) -> torch.Tensor:
        # Where this process stands in for an empty share there are no weights, and the loss counts for nothing anyway.
        return losses if self._weights is None else losses * self._weights

    def _advance(self) -> None:
        self._done += 1
        within = self._done * self.steps_per_epoch // max(1, self._epoch_steps)
        self.step = min(self.total_steps, self.sampler.epoch * self.steps_per_epoch + within)

    def _epoch_is_over(self) -> bool:
        return self._done == self._epoch_steps

    def _report(self, batch: Batch, outputs: torch.Tensor, losses: torch.Tensor) -> None:
        selector = self.sampler.selector
        if selector.needs_reports:
            measured = losses if selector.measure == "loss" else self._measure(outputs, batch.targets)
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
            sampler.update(batch.ids, measured=self._measure(outputs, batch.targets))

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

    def _measure(self, outputs: Any, targets: Any) -> torch.Tensor:
        """The selector's number of each example: of logits by their own definition, else by the task's."""
        measure = self.sampler.selector.measure
        plain = isinstance(outputs, torch.Tensor) and isinstance(targets, torch.Tensor)
        if plain and outputs.ndim == 2 and targets.ndim == 1 and not targets.is_floating_point():
            return measure_batch(measure, outputs, targets)
        return measure_task_batch(measure, self.task, outputs, targets)
