"""How much accuracy differs from seed to seed: learnt from all arms of a comparison together, wild ones guarded.

Accuracies of an arm's seeds differ for two reasons. Each training is right on other examples (seed x example), which
averages out over test examples; and some trainings are better as a whole. The first is already part of what a finite
test part leaves open, so only the second is to be added to it: the crossed design of multi-reader studies (Obuchowski
and Rockette, 1995; Hillis, 2014),

    MS_seed = n / (S - 1) sum_s (a_s - a)^2,    E MS_seed = n sigma^2 + MS_residual,

with a_s the accuracy of seed s on n test examples and MS_residual the mean square of seed x example. Three seeds say
little of one arm's sigma. So the arms lend each other what they know, as variances of genes do (Smyth, 2004): log
sigma of an arm is normal around a line in the share that it leaves out, with the line and the scatter unknown; and an
arm may also be wild, of any sigma, whatever the others are. All of it is summed over grids, nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

Array = npt.NDArray[np.float64]

# Chosen by simulation (see the grid of `benchmarks/verdicts.py`): power where arms are alike, cover where one is wild.
SIGMAS = np.concatenate([[0.0], np.geomspace(1e-4, 0.2, 30)])  # standard deviations of accuracy between seeds
CENTRES = np.linspace(np.log(5e-5), np.log(0.08), 21)  # of log sigma of full data
SLOPES = np.array([0.0, 1.0, 2.0])  # of log sigma, for all data left out
SCATTER = 0.3  # of log sigma around the line
WILD_SIGMAS = (0.015, 0.06)
# Probability that an arm is wild, by test examples: few of them hide wild and tame alike, many show which it is.
WILD = ((100, 0.08), (1_000, 0.2), (10_000, 0.12))

_WILD = np.log([n for n, _ in WILD]), [share for _, share in WILD]


@dataclass(frozen=True)
class Crossed:
    """What an arm's trainings say, seed by seed and example by example.

    Args:
        means: of every seed over the test examples, shape (seeds,).
        per_example: mean over the seeds, shape (n,).
        between: MS_seed; NaN for one seed.
        residual: MS_residual, with half a differing prediction added, so that it is never nothing; NaN for one seed.
    """

    means: Array
    per_example: Array
    between: float
    residual: float

    @property
    def seeds(self) -> int:
        """How many trainings."""
        return len(self.means)

    @classmethod
    def of(cls, values: npt.NDArray[np.generic]) -> Crossed:
        """Of what each training is right on, (seeds, n), bool or numbers.

        Example:
            >>> found = Crossed.of(np.array([[1, 1, 0, 0], [1, 1, 1, 1]]))
            >>> found.between, found.means.tolist()
            (0.5, [0.5, 1.0])
        """
        numbers = np.asarray(values, dtype=np.float64)
        seeds, n = numbers.shape
        means, per_example = numbers.mean(axis=1), numbers.mean(axis=0)
        if seeds == 1:
            return cls(means, per_example, np.nan, np.nan)
        centred = means - means.mean()
        between = n * float(centred @ centred)
        within = float((numbers**2).sum() - seeds * (per_example**2).sum())
        degrees = seeds - 1
        residual = (max(0.0, within - between) + 0.5) / (degrees * max(1, n - 1) + 0.5)
        return cls(means, per_example, between / degrees, residual)


class SeedSpread:
    """What is known of every arm's sigma after all arms were seen.

    Args:
        arms: of the comparison, each trained with one or more seeds.
        keeps: the fraction of the data that each was trained on, in (0, 1].

    Example:
        >>> rng = np.random.default_rng(0)
        >>> arms = [Crossed.of(rng.random((3, 2000)) < accuracy) for accuracy in (0.93, 0.93, 0.92)]
        >>> spread = SeedSpread(arms, [1.0, 0.7, 0.5])
        >>> spread.half_width([0, 1], 0.95, example=0.0) < 0.012
        True
    """

    def __init__(self, arms: Sequence[Crossed], keeps: Sequence[float]) -> None:
        self._arms = arms
        self._known = any(arm.seeds > 1 for arm in arms)
        wild = float(np.interp(np.log(len(arms[0].per_example)), *_WILD))
        priors = [_prior(round(1 - keep, 4), round(wild, 4)) for keep in keeps]
        likelihoods = [_likelihood(arm) for arm in arms]
        evidence = [prior @ likelihood for prior, likelihood in zip(priors, likelihoods, strict=True)]
        weight = np.sum(np.log(evidence), axis=0)
        weight = np.exp(weight - weight.max())
        self._likely = np.flatnonzero(weight > 1e-6 * weight.sum())
        self._weight = weight[self._likely] / weight[self._likely].sum()
        self._given = [
            prior[self._likely] * likelihood / seen[self._likely, None]
            for prior, likelihood, seen in zip(priors, likelihoods, evidence, strict=True)
        ]

    def half_width(self, arms: Sequence[int], level: float, *, example: float, degrees: float = 1e9) -> float:
        """Half of the interval of a sum or difference of mean accuracies of one or two arms.

        Args:
            arms: positions of the one or two arms.
            level: two-sided coverage; for a one-sided bound at 95 % it is 0.9.
            example: variance of the mean from test examples, seed x example included.
            degrees: of freedom of that variance.
        """
        tail = (1 - level) / 2
        inflated = example * float((special.stdtrit(degrees, tail) / special.ndtri(tail)) ** 2)
        probability, variance = self._seed_variance(arms)
        deviations = np.sqrt(variance + inflated)

        def excess(half: float) -> float:
            return float(probability @ special.ndtr(-half / deviations)) - tail

        return float(optimize.brentq(excess, 0.0, 40 * deviations.max(), xtol=1e-9))

    def _seed_variance(self, arms: Sequence[int]) -> tuple[Array, Array]:
        """Variances that seeds may give to the mean, and their probabilities."""
        if not self._known:
            return np.ones(1), np.zeros(1)
        first, *other = arms
        one = SIGMAS**2 / self._arms[first].seeds
        if not other:
            return self._weight @ self._given[first], one
        joint = (self._given[first] * self._weight[:, None]).T @ self._given[other[0]]
        both = one[:, None] + SIGMAS**2 / self._arms[other[0]].seeds
        matters = joint > 1e-8
        return joint[matters] / joint[matters].sum(), both[matters]

    def typical(self, arm: int) -> float:
        """What sigma is not above with a chance of four in five: what to plan with."""
        if not self._known:
            return 0.0
        below = np.cumsum(self._weight @ self._given[arm])
        return float(SIGMAS[int(np.searchsorted(below, 0.8 * below[-1]))])


def _likelihood(arm: Crossed) -> Array:
    """Of MS_seed for every sigma, up to a factor: (S - 1) MS_seed / (n sigma^2 + MS_residual) is chi-squared."""
    degrees = arm.seeds - 1
    if degrees == 0:
        return np.ones(len(SIGMAS))
    expected = arm.residual + len(arm.per_example) * SIGMAS**2
    log = -degrees / 2 * (arm.between / expected + np.log(expected))
    return np.asarray(np.exp(log - log.max()))


@lru_cache(maxsize=256)
def _prior(left_out: float, wild: float) -> Array:
    """Probability of every sigma (columns) under every line (rows)."""
    logs = np.log(SIGMAS[1:])
    centres = (CENTRES[:, None] + SLOPES * left_out).reshape(-1, 1)
    heights = np.exp(-0.5 * ((logs - centres) / SCATTER) ** 2) + 1e-300
    lines = heights / heights.sum(axis=1, keepdims=True)
    apart = ((SIGMAS[1:] >= WILD_SIGMAS[0]) & (SIGMAS[1:] <= WILD_SIGMAS[1])).astype(np.float64)
    prior = (1 - wild) * lines + wild * apart / apart.sum()
    return np.concatenate([np.zeros((len(prior), 1)), prior], axis=1)
