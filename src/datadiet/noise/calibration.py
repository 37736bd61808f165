"""From a suspicion to the probability that a label is wrong, and to how many are, without clean labels."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from scipy.stats import beta
from sklearn.isotonic import IsotonicRegression

from datadiet.foundation.errors import BadInputError
from datadiet.noise.signals import Floats, checked_signal

WIDEST = 0.15  # an interval wider than this says nothing that probabilities could be made of
_APART = 4.0  # separation from which a mixture has found two groups, not the tail of one
_FEWEST = 20  # examples that make a group
_BETWEEN = 0.4  # of its size, so much may lie between the groups
_PREFERRED = 0.9  # of the upper group, so many prefer another class
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
        estimate: in [0, 1]; the best guess where it cannot be told.
        low: lower end of the interval.
        high: upper end.
        confidence: that the interval is meant to have.
        identified: whether wrong labels can be told from hard examples here. If not, the interval holds the rates
            that fit as well, and probabilities that go with it order examples and are no probabilities.
    """

    estimate: float
    low: float
    high: float
    confidence: float = 0.95
    identified: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        if not self.identified:
            fitting = f": between {100 * self.low:.0f} % and {100 * self.high:.0f} % fit as well"
            return f"how many labels are wrong cannot be told from hardness here{fitting if self.high < 1 else ''}"
        return (
            f"about {100 * self.estimate:.1f} % of the labels are wrong "
            f"({100 * self.confidence:.0f} % interval {100 * self.low:.1f} to {100 * self.high:.1f} %)"
        )


def mixture_noise_rate(suspicion: ArrayLike, labels: ArrayLike) -> NoiseRate:
    """The share of the higher component of a mixture fitted to one signal, where it is a group of its own.

    Hard examples are a tail, or a group that lies near the others; both look like wrong labels to a mixture. So the
    share is told only where the groups lie far apart (`separation` of 4 or more), the upper one has 20 examples or
    more and a positive suspicion, and few lie between. The interval reaches as far as those, and over the exact
    binomial one. Of a class that is mostly in the upper group it is not known whether its labels are wrong or were
    never learnt, so the lower end gives way by its size.

    Args:
        suspicion: (n,), on an unbounded scale, above 0 where another class than the label was preferred, such as a
            logit margin with its sign turned.
        labels: (n,) given labels.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> signal = np.r_[generator.normal(-6, 1, 900), generator.normal(6, 1, 100)]
        >>> print(mixture_noise_rate(signal, np.arange(1000) % 2))
        about 10.0 % of the labels are wrong (95 % interval 8.2 to 12.0 %)
        >>> print(mixture_noise_rate(np.abs(signal), np.arange(1000) % 2))
        how many labels are wrong cannot be told from hardness here
    """
    signal = checked_signal(suspicion)
    if len(np.unique(signal)) < 2:
        return NoiseRate(0.0, 0.0, 1.0, identified=False)
    posterior = mixture_posterior(signal)
    estimate, upper = float(posterior.mean()), posterior > 0.5
    between = float(((posterior > 0.05) & (posterior < 0.95)).mean())
    _, places, sizes = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    unlearnt = float(sizes[2 * np.bincount(places, upper) > sizes].sum()) / len(signal)
    low, high = binomial_interval(estimate * len(signal), len(signal))
    low = max(0.0, min(low, estimate - between) - unlearnt)
    high = min(1.0, max(high, estimate + between))
    told = (
        separation(signal, posterior) >= _APART
        and upper.sum() >= _FEWEST
        and (signal[upper] > 0).mean() >= _PREFERRED
        and between <= _BETWEEN * estimate
        and high - low <= WIDEST
    )
    return NoiseRate(estimate, low, high) if told else NoiseRate(estimate, 0.0, 1.0, identified=False)


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
