"""The default suspicion: out-of-sample predictions and training dynamics together, fitted without clean labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from datadiet.noise.calibration import (
    NoiseRate,
    along_reference,
    label_noise_rate,
    mixture_noise_rate,
    mixture_posterior,
    reaching_over,
    separation,
    together,
)
from datadiet.noise.label_model import LabelModel, fit_label_model
from datadiet.noise.signals import checked_signal

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


_SUREST = 1e-4  # a second view's probability is held this far from 0 and 1
_MOST_LOG_ODDS = 15.0
_TWO_GROUPS = 2.0  # separation from which a mixture has found two groups, not the tail of one


@dataclass(frozen=True)
class Combination:
    """What the combination says.

    Args:
        suspicion: (n,), higher = more suspicious.
        probability_wrong: (n,) in [0, 1], in the order of `suspicion`.
        proposed: (n,) int64, the most probable class other than the label.
        noise_rate: estimate and interval.
        label_model: the fit to the predictions.
    """

    suspicion: NDArray[np.float64]
    probability_wrong: NDArray[np.float64]
    proposed: NDArray[np.int64]
    noise_rate: NoiseRate
    label_model: LabelModel


def second_view(reference: ArrayLike, signal: ArrayLike) -> NDArray[np.float64]:
    """What another signal alone says of a label, (n,) in (0, 1), learnt from a calibrated probability.

    With q a calibrated probability that the label is wrong, and the signal s independent of q given whether it is,
    `E[q | s] = a_0 + (a_1 - a_0) P(wrong | s)`, where `a_1 = E[q | wrong] = Σ q² / Σ q` and
    `a_0 = E[q | right] = Σ q (1 - q) / Σ (1 - q)`. The left side is an isotonic regression; solved for `P(wrong | s)`.

    Args:
        reference: q, (n,) in [0, 1].
        signal: s, (n,), higher = more suspicious.

    Example:
        >>> second_view([0.0, 0.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]).round(3)
        array([0., 0., 1., 1.])
    """
    q, s = checked_signal(reference, "reference"), checked_signal(signal, "signal")
    regressed = IsotonicRegression().fit_transform(s, q)
    if q.min() == q.max():
        return np.asarray(np.clip(q, _SUREST, 1.0 - _SUREST))
    of_wrong = (q * q).sum() / q.sum()
    of_right = (q * (1.0 - q)).sum() / (1.0 - q).sum()
    alone = (regressed - of_right) / (of_wrong - of_right)
    return np.asarray(np.clip(alone, _SUREST, 1.0 - _SUREST))


def with_mean(log_odds: ArrayLike, mean: float) -> NDArray[np.float64]:
    """`sigmoid(log_odds + b)` with the b that gives them that mean, (n,).

    Example:
        >>> with_mean([-2.0, 0.0, 2.0], 0.5).round(3)
        array([0.119, 0.5  , 0.881])
    """
    odds = np.asarray(log_odds, dtype=np.float64)
    wanted = float(np.clip(mean, 1e-9, 1.0 - 1e-9))
    reach = 50.0 + float(np.abs(odds).max(initial=0.0))
    shift = brentq(lambda b: float(expit(odds + b).mean()) - wanted, -reach, reach)
    return expit(odds + shift)  # type: ignore[no-any-return]


def combine(
    views: Sequence[ArrayLike],
    labels: ArrayLike,
    late_loss: ArrayLike | None = None,
    aum: ArrayLike | None = None,
    *,
    aum_parts: Sequence[ArrayLike] = (),
    out_of_sample: bool = True,
    seed: int = 0,
) -> Combination:
    """Suspicion, probability, proposed label and noise rate from predictions and what training saw.

    1. A label model is fitted to the predictions (`fit_label_model`): log odds that the label is wrong.
    2. The loss in the later part of training says what it says alone (`second_view`); log odds are added.
    3. The noise rate is the middle of two estimates whose errors point opposite ways: the label model takes a wrong
       label that was learnt by heart for right, a mixture fitted to the AUM takes hard examples for wrong ones. Where
       the mixture finds no two groups (`separation`), which is so when hardly a label is wrong, it is not asked.
    4. Both views see the same pictures, so their odds count half (a logarithmic opinion pool of the two); the
       probabilities get the mean of the noise rate.

    Args:
        views: logits (n, classes) of models; of several, the fit finds their weights.
        labels: (n,) given labels.
        late_loss: (n,) mean loss of the training pass over its later half; None when there is no trace.
        aum: (n,) area under the margin of the training; None when there is no trace.
        aum_parts: the same over parts of the training, such as its halves. Early margins leave wrong labels among the
            hard examples, late ones leave hard examples among the wrong labels, so the interval of the noise rate
            reaches over what the mixture finds in each of them.
        out_of_sample: whether the models were not trained on the labels that they judge. If they were, the noise
            rate and the probabilities come from the AUM alone.
        seed: of the bootstrap.

    Raises:
        BadInputError: shapes that do not fit, values that are not finite.
    """
    model = fit_label_model(views, labels)
    suspicion = np.clip(model.log_odds_wrong, -_MOST_LOG_ODDS, _MOST_LOG_ODDS)
    pooled = suspicion
    if late_loss is not None:
        suspicion = suspicion + logit(second_view(model.probability_wrong, late_loss))
        pooled = 0.5 * suspicion
    doubts = None if aum is None else -checked_signal(aum, "aum")
    posterior = None if doubts is None else _two_groups(doubts)
    rates = []
    if out_of_sample or posterior is None:
        rates.append(label_noise_rate(views, labels, model, seed=seed))
    if doubts is not None and posterior is not None:
        parts = [-checked_signal(part, "aum_parts") for part in aum_parts]
        apart = [mixture_noise_rate(part, seed=seed) for part in parts if _two_groups(part) is not None]
        rates.append(reaching_over(mixture_noise_rate(doubts, seed=seed), apart))
    noise_rate = together(rates)
    if out_of_sample or posterior is None:
        probability = with_mean(pooled, noise_rate.estimate)
    else:
        probability = along_reference(suspicion, posterior)
    return Combination(suspicion, probability, model.proposed, noise_rate, model)


def _two_groups(doubts: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The mixture's posterior where it finds two groups; None where it does not."""
    if np.ptp(doubts) == 0.0:
        return None
    posterior = mixture_posterior(doubts)
    return posterior if separation(doubts, posterior) >= _TWO_GROUPS else None
