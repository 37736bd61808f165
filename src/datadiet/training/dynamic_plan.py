"""From a recipe to its dynamic sampler: which options go to the selector, which to the schedule."""

from __future__ import annotations

import dataclasses
import difflib
import math

import numpy as np

from datadiet.dynamic import DynamicSampler, Schedule, make_selector, selector_card
from datadiet.errors import BadInputError
from datadiet.training.recipe import Recipe

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
