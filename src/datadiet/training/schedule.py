"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from datadiet.training.recipe import Recipe


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
    left = (total_steps - step) / (total_steps - math.ceil(recipe.warmup * total_steps) or 1)
    left = min(1.0, left)
    if recipe.schedule == "cosine":
        return float(recipe.lr * 0.5 * (1 - math.cos(math.pi * left)))
    return float(recipe.lr * left)
