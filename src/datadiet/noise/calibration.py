"""From a suspicion to the probability that a label is wrong, and to how many are, without clean labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from scipy.stats import beta, norm
from sklearn.isotonic import IsotonicRegression

from datadiet.foundation.errors import BadInputError
from datadiet.noise.signals import Floats, Ints, checked_signal

_LARGEST_DRAW = 10_000  # examples that one bootstrap draw fits on; its deviation is scaled to all of them
_ROUNDS = 300
_ENOUGH = 1e-5  # change of a posterior at which the fit stops


def along_reference(suspicion: ArrayLike, reference: ArrayLike) -> Floats:
    """The probability that never falls as the suspicion rises and is nearest to a reference probability, (n,).

    The isotonic regression of `reference` on `suspicion`: its mean is the reference's, so that a ranking by another
    signal gets probabilities as well calibrated as the reference.

    Args:
        suspicion: (n,), higher = more suspicious; equal values get equal probabilities.
        reference: (n,) calibrated probabilities of the same examples.

    Raises:
        BadInputError: shapes that do not fit, values that are not finite or no probabilities.

    Example:
        >>> along_reference([0.1, 0.9, 0.5], [0.0, 0.6, 1.0])
        array([0. , 0.8, 0.8])
    """
    signal, target = checked_signal(suspicion), checked_signal(reference, "reference")
    if signal.shape != target.shape or (len(target) and not (target.min() >= 0 and target.max() <= 1)):
        raise BadInputError("reference must be probabilities of the same examples as suspicion.")
    found = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(signal, target)
    return np.asarray(found, dtype=np.float64)


def mixture_posterior(suspicion: ArrayLike, start: ArrayLike | None = None) -> Floats:
    """The probability of the higher of two normal components fitted to a suspicion, (n,); never falling.

    For a single signal whose logits are not at hand:
    `P(wrong | s) = π N(s; a, v) / (π N(s; a, v) + (1 - π) N(s; b, u))` with a > b, by expectation maximisation from
    the upper tenth. Where the densities cross a second time, in a tail, the posterior is held from there on. A signal
    in [0, 1] should be given as log odds.

    Args:
        suspicion: (n,), higher = more suspicious.
        start: (n,) posterior to begin from instead of the upper tenth, such as that of a like fit.

    Raises:
        BadInputError: fewer than two different values, or values that are not finite.

    Source: two components on a per-example loss are the idea of Arazo et al., "Unsupervised Label Noise Modeling and
    Loss Correction", ICML 2019, section 3.1; normal components on an unbounded scale are our choice.

    Example:
        >>> mixture_posterior([0.0, 0.1, 0.2, 0.1, 0.0, 0.1, 0.2, 5.0, 5.1]).round(2)
        array([0., 0., 0., 0., 0., 0., 0., 1., 1.])
    """
    signal = checked_signal(suspicion)
    if len(np.unique(signal)) < 2:
        raise BadInputError("A mixture needs at least two different suspicions.")
    centred = (signal - np.median(signal)) / signal.std()
    upper = centred >= max(np.quantile(centred, 0.9), np.unique(centred)[1])  # never all of them
    wrong = np.asarray(upper if start is None else start, dtype=np.float64)
    least = 1e-3  # of a component's variance, on the scale of all: no component shrinks to one value
    # A start that leaves one component empty is what comes out: there is nothing beyond the ends to hold.
    means = np.array([centred.min(), centred.max()])
    for _ in range(_ROUNDS):
        shares = np.array([1.0 - wrong.mean(), wrong.mean()])
        if shares.min() < 1e-6:
            break
        sides = (1.0 - wrong, wrong)
        means, variances = np.array([_mean_and_variance(centred, side) for side in sides]).T
        variances = np.maximum(variances, least)
        logs = np.log(shares) - 0.5 * np.log(variances) - 0.5 * (centred[:, None] - means) ** 2 / variances
        odds = logs[:, 1] - logs[:, 0]
        before, wrong = wrong, expit(odds)
        if np.abs(wrong - before).max() < _ENOUGH:
            break
    return _never_falling(centred, wrong, float(means.min()))


def separation(suspicion: ArrayLike, posterior: ArrayLike) -> float:
    """How far apart two components lie: `sqrt(2) |a - b| / sqrt(v + u)`, above 2 where they are two groups.

    Args:
        suspicion: (n,).
        posterior: (n,) probability of the higher component, as of `mixture_posterior`.

    Source: Ashman, Bird and Zepf, "Detecting bimodality in astronomical datasets", 1994, section 2.

    Example:
        >>> round(separation([0.0, 2.0, 9.0, 11.0], [0.0, 0.0, 1.0, 1.0]), 6)
        9.0
    """
    signal, upper = checked_signal(suspicion), checked_signal(posterior, "posterior")
    if min(upper.sum(), (1.0 - upper).sum()) <= 0.0:
        return 0.0
    (above, v), (below, u) = (_mean_and_variance(signal, side) for side in (upper, 1.0 - upper))
    return float(np.sqrt(2.0) * abs(above - below) / np.sqrt(max(v + u, 1e-300)))


def _mean_and_variance(values: Floats, weights: Floats) -> tuple[float, float]:
    mean = float(np.average(values, weights=weights))
    return mean, float(np.average((values - mean) ** 2, weights=weights))


def _never_falling(signal: Floats, posterior: Floats, low: float) -> Floats:
    """Outside the two means the posterior may turn back; there it is held at what it has reached."""
    order = np.argsort(signal, kind="stable")
    values, ordered = signal[order], posterior[order].copy()
    below = int(np.searchsorted(values, low))
    first_inside = ordered[below] if below < len(ordered) else 0.0
    ordered[:below] = np.minimum.accumulate(np.minimum(ordered[:below], first_inside)[::-1])[::-1]
    ordered = np.maximum.accumulate(ordered)
    result = np.empty_like(ordered)
    result[order] = ordered
    return result


@dataclass(frozen=True)
class NoiseRate:
    """The share of wrong labels.

    Args:
        estimate: in [0, 1].
        low: lower end of the interval.
        high: upper end.
        confidence: that the interval is meant to have.
    """

    estimate: float
    low: float
    high: float
    confidence: float = 0.95

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"about {100 * self.estimate:.1f} % of the labels are wrong "
            f"({100 * self.confidence:.0f} % interval {100 * self.low:.1f} to {100 * self.high:.1f} %)"
        )


def mixture_noise_rate(suspicion: ArrayLike, *, draws: int = 40, seed: int = 0) -> NoiseRate:
    """The share of the higher component of a mixture fitted to one signal (`mixture_posterior`), with an interval.

    Args:
        suspicion: (n,), higher = more suspicious, on an unbounded scale.
        draws: bootstrap draws.
        seed: of the draws.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> signal = np.r_[generator.normal(0, 1, 900), generator.normal(6, 1, 100)]
        >>> rate = mixture_noise_rate(signal)
        >>> rate.low < 0.1 < rate.high
        True
    """
    signal = checked_signal(suspicion)
    posterior = mixture_posterior(signal)
    estimate = float(posterior.mean())

    def again(rows: Ints) -> float:
        drawn = signal[rows]
        if len(np.unique(drawn)) < 2:
            return estimate
        return float(mixture_posterior(drawn, posterior[rows]).mean())

    return bootstrapped_rate(estimate, len(signal), again, draws, [seed, 0x4D4958])


def combined_rate(rates: Sequence[NoiseRate]) -> NoiseRate:
    """The middle of several estimates, with an interval that reaches over all of theirs.

    A bootstrap takes its model for right; how far different models lie apart is the larger part of the error.

    Raises:
        BadInputError: no estimate.

    Example:
        >>> combined_rate([NoiseRate(0.25, 0.2, 0.3), NoiseRate(0.75, 0.7, 0.8)])
        NoiseRate(estimate=0.5, low=0.2, high=0.8, confidence=0.95)
    """
    if not rates:
        raise BadInputError("Putting noise rates together needs at least one.")
    middle = float(np.mean([rate.estimate for rate in rates]))
    least = min(rate.confidence for rate in rates)
    return with_wider_interval(replace(rates[0], estimate=middle, confidence=least), rates)


def with_wider_interval(rate: NoiseRate, others: Sequence[NoiseRate]) -> NoiseRate:
    """The same estimate, with an interval that reaches over those of other looks at the same data.

    Example:
        >>> with_wider_interval(NoiseRate(0.25, 0.2, 0.3), [NoiseRate(0.35, 0.3, 0.4)])
        NoiseRate(estimate=0.25, low=0.2, high=0.4, confidence=0.95)
    """
    every = [rate, *others]
    return replace(rate, low=min(each.low for each in every), high=max(each.high for each in every))


def bootstrapped_rate(
    estimate: float, count: int, again: Callable[[Ints], float], draws: int, seed: list[int]
) -> NoiseRate:
    """Ends of 95 % from a normal interval, which few draws give well; a draw of fewer examples is scaled back to all.

    Where next to nothing is found, no draw finds anything either, and the draws alone would be sure of it. So the
    interval also reaches over the exact binomial one of as many wrong labels: 0 of n leave room for 3.7/n at 95 %.
    """
    generator = np.random.default_rng(seed)
    size = min(count, _LARGEST_DRAW)
    found = [again(generator.integers(0, count, size)) for _ in range(draws)]
    reach = float(norm.ppf(0.975) * np.std(found, ddof=1) * np.sqrt(size / count))
    low, high = binomial_interval(estimate * count, count)
    return NoiseRate(estimate, max(0.0, min(low, estimate - reach)), min(1.0, max(high, estimate + reach)))


def binomial_interval(found: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share of which `found` of `count` were seen; `found` may be a sum of probabilities.

    `low = B(a/2; k, n - k + 1)`, `high = B(1 - a/2; k + 1, n - k)` with B the beta quantile and a = 1 - confidence.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 1934; all of a on one side of `k = 0` would give the rule of three.

    Example:
        >>> low, high = binomial_interval(0, 1000)
        >>> low, round(high, 5)
        (0.0, 0.00368)
    """
    tail = (1.0 - confidence) / 2.0
    seen = min(max(found, 0.0), float(count))
    low = float(beta.ppf(tail, seen, count - seen + 1)) if seen > 0 else 0.0
    high = float(beta.ppf(1.0 - tail, seen + 1, count - seen)) if seen < count else 1.0
    return low, high
