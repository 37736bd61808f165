"""From a suspicion to the probability that the label is wrong, without clean labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from datadiet.errors import BadInputError
from datadiet.suspects.signals import checked_signal

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_ROUNDS = 300
_ENOUGH = 1e-5  # change of a posterior at which the fit stops


def along_reference(suspicion: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
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


def mixture_posterior(suspicion: ArrayLike, start: ArrayLike | None = None) -> NDArray[np.float64]:
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
    upper = centred >= np.quantile(centred, 0.9)
    wrong = np.asarray(upper if start is None else start, dtype=np.float64)
    least = 1e-3  # of a component's variance, on the scale of all: no component shrinks to one value
    # A start that leaves one component empty is what comes out: there is nothing beyond the ends to hold.
    means = np.array([centred.min(), centred.max()])
    for _ in range(_ROUNDS):
        shares = np.array([1.0 - wrong.mean(), wrong.mean()])
        if shares.min() < 1e-6:
            break
        sides = (1.0 - wrong, wrong)
        means = np.array([np.average(centred, weights=side) for side in sides])
        variances = np.array(
            [max(least, np.average((centred - m) ** 2, weights=s)) for m, s in zip(means, sides, strict=True)]
        )
        logs = np.log(shares) - 0.5 * np.log(variances) - 0.5 * (centred[:, None] - means) ** 2 / variances
        odds = logs[:, 1] - logs[:, 0]
        before, wrong = wrong, expit(odds)
        if np.abs(wrong - before).max() < _ENOUGH:
            break
    return _never_falling(centred, wrong, float(means.min()), float(means.max()))


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
    means = [float(np.average(signal, weights=side)) for side in (upper, 1.0 - upper)]
    spread = sum(
        float(np.average((signal - mean) ** 2, weights=side))
        for mean, side in zip(means, (upper, 1.0 - upper), strict=True)
    )
    return float(np.sqrt(2.0) * abs(means[0] - means[1]) / np.sqrt(max(spread, 1e-300)))


def _never_falling(
    signal: NDArray[np.float64], posterior: NDArray[np.float64], low: float, high: float
) -> NDArray[np.float64]:
    """Outside the two means the posterior may turn back; there it is held at what it has reached."""
    order = np.argsort(signal, kind="stable")
    values, ordered = signal[order], posterior[order].copy()
    below = values < low
    if below.any():
        inside = ordered[~below]
        ordered[below] = np.minimum(ordered[below], inside[0] if len(inside) else 0.0)
        ordered[below] = np.minimum.accumulate(ordered[below][::-1])[::-1]
    ordered = np.maximum.accumulate(ordered)
    result = np.empty_like(ordered)
    result[order] = ordered
    return result
