"""A first answer in minutes, whatever the size: a stratified sample of the data, as large as the time allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np

from datadiet.data import Examples
from datadiet.data.examples import CLASS_TASKS
from datadiet.data.parts import with_parts
from datadiet.engine.estimates import Costs, measured_costs
from datadiet.engine.setup import Setup
from datadiet.engine.training.randomness import derive_seed
from datadiet.jobs.score import default_epoch
from datadiet.selection import kept_size
from datadiet.selection.sizes import proportional_quotas

MOST_ROWS = 20_000  # of the training part
MOST_TEST_ROWS = 10_000
FEWEST_ROWS = 200
FEWEST_OF_A_CLASS = 2
_MARGIN = 0.95  # of what would fill the time, as costs of another size are not quite in proportion
_TRIES = 6


def sampled(examples: Examples, rows: int, seed: int = 0) -> Examples:
    """A stratified random sample of the training part, beside at most 10,000 rows of the test part.

    Every class keeps two examples, or all where it has fewer, also where that makes for more rows than were asked for;
    the rest is in proportion. Example ids stay what they are. Only the rows of the sample are read.

    Args:
        examples: the data.
        rows: of the training part.
        seed: of the draw.

    Returns:
        `Examples` with a fingerprint of its own; the data itself where it has not more rows.

    Example:
        >>> import datadiet as dd
        >>> sample = sampled(dd.load("digits"), 200)
        >>> len(sample.train), len(sample.test)
        (200, 359)
    """
    chosen = _drawn(examples, examples.train.labels, rows, derive_seed(seed, "sample of training rows"))
    tested = _drawn(examples, examples.test.labels, MOST_TEST_ROWS, derive_seed(seed, "sample of test rows"))
    if len(chosen) == len(examples.train) and len(tested) == len(examples.test):
        return examples
    name = f"{examples.name}, a sample of {len(chosen):,} rows"
    return with_parts(examples, examples.train.take(chosen), examples.test.take(tested), name=name)


def _drawn(examples: Examples, labels: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """Positions of so many rows, sorted: two of each class first, then in proportion."""
    if rows >= len(labels):
        return np.arange(len(labels))
    counts = np.bincount(labels, minlength=examples.num_classes)
    least = np.minimum(counts, FEWEST_OF_A_CLASS)
    if examples.task not in CLASS_TASKS and least.sum() > rows:
        least = np.zeros_like(counts)  # sets of labels may be as many as rows
    quotas = least + proportional_quotas(counts - least, max(0, rows - int(least.sum())))
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # class by class, each in random order
    starts = np.cumsum(counts) - counts
    place = np.arange(len(labels)) - np.repeat(starts, counts)
    return np.sort(order[place < np.repeat(quotas, counts)])


def rows_for_time(
    examples: Examples,
    prepare_setup: Callable[[Examples], Setup],
    seconds: float,
    arms: Sequence[float],
    models: int,
    seeds: int = 3,
    *,
    at_epoch: float | None = None,
    seed: int = 0,
    costs_of: Callable[[Setup], Costs] = measured_costs,
) -> int:
    """How many training rows there is time for, by what steps and passes take on this machine.

    Args:
        examples: the data.
        prepare_setup: makes a sample ready, with the recipe that is right for its size.
        seconds: that there are, measuring not counted.
        arms: the kept fraction of each arm, 1.0 of full data.
        models: that scores are taken from.
        seeds: trainings of each arm.
        at_epoch: of the scores; None for the usual one.
        seed: of the sample.
        costs_of: measures a prepared sample.

    Returns:
        At most 20,000, and at least 200, or all where there are fewer: also where these take longer.
    """
    first = sampled(examples, MOST_ROWS, seed)  # so that the whole is looked at once
    rows = len(first.train)
    for _ in range(_TRIES):
        with closing(prepare_setup(sampled(first, rows, seed))) as setup:
            needed = seconds_needed(setup, costs_of(setup), arms, models, seeds, at_epoch)
        fewest = min(FEWEST_ROWS, rows)
        if needed <= seconds or rows == fewest:
            return rows
        rows = max(fewest, min(rows - 1, int(rows * seconds / needed * _MARGIN)))
    return fewest


def seconds_needed(
    setup: Setup,
    costs: Costs,
    arms: Sequence[float],
    models: int,
    seeds: int,
    at_epoch: float | None = None,
) -> float:
    """What scoring and retraining take, from the costs of their parts; arguments as for `rows_for_time`."""
    total = len(setup.examples.train)
    epoch = default_epoch(setup.recipe, total) if at_epoch is None else at_epoch
    scoring = models * costs.of_scoring(setup.step_of(epoch))
    steps = (setup.recipe.total_steps(kept_size(total, keep), total) for keep in arms)
    return scoring + seeds * sum(map(costs.of_training, steps))
