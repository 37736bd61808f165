"""Scores that look at windows of the trace: DUAL and TDDS."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.errors import BadInputError


def dual(probabilities: npt.ArrayLike, window: int = 10) -> npt.NDArray[np.float64]:
    """Difficulty times uncertainty: mean over windows of `std * (1 - mean)` of the label's probability.

    The standard deviation is the unbiased one (divided by `window - 1`). Higher = more worth keeping.

    Args:
        probabilities: of the label, shape (epochs, n); the paper uses the first 30 epochs.
        window: epochs of one sliding window, 2 to epochs.

    Returns:
        float64, shape (n,), in [0, 0.36].

    Raises:
        BadInputError: a wrong shape, or fewer epochs than the window.

    Source:
        Cho, Shin, Kang, Yun 2025 (DUAL), section 4.1.

    Example:
        >>> dual([[0.2, 0.9], [0.6, 0.9]], window=2).round(4).tolist()
        [0.1697, 0.0]
    """
    array = _trace(probabilities, window, dimensions=(2,), least=2)
    epochs, n = array.shape
    total = np.zeros(n)
    for start in range(epochs - window + 1):
        part = array[start : start + window].astype(np.float64)
        total += part.std(axis=0, ddof=1) * (1.0 - part.mean(axis=0))
    total /= epochs - window + 1
    return total


def tdds(probabilities: npt.ArrayLike, window: int = 10, decay: float = 0.9) -> npt.NDArray[np.float64]:
    """Temporal dual-depth score: how much the change from epoch to epoch varies, the latest windows most.

    With `k_t = sum_c |p_t log(p_t / p_(t-1))|`, each window of J epochs has J - 1 changes and the norm of
    their deviations from their mean; windows are summed with weights `decay * (1 - decay) ** age`, age 0 the
    last one.

    Args:
        probabilities: shape (epochs, n, classes); or (epochs, n), of the label alone, which leaves the sum
            its label's term only (our approximation, for traces that hold no more).
        window: epochs of one sliding window, 3 to epochs (with two there is one change, which cannot vary).
        decay: weight of the last window, in (0, 1].

    Returns:
        float64, shape (n,), 0 or more; higher = more worth keeping.

    Raises:
        BadInputError: a wrong shape, fewer epochs than the window, or decay outside (0, 1].

    Source:
        Zhang, Du, Li, Xie, Zhou 2024 (TDDS), section 3; logarithms are shifted by 1e-8 as in the released
        code.

    Example:
        >>> steady = [[0.5], [0.5], [0.5]]; moving = [[0.5], [0.9], [0.9]]
        >>> scores = tdds(np.concatenate([steady, moving], axis=1), window=3)
        >>> bool(scores[0] == 0.0 and scores[1] > 0.0)
        True
    """
    array = _trace(probabilities, window, dimensions=(2, 3), least=3)
    if not 0.0 < decay <= 1.0:
        raise BadInputError(f"decay is {decay}: give a weight above 0 and at most 1.")
    epochs, n = array.shape[:2]
    changes = np.empty((epochs - 1, n))
    before = np.log(array[0].astype(np.float64) + 1e-8)
    for epoch in range(1, epochs):
        now = array[epoch].astype(np.float64)
        logarithm = np.log(now + 1e-8)
        change = np.abs(now * (logarithm - before))
        changes[epoch - 1] = change if change.ndim == 1 else change.sum(axis=-1)
        before = logarithm
    total = np.zeros(n)
    for start in range(epochs - window + 1):
        part = changes[start : start + window - 1]
        spread = np.linalg.norm(part - part.mean(axis=0), axis=0)
        total += decay * (1.0 - decay) ** (epochs - window - start) * spread
    return total


def _trace(values: npt.ArrayLike, window: int, dimensions: tuple[int, ...], least: int) -> npt.NDArray[Any]:
    """The trace as an array, refused where its shape or its length does not do."""
    array: npt.NDArray[Any] = np.asarray(values)
    if array.ndim not in dimensions:
        shapes = " or ".join("(epochs, n, classes)" if d == 3 else "(epochs, n)" for d in dimensions)
        raise BadInputError(f"probabilities have shape {array.shape}: give {shapes}.")
    if not least <= window <= len(array):
        raise BadInputError(
            f"A window of {window} epochs does not fit a trace of {len(array)}: give {least} to {len(array)}."
        )
    return array
