"""Single signals of a wrong label, each a pure function of logits and given labels, and the threshold of AUM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from datadiet.foundation.errors import BadInputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def checked_logits(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, Ints]:
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
    bad = np.logical_not(np.isfinite(rows).all(axis=1))
    if bad.any():
        raise BadInputError(f"logits are not finite for {_rows(bad)}.")
    return rows, given.astype(np.int64)


def checked_signal(values: ArrayLike, name: str = "suspicion") -> Floats:
    """A signal as float64 (n,).

    Raises:
        BadInputError: not one number an example, or not finite.
    """
    signal = np.asarray(values, dtype=np.float64)
    if signal.ndim != 1:
        raise BadInputError(f"{name} must be one number an example, got shape {signal.shape}.")
    bad = np.logical_not(np.isfinite(signal))
    if bad.any():
        raise BadInputError(f"{name} is not finite for {_rows(bad)}.")
    return signal


def _rows(bad: NDArray[Any]) -> str:
    places = np.flatnonzero(bad)
    more = ", ..." if len(places) > 5 else ""
    return f"{len(places)} of {len(bad)} examples (rows {', '.join(map(str, places[:5]))}{more})"


def log_probabilities(logits: ArrayLike) -> Floats:
    """`log softmax(logits)`, (n, classes) float64.

    Example:
        >>> np.exp(log_probabilities([[0.0, np.log(3.0)]])).round(2)
        array([[0.25, 0.75]])
    """
    rows = np.asarray(logits, dtype=np.float64)
    return rows - logsumexp(rows, axis=1, keepdims=True)  # type: ignore[no-any-return]


def label_probability(logits: ArrayLike, labels: ArrayLike) -> Floats:
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


def el2n(logits: ArrayLike, labels: ArrayLike) -> Floats:
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


def draw_threshold_examples(
    num_examples: int, num_classes: int, rounds: int = 2, seed: int = 0
) -> tuple[NDArray[np.bool_], ...]:
    """Which examples get the extra class in each of several trainings; no example gets it twice.

    In each round `ceil(n / (classes + 1))` examples are drawn, so that the extra class is as large as the others.

    Args:
        num_examples: n.
        num_classes: classes of the data, without the extra one.
        rounds: trainings.
        seed: of the draw.

    Returns:
        One mask (n,) a round; disjoint.

    Raises:
        BadInputError: more rounds than there are disjoint draws.

    Source: Pleiss et al., NeurIPS 2020, section 4.

    Example:
        >>> first, second = draw_threshold_examples(12, 3)
        >>> int(first.sum()), int(second.sum()), bool((first & second).any())
        (3, 3, False)
    """
    size = math.ceil(num_examples / (num_classes + 1))
    if rounds < 1 or rounds * size > num_examples:
        raise BadInputError(
            f"{num_examples} examples of {num_classes} classes give {num_examples // max(1, size)} disjoint "
            f"threshold classes of {size}; {rounds} were asked for."
        )
    order = np.random.default_rng([seed, 0x41554D]).permutation(num_examples)
    masks = np.zeros((rounds, num_examples), bool)
    for mask, rows in zip(masks, order[: rounds * size].reshape(rounds, size), strict=True):
        mask[rows] = True
    return tuple(masks)


def threshold_margin(aum: ArrayLike, in_threshold_class: ArrayLike, percentile: float = 99.0) -> float:
    """The AUM below which a label counts as wrong: a percentile of the AUM of the threshold examples.

    Args:
        aum: (n,) area under the margin of one training with the extra class.
        in_threshold_class: (n,) bool.
        percentile: in [0, 100]; linear interpolation.

    Raises:
        BadInputError: AUM not finite, or no threshold example.

    Source: Pleiss et al., NeurIPS 2020, section 4.

    Example:
        >>> threshold_margin([-4.0, -2.0, 5.0], [True, True, False], 50)
        -3.0
    """
    margins = checked_signal(aum, "aum")
    mask = np.asarray(in_threshold_class, dtype=bool)
    if mask.shape != margins.shape or not mask.any():
        raise BadInputError(
            "AUM's threshold needs a mask of the shape of `aum` with at least one example in it."
        )
    if not 0.0 <= percentile <= 100.0:
        raise BadInputError(f"percentile is {percentile}; it must be from 0 to 100.")
    return float(np.percentile(margins[mask], percentile))


def threshold_suspicion(aums: ArrayLike, in_threshold_class: ArrayLike, percentile: float = 99.0) -> Floats:
    """How far an example's AUM lies below the threshold, (n,); above 0 the label counts as wrong.

    The mean of `threshold - aum` over the trainings in which the example had its own label.

    Args:
        aums: (trainings, n), each with its own threshold class.
        in_threshold_class: (trainings, n) bool.
        percentile: see `threshold_margin`.

    Raises:
        BadInputError: an example that was in the threshold class of every training.

    Example:
        >>> threshold_suspicion([[-1.0, -3.0, 2.0], [-5.0, -1.0, 4.0]], [[True, False, False], [False, True, False]])
        array([ 4.,  2., -4.])
    """
    rows, masks = np.asarray(aums, dtype=np.float64), np.asarray(in_threshold_class, dtype=bool)
    if rows.ndim != 2 or masks.shape != rows.shape:
        raise BadInputError(
            f"aums and in_threshold_class must both be (trainings, n), got {rows.shape} and {masks.shape}."
        )
    thresholds = np.array(
        [threshold_margin(row, mask, percentile) for row, mask in zip(rows, masks, strict=True)]
    )
    counted = ~masks
    times = counted.sum(axis=0)
    if (times == 0).any():
        raise BadInputError(
            f"{int((times == 0).sum())} of {len(times)} examples were in the threshold class of every training; "
            "train again with another threshold class, disjoint from the first."
        )
    below = np.where(counted, thresholds[:, None] - rows, 0.0)
    return below.sum(axis=0) / times  # type: ignore[no-any-return]
