"""The default suspicion of a wrong label: a label model fitted to given labels alone, and training dynamics with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize
from scipy.sparse import csr_matrix
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from datadiet.foundation.errors import BadInputError
from datadiet.noise.calibration import NoiseRate, along_reference, mixture_noise_rate, mixture_posterior
from datadiet.noise.profile import noise_rate
from datadiet.noise.signals import Floats, Ints, checked_logits, checked_signal, log_probabilities

_ROUNDS = 60
_ENOUGH = 1e-6  # change of the mean log likelihood at which the fit stops
_FLOOR = -20.0  # of a view's log probability: a model's certainty beyond e^-20 is not evidence
_LARGEST_WEIGHT = 5.0
_SUREST = 1e-4  # a second view's probability is held this far from 0 and 1
_MOST_LOG_ODDS = 15.0
_OF_THE_LOSS = 0.5  # of the log odds of the loss beside those of the predictions


@dataclass(frozen=True)
class LabelModel:
    """What the fit says of every example.

    Args:
        weights: (views,), how much each view counts; a single view's weight is an inverse temperature.
        transition: (classes, classes), row = true class, column = given label; rows sum to 1.
        posterior: (n, classes), probability of each true class, given the views and the given label.
        labels: (n,) int64, the given labels.
    """

    weights: Floats
    transition: Floats
    posterior: Floats
    labels: Ints

    @property
    def probability_wrong(self) -> Floats:
        """(n,) in [0, 1]: the posterior probability that the given label is not the true class."""
        others = self.posterior.copy()
        others[np.arange(len(others)), self.labels] = 0.0
        return np.asarray(np.clip(others.sum(axis=1), 0.0, 1.0))

    @property
    def log_odds_wrong(self) -> Floats:
        """(n,): log of the odds that the label is wrong; orders examples where probabilities round to 1 or 0."""
        own = self.posterior[np.arange(len(self.posterior)), self.labels]
        return np.log(np.maximum(self.probability_wrong, 1e-300)) - np.log(np.maximum(own, 1e-300))

    @property
    def proposed(self) -> Ints:
        """(n,): the most probable class other than the given label."""
        others = self.posterior.copy()
        others[np.arange(len(others)), self.labels] = -1.0
        return np.asarray(others.argmax(axis=1), dtype=np.int64)


def fit_label_model(
    views: Sequence[ArrayLike],
    labels: ArrayLike,
    *,
    sample_weights: ArrayLike | None = None,
    start: LabelModel | None = None,
    rounds: int = _ROUNDS,
) -> LabelModel:
    """Fit by maximum likelihood how much each view is worth and which classes are taken for which.

    With views `log q_v(y | x)` the class of x is y with `p(y | x) ∝ exp Σ_v w_v log q_v(y | x)`, and
    a label l is given with probability `T[y, l]`. `w` and `T` maximise `Σ_i log Σ_y p(y | x_i) T[y, l_i]`: expectation
    maximisation for T, a quasi-Newton step for w in between. No clean label is used: noise shows in how often
    labels differ where views are sure, and a view that is not sure explains differences by itself.
    Rows of T are drawn to the overall noise rate spread evenly, with the weight of one example a class.

    Args:
        views: each (n, classes) logits or log probabilities, not trained on the label that they are to judge, or so
            early that it is not yet learnt by heart.
        labels: (n,) given labels.
        sample_weights: (n,) weights of examples in the fit, such as the counts of a bootstrap draw.
        start: a fit of the same views to begin from.
        rounds: at most so many rounds.

    Raises:
        BadInputError: no view, shapes that do not fit, values that are not finite.

    Source: the transition matrix of Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss
    Correction Approach", CVPR 2017, section 3; fitting it and the weights of several views jointly is our choice.

    Example:
        >>> sure = np.log(np.where(np.eye(2)[[0, 0, 0, 1, 1, 1]] > 0, 0.98, 0.02))
        >>> fit_label_model([sure], [0, 0, 1, 1, 1, 1]).probability_wrong.argmax()
        np.int64(2)
    """
    if not views:
        raise BadInputError("A label model needs at least one view.")
    checked = [checked_logits(view, labels) for view in views]
    given = checked[0][1]
    if any(rows.shape != checked[0][0].shape for rows, _ in checked) or not len(given):
        raise BadInputError(
            "All views of a label model must be of the same examples, at least one, and classes."
        )
    stack = np.stack([np.maximum(log_probabilities(rows), _FLOOR) for rows, _ in checked])
    classes = stack.shape[2]
    counts = np.ones(len(given)) if sample_weights is None else np.asarray(sample_weights, dtype=np.float64)
    by_label = csr_matrix((counts, (given, np.arange(len(given)))), shape=(classes, len(given)))
    weights = np.full(len(stack), 1.0 / len(stack)) if start is None else start.weights
    transition = _spread(0.1, classes) if start is None else start.transition
    likelihood = -np.inf
    for _ in range(rounds):
        weights = _improve_weights(stack, given, counts, transition, weights)
        posterior, log_likelihoods = _posterior(stack, given, weights, transition)
        transition = _transition(by_label @ posterior)
        now = float(np.average(log_likelihoods, weights=counts))
        if abs(now - likelihood) < _ENOUGH:
            break
        likelihood = now
    posterior, _ = _posterior(stack, given, weights, transition)
    return LabelModel(weights, transition, posterior, given)


def _spread(rate: float, classes: int) -> Floats:
    """A transition with the same noise rate in every class, spread evenly over the others."""
    matrix = np.full((classes, classes), rate / (classes - 1))
    np.fill_diagonal(matrix, 1.0 - rate)
    return matrix


def _transition(joint: Floats) -> Floats:
    """The transition from expected counts (given label, true class), drawn to the even one."""
    counts = joint.T
    classes = len(counts)
    rate = 1.0 - np.trace(counts) / counts.sum()
    even = _spread(float(np.clip(rate, 1e-6, 1.0 - 1e-6)), classes)
    return (counts + classes * even) / (counts.sum(axis=1, keepdims=True) + classes)  # type: ignore[no-any-return]


def _prior(stack: Floats, weights: Floats) -> Floats:
    return np.exp(log_probabilities(np.tensordot(weights, stack, axes=1)))


def _posterior(stack: Floats, given: Ints, weights: Floats, transition: Floats) -> tuple[Floats, Floats]:
    """(n, classes) posterior of the true class, and (n,) log likelihood of the given label."""
    joint = _prior(stack, weights) * transition[:, given].T
    total = joint.sum(axis=1)
    return joint / total[:, None], np.log(total)


def _improve_weights(
    stack: Floats, given: Ints, counts: Floats, transition: Floats, weights: Floats
) -> Floats:
    """A few quasi-Newton steps on the weights with the transition as it is."""
    likelihood_of_label = transition[:, given].T
    size = counts.sum()

    def loss(at: Floats) -> tuple[float, Floats]:
        prior = _prior(stack, at)
        joint = prior * likelihood_of_label
        total = joint.sum(axis=1)
        pull = (prior - joint / total[:, None]) * counts[:, None]
        return -float(counts @ np.log(total)) / size, np.einsum("nc,vnc->v", pull, stack) / size

    bounds = [(0.0, _LARGEST_WEIGHT)] * len(stack)
    found = minimize(loss, weights, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 5})
    return np.asarray(found.x)


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

    suspicion: Floats
    probability_wrong: Floats
    proposed: Ints
    noise_rate: NoiseRate
    label_model: LabelModel


def probability_from_signal(reference: ArrayLike, signal: ArrayLike) -> Floats:
    """What another signal alone says of a label, (n,) in (0, 1), learnt from a calibrated probability.

    With q a calibrated probability that the label is wrong, and the signal s independent of q given whether it is,
    `E[q | s] = a_0 + (a_1 - a_0) P(wrong | s)`, where `a_1 = E[q | wrong] = Σ q² / Σ q` and
    `a_0 = E[q | right] = Σ q (1 - q) / Σ (1 - q)`. The left side is an isotonic regression; solved for `P(wrong | s)`.

    Args:
        reference: q, (n,) in [0, 1].
        signal: s, (n,), higher = more suspicious.

    Example:
        >>> probability_from_signal([0.0, 0.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]).round(3)
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


