"""Intervals of accuracies and of their differences, over test examples and over seeds together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

DRAWS = 4_000
_CHUNK = 4_000_000  # numbers of resampling weights that are held at a time
Pseudo = tuple[tuple[float, float], ...]  # values, and how many examples of each are added
RIGHT_AND_WRONG: Pseudo = ((1.0, 2.0), (0.0, 2.0))
FOUR_OUTCOMES: Pseudo = ((1.0, 0.5), (-1.0, 0.5), (0.0, 1.0))


@dataclass(frozen=True)
class Estimate:
    """A mean with the bounds of its interval, as fractions."""

    mean: float
    low: float
    high: float

    def as_list(self) -> list[float]:
        """[mean, low, high]."""
        return [self.mean, self.low, self.high]


def accuracy_interval(
    correct: np.ndarray, *, level: float = 0.95, among: Sequence[np.ndarray] = (), seed: int = 0
) -> Estimate:
    """Mean accuracy of an arm and its interval.

    Resampled over test examples, to which two right and two wrong ones are added (Agresti and Coull, 1998): that a
    hundred are right does not show that all are. Seeds as in `difference_interval`.

    Args:
        correct: bool (seeds, test examples).
        level: nominal coverage.
        among: every trained arm of the comparison.
        seed: seed of the resampling.

    Example:
        >>> correct = np.array([[True, True, False, True] * 50] * 2)
        >>> accuracy_interval(correct).mean
        0.75
        >>> perfect = accuracy_interval(np.ones((3, 60), dtype=bool))
        >>> perfect.mean, 0.9 < perfect.low < 0.95
        (1.0, True)
    """
    found = _interval([(1.0, correct)], RIGHT_AND_WRONG, level, seed)
    return Estimate(found.mean, max(0.0, found.low), min(1.0, found.high))


def difference_interval(
    arm: np.ndarray,
    reference: np.ndarray,
    *,
    level: float = 0.95,
    among: Sequence[np.ndarray] = (),
    seed: int = 0,
) -> Estimate:
    """Mean accuracy of an arm minus a reference's, on the same test examples, and its interval.

    The mean over each arm's seeds is resampled over test examples, the same draws for both arms (a paired
    bootstrap). Two examples are added, half a one for each of the four outcomes of a pair (Agresti and Min, 2005), so
    that arms that differ on none of a hundred are not called exactly equal. To each draw noise is added for the choice
    of seeds: Student's t with the pooled degrees of freedom times the standard error that the spread between seeds
    gives. Resampling two or three seeds instead would make intervals too short. With one seed in both arms there is no
    spread to be seen, and the interval speaks of test examples only.

    Args:
        arm: bool (seeds, test examples).
        reference: bool (its own seeds, the same test examples).
        level: nominal coverage.
        among: every trained arm of the comparison.
        seed: seed of the resampling.

    Example:
        >>> arm = np.array([[True, True, False, False]]); reference = np.array([[True, True, True, True]])
        >>> difference_interval(arm, reference).mean
        -0.5
    """
    if arm.shape[1] != reference.shape[1]:
        raise ValueError("both arms must be measured on the same test examples")
    return _interval([(1.0, arm), (-1.0, reference)], FOUR_OUTCOMES, level, seed)


def saved_interval(ratios: Sequence[float], *, level: float = 0.95) -> list[float | None]:
    """[share saved, low, high] from independent ratios of a cost to the whole cost; bounds are None for one ratio.

    One minus the geometric mean, with Student's t on the logarithms: no bound promises to save more than everything.

    Example:
        >>> [round(number, 3) for number in saved_interval([0.5, 0.4, 0.625])]
        [0.5, 0.13, 0.713]
        >>> saved_interval([1.0])
        [0.0, None, None]
    """
    logs = np.log(np.asarray(list(ratios), dtype=np.float64))
    mean, count = float(logs.mean()), len(logs)
    share = float(1 - np.exp(mean))
    if count < 2:
        return [share, None, None]
    reach = float(stats.t.ppf((1 + level) / 2, count - 1) * logs.std(ddof=1) / np.sqrt(count))
    return [share, float(-np.expm1(mean + reach)), float(-np.expm1(mean - reach))]


def _interval(arms: list[tuple[float, np.ndarray]], added: Pseudo, level: float, seed: int) -> Estimate:
    seeds = [np.asarray(correct, dtype=np.float64) for _, correct in arms]
    signed = [sign * correct.mean(axis=0) for (sign, _), correct in zip(arms, seeds, strict=True)]
    per_example = np.sum(signed, axis=0)
    mean = float(per_example.mean())
    generator = np.random.default_rng(seed)
    draws = _resampled_means(per_example, added, generator) + _seed_noise(seeds, generator)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(mean, min(mean, float(low)), max(mean, float(high)))


def _resampled_means(values: np.ndarray, added: Pseudo, generator: np.random.Generator) -> np.ndarray:
    """Means of `DRAWS` samples with replacement from the values and those added, each of as many as all together."""
    kinds, frequency = np.unique(np.round(values, 9), return_counts=True)
    kinds = np.concatenate([kinds, [value for value, _ in added]])
    weights = np.concatenate([frequency, [often for _, often in added]])
    count = round(weights.sum())
    rows = max(1, _CHUNK // len(kinds))
    parts = [
        generator.multinomial(count, weights / weights.sum(), size=min(rows, DRAWS - start)) @ kinds / count
        for start in range(0, DRAWS, rows)
    ]
    return np.concatenate(parts)


def _seed_noise(arms: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """Draws of what other seeds would have added, shape (DRAWS,)."""
    accuracies = [correct.mean(axis=1) for correct in arms]
    degrees = sum(len(values) - 1 for values in accuracies)
    if degrees == 0:
        return np.zeros(DRAWS)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in accuracies)
    error = np.sqrt(squares / degrees * sum(1 / len(values) for values in accuracies))
    return np.asarray(error * stats.t.rvs(degrees, size=DRAWS, random_state=generator))
