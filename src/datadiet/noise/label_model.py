"""The default: several views of the true class and the way labels go wrong, fitted together from given labels alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import logsumexp

from datadiet.foundation.errors import BadInputError
from datadiet.noise.signals import checked_logits

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


_ROUNDS = 60
_ENOUGH = 1e-6  # change of the mean log likelihood at which the fit stops
_FLOOR = -20.0  # of a view's log probability: a model's certainty beyond e^-20 is not evidence
_LARGEST_WEIGHT = 5.0


@dataclass(frozen=True)
class LabelModel:
    """What the fit says of every example.

    Args:
        weights: (views,), how much each view counts; a single view's weight is an inverse temperature.
        transition: (classes, classes), row = true class, column = given label; rows sum to 1.
        posterior: (n, classes), probability of each true class, given the views and the given label.
        labels: (n,) int64, the given labels.
        log_likelihood: mean over the examples.
    """

    weights: NDArray[np.float64]
    transition: NDArray[np.float64]
    posterior: NDArray[np.float64]
    labels: NDArray[np.int64]
    log_likelihood: float

    @property
    def probability_wrong(self) -> NDArray[np.float64]:
        """(n,) in [0, 1]: the posterior probability that the given label is not the true class."""
        others = self.posterior.copy()
        others[np.arange(len(others)), self.labels] = 0.0
        return np.asarray(np.clip(others.sum(axis=1), 0.0, 1.0))

    @property
    def log_odds_wrong(self) -> NDArray[np.float64]:
        """(n,): log of the odds that the label is wrong; orders examples where probabilities round to 1 or 0."""
        own = self.posterior[np.arange(len(self.posterior)), self.labels]
        return np.log(np.maximum(self.probability_wrong, 1e-300)) - np.log(np.maximum(own, 1e-300))

    @property
    def proposed(self) -> NDArray[np.int64]:
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

    With views `log q_v(y | x)` the class of x is believed to be y with `p(y | x) ∝ exp Σ_v w_v log q_v(y | x)`, and
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
    stack = np.stack(
        [np.maximum(rows - logsumexp(rows, axis=1, keepdims=True), _FLOOR) for rows, _ in checked]
    )
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
    posterior, log_likelihoods = _posterior(stack, given, weights, transition)
    return LabelModel(
        weights, transition, posterior, given, float(np.average(log_likelihoods, weights=counts))
    )


def _spread(rate: float, classes: int) -> NDArray[np.float64]:
    """A transition with the same noise rate in every class, spread evenly over the others."""
    matrix = np.full((classes, classes), rate / (classes - 1))
    np.fill_diagonal(matrix, 1.0 - rate)
    return matrix


def _transition(joint: NDArray[np.float64]) -> NDArray[np.float64]:
    """The transition from expected counts (given label, true class), drawn to the even one."""
    counts = joint.T
    classes = len(counts)
    rate = 1.0 - np.trace(counts) / counts.sum()
    even = _spread(float(np.clip(rate, 1e-6, 1.0 - 1e-6)), classes)
    return (counts + classes * even) / (counts.sum(axis=1, keepdims=True) + classes)  # type: ignore[no-any-return]


def _prior(stack: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    mixed = np.tensordot(weights, stack, axes=1)
    return np.exp(mixed - logsumexp(mixed, axis=1, keepdims=True))  # type: ignore[no-any-return]


def _posterior(
    stack: NDArray[np.float64],
    given: NDArray[np.int64],
    weights: NDArray[np.float64],
    transition: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, classes) posterior of the true class, and (n,) log likelihood of the given label."""
    joint = _prior(stack, weights) * transition[:, given].T
    total = joint.sum(axis=1)
    return joint / total[:, None], np.log(total)


def _improve_weights(
    stack: NDArray[np.float64],
    given: NDArray[np.int64],
    counts: NDArray[np.float64],
    transition: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """A few quasi-Newton steps on the weights with the transition as it is."""
    likelihood_of_label = transition[:, given].T
    size = counts.sum()

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        prior = _prior(stack, at)
        joint = prior * likelihood_of_label
        total = joint.sum(axis=1)
        pull = (prior - joint / total[:, None]) * counts[:, None]
        return -float(counts @ np.log(total)) / size, np.einsum("nc,vnc->v", pull, stack) / size

    bounds = [(0.0, _LARGEST_WEIGHT)] * len(stack)
    options: dict[str, Any] = {"maxiter": 5}
    found = minimize(loss, weights, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return np.asarray(found.x)