def shifted_to_mean(log_odds: ArrayLike, mean: float) -> Floats:
    """`sigmoid(log_odds + b)` with the b that gives them that mean, (n,).

    Example:
        >>> shifted_to_mean([-2.0, 0.0, 2.0], 0.5).round(3)
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
    held_out: Sequence[ArrayLike] | None = None,
    out_of_sample: bool = True,
    seed: int = 0,
) -> Combination:
    """Suspicion, probability, proposed label and noise rate from predictions and what training saw.

    1. A label model is fitted to the predictions (`fit_label_model`): log odds that the label is wrong.
    2. The loss in the later part of training says what it says alone (`probability_from_signal`). Half of its log odds
       are added: it has seen the same pictures, and not which classes are taken for which; all of them where the AUM
       shows the wrong labels as a group of their own.
    3. The noise rate comes from predictions for labels that the models did not see (`noise_rate`). Where the AUM shows
       such a group (`mixture_noise_rate`), of a size that the predictions allow, it is that of the group, which is
       sharper.
    4. Probabilities come from a logarithmic opinion pool of the two, with the mean of the noise rate. Where predictions
       could not tell it, they follow the group; where nothing could, they order the examples and no more.

    Args:
        views: logits (n, classes) of models; of several, the fit finds their weights.
        labels: (n,) given labels.
        late_loss: (n,) mean loss of the training pass over its later half; None when there is no trace.
        aum: (n,) area under the margin of the training; None when there is no trace.
        held_out: for each view (n,) bool, examples drawn at random whose labels its model did not see; by default all.
        out_of_sample: whether any were held out. If not, the noise rate and the probabilities come from the AUM alone.
        seed: which examples the noise rate is taken from where there are very many.

    Raises:
        BadInputError: shapes that do not fit, values that are not finite.
    """
    model = fit_label_model(views, labels)
    suspicion = np.clip(model.log_odds_wrong, -_MOST_LOG_ODDS, _MOST_LOG_ODDS)
    doubts = None if aum is None else -checked_signal(aum, "aum")
    groups = None if doubts is None else mixture_noise_rate(doubts, labels)
    pooled = suspicion
    if late_loss is not None:
        share = 1.0 if groups is not None and groups.identified else _OF_THE_LOSS
        suspicion = suspicion + share * logit(probability_from_signal(model.probability_wrong, late_loss))
        pooled = suspicion / (1.0 + share)
    rate = NoiseRate(float(model.probability_wrong.mean()), 0.0, 1.0, identified=False)
    if out_of_sample and (held_out is None or np.asarray(held_out).any()):
        rate = noise_rate(views, labels, held_out, seed=seed)
    probability = shifted_to_mean(pooled, rate.estimate)
    if groups is not None and groups.identified and rate.low <= groups.estimate <= rate.high:
        if rate.identified:
            probability = shifted_to_mean(pooled, groups.estimate)
        else:
            assert doubts is not None
            probability = along_reference(suspicion, mixture_posterior(doubts))
        rate = groups
    return Combination(suspicion, probability, model.proposed, rate, model)
