"""Single signals of a wrong label, each a pure function of logits and given labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logsumexp

from datadiet.errors import BadInputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def checked_logits(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits as float64 (n, classes) and labels as int64 (n,).

    Raises:
        BadInputError: shapes that do not fit, a label outside the classes, logits that are not finite.
    """
    rows = np.asarray(logits, dtype=np.float64)
    given = np.asarray(labels)
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise BadInputError(f"logits must be (n, classes) with at least two classes, got shape {rows.shape}.")
    if given.shape != rows.shape[:1] or (given.dtype.kind not in "iu" and given.size):
        raise BadInputError(f"labels must be {len(rows)} integers, got {given.dtype} of shape {given.shape}.")
    if len(given) and not (given.min() >= 0 and given.max() < rows.shape[1]):
        raise BadInputError(f"labels must lie in 0 to {rows.shape[1] - 1}, the columns of the logits.")
    broken = np.logical_not(np.isfinite(rows).all(axis=1))
    if broken.any():
        raise BadInputError(f"logits are not finite for {_rows(broken)}.")
    return rows, given.astype(np.int64)


def checked_signal(values: ArrayLike, name: str = "suspicion") -> NDArray[np.float64]:
    """A signal as float64 (n,).

    Raises:
        BadInputError: not one number an example, or not finite.
    """
    signal = np.asarray(values, dtype=np.float64)
    if signal.ndim != 1:
        raise BadInputError(f"{name} must be one number an example, got shape {signal.shape}.")
    broken = np.logical_not(np.isfinite(signal))
    if broken.any():
        raise BadInputError(f"{name} is not finite for {_rows(broken)}.")
    return signal


def _rows(broken: NDArray[Any]) -> str:
    places = np.flatnonzero(broken)
    more = ", ..." if len(places) > 5 else ""
    return f"{len(places)} of {len(broken)} examples (rows {', '.join(map(str, places[:5]))}{more})"


def log_probabilities(logits: ArrayLike) -> NDArray[np.float64]:
    """`log softmax(logits)`, (n, classes) float64.

    Example:
        >>> np.exp(log_probabilities([[0.0, np.log(3.0)]])).round(2)
        array([[0.25, 0.75]])
    """
    rows = np.asarray(logits, dtype=np.float64)
    return rows - logsumexp(rows, axis=1, keepdims=True)  # type: ignore[no-any-return]


def label_probability(logits: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """The probability that the model gives the label, (n,) in [0, 1]; low is suspicious (self-confidence).

    Raises:
        BadInputError: see `checked_logits`.

    Source: Northcutt et al., "Confident Learning", JAIR 2021, section 3.

    Example:
        >>> label_probability([[0.0, np.log(3.0)]], [0]).round(2)
        array([0.25])
    """
    rows, given = checked_logits(logits, labels)
    return np.exp(log_probabilities(rows)[np.arange(len(given)), given])


def el2n(logits: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """`|softmax(logits) - one_hot(label)|_2`, (n,) in [0, sqrt(2)]; high is suspicious.

    Raises:
        BadInputError: see `checked_logits`.

    Source: Paul et al., "Deep Learning on a Data Diet", NeurIPS 2021, section 2.

    Example:
        >>> el2n([[0.0, 0.0]], [1]).round(4)
        array([0.7071])
    """
    rows, given = checked_logits(logits, labels)
    error = np.exp(log_probabilities(rows))
    error[np.arange(len(given)), given] -= 1.0
    return np.asarray(np.linalg.norm(error, axis=1), dtype=np.float64)


def logit_margin(logits: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """`z_label - max of the other z`, (n,); low, often negative, is suspicious.

    Raises:
        BadInputError: see `checked_logits`.

    Source: Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking", NeurIPS 2020.

    Example:
        >>> logit_margin([[3.0, 1.0, 2.0]], [1])
        array([-2.])
    """
    rows, given = checked_logits(logits, labels)
    index = np.arange(len(given))
    own = rows[index, given]
    others = rows.copy()
    others[index, given] = -np.inf
    return np.asarray(own - others.max(axis=1), dtype=np.float64)
