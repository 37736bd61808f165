"""Scores of training dynamics: what happened to an example from epoch to epoch.

Every function takes (epochs, n) arrays, rows in the order of time, and an optional `seen` mask of the same
shape that is False where an example was not presented in that epoch; what stands there is never read.
An example that was never seen has no score: NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.errors import BadInputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def rows_and_mask(values: ArrayLike, seen: ArrayLike | None, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """(epochs, n) values and the mask of what was presented, refused where they do not fit."""
    rows = np.asarray(values)
    if rows.ndim != 2 or rows.shape[0] == 0:
        raise BadInputError(f"{name} must be (epochs, n) with at least one epoch, got shape {rows.shape}.")
    mask = np.ones(rows.shape, bool) if seen is None else np.asarray(seen, dtype=bool)
    if mask.shape != rows.shape:
        raise BadInputError(
            f"seen has shape {mask.shape} but {name} has shape {rows.shape}; they must be equal."
        )
    if rows.dtype.kind == "f" and not np.isfinite(rows[mask]).all():
        epoch, column = np.argwhere(mask & ~np.isfinite(rows))[0]
        raise BadInputError(
            f"{name} is not finite in epoch row {epoch}, column {column}; mark what was not seen in `seen`."
        )
    return rows, mask


def mean_and_count(rows: NDArray[Any], mask: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean over the presentations of each example, NaN where there is none, and how many there are."""
    count = mask.sum(axis=0)
    total = np.where(mask, rows, 0).sum(axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan), count


def _deviation(rows: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    mean, count = mean_and_count(rows, mask)
    squares = np.where(mask, rows.astype(np.float64) - mean, 0.0) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, np.sqrt(squares.sum(axis=0) / count), np.nan)


def result_like(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """The values as float64 where the input was, else as float32."""
    return values.astype(np.float64 if like.dtype == np.float64 else np.float32)


def forgetting(correct: ArrayLike, seen: ArrayLike | None = None) -> NDArray[Any]:
    """Forgetting events: how often an example goes from correct to wrong between consecutive presentations.

    An example that is never correct was never learnt and gets the number of epochs E, which is above any
    possible count (at most E / 2); one that is learnt once and stays correct gets 0.

    Args:
        correct: (epochs, n) bool, whether the example was predicted right when it was presented.
        seen: (epochs, n) bool; epochs without a presentation are skipped, not counted as wrong.

    Returns:
        (n,) float32 in [0, E]; NaN for an example that was never seen.

    Raises:
        BadInputError: shapes do not fit.

    Source: Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network Learning",
    ICLR 2019, section 3.

    Example:
        >>> forgetting([[1, 0, 1], [0, 0, 1], [1, 0, 1]])  # forgotten once, never learnt, never forgotten
        array([1., 3., 0.], dtype=float32)
    """
    rows, mask = rows_and_mask(correct, seen, "correct")
    rows = rows.astype(bool)
    events = np.zeros(rows.shape[1], np.int64)
    was_correct = np.zeros(rows.shape[1], bool)
    learnt = np.zeros(rows.shape[1], bool)
    for row, shown in zip(rows, mask, strict=True):
        events += was_correct & shown & ~row
        was_correct = np.where(shown, row, was_correct)
        learnt |= shown & row
    ever_seen: NDArray[np.bool_] = np.logical_or.reduce(mask, axis=0)
    return count_forgetting(events, learnt, ever_seen, len(rows))


def count_forgetting(
    events: NDArray[Any], learnt: NDArray[Any], ever_seen: NDArray[Any], num_epochs: int
) -> NDArray[Any]:
    """Forgetting score from counted events, by the rules of `forgetting`: (n,) arrays in, (n,) float32 out.

    Raises nothing. Counts of several presentations an epoch may pass the number of epochs E; never learnt
    still stays on top, at one above the largest count.

    Example:
        >>> count_forgetting(np.array([2, 0]), np.array([True, False]), np.array([True, True]), 5)
        array([2., 5.], dtype=float32)
    """
    counts = events.astype(np.float32)
    never_learnt = max(float(num_epochs), float(counts.max(initial=0)) + 1)
    return np.where(ever_seen, np.where(learnt, counts, never_learnt), np.nan).astype(np.float32)


def aum(logit_margin: ArrayLike, seen: ArrayLike | None = None) -> NDArray[Any]:
    """Area under the margin: the mean logit margin over training; low, often negative, for wrong labels.

    Args:
        logit_margin: (epochs, n), `z_label - max other z` at each epoch.
        seen: (epochs, n) bool.

    Returns:
        (n,), unbounded; NaN for an example that was never seen.

    Raises:
        BadInputError: shapes do not fit, or a seen value is not finite.

    Source: Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking",
    NeurIPS 2020, section 3.1.

    Example:
        >>> aum([[1.0, -2.0], [3.0, -4.0]])
        array([ 2., -3.])
    """
    rows, mask = rows_and_mask(logit_margin, seen, "logit_margin")
    return result_like(mean_and_count(rows, mask)[0], rows)


def confidence(probability: ArrayLike, seen: ArrayLike | None = None) -> NDArray[Any]:
    """Confidence of dataset cartography: the mean probability of the label over training; low is hard.

    Args:
        probability: (epochs, n), the label's probability at each epoch.
        seen: (epochs, n) bool.

    Returns:
        (n,) in [0, 1]; NaN for an example that was never seen.

    Raises:
        BadInputError: shapes do not fit, or a seen value is not finite.

    Source: Swayamdipta et al., "Dataset Cartography", EMNLP 2020, section 2.

    Example:
        >>> confidence([[0.25, 0.5], [0.75, 1.0]])
        array([0.5 , 0.75])
    """
    rows, mask = rows_and_mask(probability, seen, "probability")
    return result_like(mean_and_count(rows, mask)[0], rows)


def variability(probability: ArrayLike, seen: ArrayLike | None = None) -> NDArray[Any]:
    """Variability of dataset cartography: spread over training of the label's probability.

    The standard deviation, divided by E and not by E - 1.

    Args:
        probability: (epochs, n), the label's probability at each epoch.
        seen: (epochs, n) bool.

    Returns:
        (n,) in [0, 0.5]; 0 for one presentation; NaN for an example that was never seen.

    Raises:
        BadInputError: shapes do not fit, or a seen value is not finite.

    Source: Swayamdipta et al., "Dataset Cartography", EMNLP 2020, section 2.

    Example:
        >>> variability([[0.25, 0.5], [0.75, 0.5]])
        array([0.25, 0.  ])
    """
    rows, mask = rows_and_mask(probability, seen, "probability")
    return result_like(_deviation(rows, mask), rows)
