"""Intervals for a part of the test examples, honest down to ten of them, and beside those of the whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from datadiet.statistics import Estimate

FEWEST = 10  # test examples below which no interval is given


@dataclass(frozen=True)
class _Mean:
    """A mean with the variance of its error and that variance's degrees of freedom."""

    mean: float
    variance: float
    degrees: float


def part_accuracy(correct: npt.NDArray[np.bool_], *, level: float = 0.95) -> Estimate:
    """Accuracy on a part of the test examples and its interval.

    With c_i the share of seeds that predict example i right and n examples, the interval is that of Agresti and
    Coull (1998): two right and two wrong examples are added, p = (sum c_i + 2) / (n + 4), and its half is
    sqrt(t^2 p (1 - p) / (n + 4) + s^2 v), v being the variance that the spread between seeds gives to their mean, t
    and s the quantiles of Student's t for both. That treats c_i as right or wrong, the widest it could be.

    Args:
        correct: bool (seeds, n).
        level: nominal coverage.

    Example:
        >>> all_right = part_accuracy(np.ones((3, 20), dtype=bool))
        >>> all_right.mean, round(all_right.low, 2), all_right.high
        (1.0, 0.8, 1.0)
    """
    n = correct.shape[1]
    mean = float(correct.mean())
    shrunk = (mean * n + 2) / (n + 4)
    test = _Mean(shrunk, shrunk * (1 - shrunk) / (n + 4), n - 1)
    low, high = _bounds(shrunk, [test, _between_seeds([correct.mean(axis=1)])], level)
    return Estimate(mean, max(0.0, min(low, mean)), min(1.0, max(high, mean)))


def part_difference(
    arm: npt.NDArray[np.bool_], full: npt.NDArray[np.bool_], *, level: float = 0.95
) -> Estimate:
    """Accuracy of an arm minus that of full data on a part of the test examples, and its interval.

    With d_i = (share of the arm's seeds right on i) - (share of full data's seeds right on i), the interval is
    that of Agresti and Min (2005) for matched pairs: two examples are added, half a one for each of the four
    outcomes (both right, both wrong, one of them right). So a part on which nothing changed keeps an interval
    of honest width, where resampling it would say "exactly zero".

        m = sum d_i / (n + 2),  u = (sum d_i^2 + 1) / (n + 2) - m^2,  m +- sqrt(t^2 u / (n + 2) + s^2 v)

    v is the variance from the choice of seeds (pooled over both arms); t and s are the quantiles of Student's t with
    n - 1 degrees of freedom and with those of v.

    Args:
        arm: bool (seeds, n).
        full: bool (its own seeds, the same n).
        level: nominal coverage.

    Example:
        >>> same = np.ones((3, 20), dtype=bool)
        >>> found = part_difference(same, same)
        >>> found.mean, found.low < -0.05, found.high > 0.05
        (0.0, True, True)
    """
    differences = arm.mean(axis=0) - full.mean(axis=0)
    test = _smoothed(differences)
    low, high = _bounds(test.mean, [test, _between_seeds([arm.mean(axis=1), full.mean(axis=1)])], level)
    mean = float(differences.mean())
    return Estimate(mean, max(-1.0, min(low, mean)), min(1.0, max(high, mean)))


def excess_difference(
    arm: npt.NDArray[np.bool_],
    full: npt.NDArray[np.bool_],
    members: npt.NDArray[np.bool_],
    *,
    level: float = 0.95,
) -> Estimate:
    """A group's difference to full minus that of all test examples, and its interval.

    The group is part of the whole, so its excess is (1 - f) times its difference minus that of the others, f being
    its share of the test examples; the two are independent samples. With m and u of `part_difference`,

        e = (1 - f) (m_in - m_out),  half width^2 = (1 - f)^2 (t^2 u_in / (n_in + 2) + t'^2 u_out / (n_out + 2)) + s^2 v

    where v comes from the spread, between the seeds of each arm, of (accuracy on the group minus accuracy on all).
    Luck of a seed that moves the group and the whole alike cancels.

    Args:
        arm: bool (seeds, n).
        full: bool (its own seeds, n).
        members: bool (n,): the group.
        level: nominal coverage.

    Example:
        >>> full = np.ones((3, 400), dtype=bool); arm = full.copy(); arm[:, :50] = False
        >>> excess = excess_difference(arm, full, np.arange(400) < 100)
        >>> excess.mean, excess.high < 0
        (-0.375, True)
    """
    differences = arm.mean(axis=0) - full.mean(axis=0)
    if members.all():
        return Estimate(0.0, 0.0, 0.0)
    mean = float(differences[members].mean() - differences.mean())
    rest = 1 - float(members.mean())
    inside, outside = _smoothed(differences[members]), _smoothed(differences[~members])
    parts = [_Mean(m.mean, rest**2 * m.variance, m.degrees) for m in (inside, outside)]
    by_seed = [correct[:, members].mean(axis=1) - correct.mean(axis=1) for correct in (arm, full)]
    centre = rest * (inside.mean - outside.mean)
    low, high = _bounds(centre, [*parts, _between_seeds(by_seed)], level)
    return Estimate(mean, low, high)


def _smoothed(differences: npt.NDArray[np.float64]) -> _Mean:
    n = len(differences)
    mean = float(differences.sum()) / (n + 2)
    spread = (float(np.square(differences).sum()) + 1) / (n + 2) - mean**2
    return _Mean(mean, spread / (n + 2), max(n - 1, 1))


def _between_seeds(arms: list[npt.NDArray[np.float64]]) -> _Mean:
    """What other seeds would have changed: the pooled variance between seeds, over the number of seeds."""
    degrees = sum(len(values) - 1 for values in arms)
    if degrees == 0:
        return _Mean(0.0, 0.0, 1.0)
    squares = sum(float(np.square(values - values.mean()).sum()) for values in arms)
    return _Mean(0.0, squares / degrees * sum(1 / len(values) for values in arms), degrees)


def _bounds(centre: float, parts: list[_Mean], level: float) -> tuple[float, float]:
    """Each part's own half width, joined as the sides of a right angle.

    One Student's t for the joined variance (Welch and Satterthwaite) is too narrow where two or three seeds decide:
    by luck they lie close together, and their few degrees of freedom are then hardly counted.
    """
    squares = [float(stats.t.ppf((1 + level) / 2, part.degrees)) ** 2 * part.variance for part in parts]
    half = sum(squares) ** 0.5
    return centre - half, centre + half
