"""Intervals of accuracies and of their differences, over test examples and over seeds together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from datadiet.foundation.spread import Crossed, SeedSpread

Array = npt.NDArray[np.float64]
LEVEL = 0.95
FEWEST_SEEDS = 3  # that decide: two say next to nothing of how much seeds differ


@dataclass(frozen=True)
class Estimate:
    """A mean with the bounds of its interval, as fractions; NaN where the interval would be all that can be."""

    mean: float
    low: float
    high: float

    def as_list(self) -> list[float | None]:
        """[mean, low, high]; None for bounds that are not known.

        Example:
            >>> Estimate(0.5, float("nan"), float("nan")).as_list()
            [0.5, None, None]
        """
        return [self.mean, *(None if math.isnan(bound) else bound for bound in (self.low, self.high))]


class Trained:
    """What all arms of a comparison are right on, from which each one's intervals are told.

    Args:
        arms: bool (seeds, test examples) each, on the same test examples.
        keeps: the fraction of the data that each was trained on; all alike where it is not given.

    Raises:
        ValueError: arms of other test examples.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> full, half = rng.random((2, 3, 1000)) < [[[0.93]], [[0.90]]]
        >>> found = Trained([full, half], [1.0, 0.5]).difference(1, 0)
        >>> found.low < -0.03 < found.high
        True
    """

    def __init__(self, arms: Sequence[npt.NDArray[np.generic]], keeps: Sequence[float] | None = None) -> None:
        if len({arm.shape[1] for arm in arms}) > 1:
            raise ValueError("all arms must be measured on the same test examples")
        self.arms = [Crossed.of(arm) for arm in arms]
        self.spread = SeedSpread(self.arms, [1.0] * len(arms) if keeps is None else keeps)

    def accuracy(self, arm: int, *, level: float = LEVEL) -> Estimate:
        """Mean accuracy of an arm and its interval.

        With c_i the share of seeds that are right on test example i of n, two right and two wrong examples are added
        (Agresti and Coull, 1998): that a hundred are right does not show that all are. So the interval is

            p +- h,  p = (sum c_i + 2) / (n + 4),  v = ((sum c_i^2 + 2) / (n + 4) - p^2) / (n + 4)

        with h from v and from what seeds may add (`SeedSpread.half_width`).

        Args:
            arm: its position.
            level: nominal coverage.
        """
        right = self.arms[arm].per_example
        n, mean = len(right), float(right.mean())
        centre = (float(right.sum()) + 2) / (n + 4)
        variance = ((float(right @ right) + 2) / (n + 4) - centre**2) / (n + 4)
        half = self.spread.half_width([arm], level, example=variance, degrees=max(1, n - 1))
        return _within(mean, min(mean, centre - half), max(mean, centre + half), 0.0, 1.0)

    def difference(self, arm: int, reference: int, *, level: float = LEVEL) -> Estimate:
        """Mean accuracy of an arm minus a reference's, and its interval.

        With d_i the difference of the shares of seeds that are right on test example i and m its mean, it is m +- h
        with h from v = max(sum (d_i - m)^2, 1 / S) / (n (n - 1)) and from what seeds may add: arms of S seeds that
        differ on no test example are not called equal. Seed x example is in v, and nowhere else.

        Args:
            arm: its position.
            reference: that of what it is compared with.
            level: nominal coverage; of a bound on one side at 95 % it is 0.9.
        """
        seeds = min(self.arms[arm].seeds, self.arms[reference].seeds)
        mean, half = self._difference(arm, reference, level, 1 / seeds)
        return _within(mean, mean - half, mean + half, -1.0, 1.0)

    def loses_at_most(self, arm: int, reference: int, *, error: float = 1 - LEVEL) -> float:
        """What an arm loses at most against a reference: the bound on one side that misses with chance `error`.

        As decisions hang on it, it reckons with a lasting difference that was not seen: sum (d_i - m)^2 is at least 1,
        as if all trainings had differed on one test example.
        """
        mean, half = self._difference(arm, reference, 1 - 2 * error)
        return min(1.0, half - mean)

    def loses_at_least(self, arm: int, reference: int, *, error: float = 1 - LEVEL) -> float:
        """What an arm loses at least against a reference: the other bound."""
        mean, half = self._difference(arm, reference, 1 - 2 * error)
        return max(-1.0, -half - mean)

    def _difference(self, arm: int, reference: int, level: float, least: float = 1.0) -> tuple[float, float]:
        differences = self.arms[arm].per_example - self.arms[reference].per_example
        n = len(differences)
        half = self.spread.half_width(
            [arm, reference], level, example=example_variance(differences, least), degrees=max(1, n - 1)
        )
        return float(differences.mean()), half


def example_variance(differences: Array, least: float = 1.0) -> float:
    """Variance of a mean difference over test examples.

    Args:
        differences: of every test example.
        least: what their squares are at least taken to sum up to.

    Example:
        >>> round(90 * example_variance(np.zeros(10)), 6)
        1.0
    """
    n = len(differences)
    squares = float(((differences - differences.mean()) ** 2).sum())
    return max(squares, least) / (n * max(1, n - 1))


def least_loss(n_test: int, *, error: float = 1 - LEVEL) -> float:
    """The least that an arm can be shown to lose at most with so many test examples, were it to agree on them all.

    Example:
        >>> round(least_loss(100), 4), round(least_loss(10_000), 6)
        (0.0167, 0.000165)
    """
    return float(stats.t.isf(error, max(1, n_test - 1))) * math.sqrt(example_variance(np.zeros(n_test)))


def _within(mean: float, low: float, high: float, least: float, most: float) -> Estimate:
    if low <= least and high >= most:
        return Estimate(mean, math.nan, math.nan)
    return Estimate(mean, max(low, least), min(high, most))


Arms = Sequence[npt.NDArray[np.generic]]


def accuracy_interval(
    correct: npt.NDArray[np.generic], *, level: float = LEVEL, among: Arms = ()
) -> Estimate:
    """Mean accuracy of an arm and its interval: `Trained.accuracy`.

    Args:
        correct: bool (seeds, test examples).
        level: nominal coverage.
        among: all arms of the comparison, which together say how much seeds differ; this one may be one of them.

    Example:
        >>> correct = np.array([[True, True, False, True] * 50] * 3)
        >>> accuracy_interval(correct).mean
        0.75
        >>> perfect = accuracy_interval(np.ones((3, 60), dtype=bool))
        >>> perfect.mean, 0.9 < perfect.low < 0.96
        (1.0, True)
    """
    return Trained([correct, *_others(among, correct)]).accuracy(0, level=level)


def difference_interval(
    arm: npt.NDArray[np.generic],
    reference: npt.NDArray[np.generic],
    *,
    level: float = LEVEL,
    among: Arms = (),
) -> Estimate:
    """Mean accuracy of an arm minus a reference's, on the same test examples, and its interval: `Trained.difference`.

    With one seed in every arm there is no spread to be seen, and the interval speaks of test examples only.

    Args:
        arm: bool (seeds, test examples).
        reference: bool (its own seeds, the same test examples).
        level: nominal coverage.
        among: all arms of the comparison, which together say how much seeds differ; these may be among them.

    Example:
        >>> arm = np.array([[True, True, False, False]]); reference = np.array([[True, True, True, True]])
        >>> difference_interval(arm, reference).mean
        -0.5
    """
    return Trained([arm, reference, *_others(among, arm, reference)]).difference(0, 1, level=level)


def _others(among: Arms, *own: npt.NDArray[np.generic]) -> list[npt.NDArray[np.generic]]:
    return [arm for arm in among if all(arm is not one for one in own)]


def saved_interval(ratios: Sequence[float], *, level: float = LEVEL) -> list[float | None]:
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
