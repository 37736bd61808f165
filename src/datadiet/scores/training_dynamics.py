"""Scores of training dynamics: what happened to an example from epoch to epoch, and over windows of epochs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datadiet.foundation.errors import BadInputError
from datadiet.scores.changes import CHANGE, SHIFT
from datadiet.scores.passes import mean_of_seen, result_like, rows_and_mask
from datadiet.scores.registry import ANY, AUM, CARTOGRAPHY, register_score

_TDDS = "Zhang et al., Temporal Dual-Depth Scoring (TDDS), CVPR 2024"


@register_score(
    "forgetting",
    needs="trace",
    range=ANY,
    source="Toneva et al., An Empirical Study of Example Forgetting, ICLR 2019",
    columns=("correct",),
)
def forgetting(correct: ArrayLike, seen: ArrayLike | None = None) -> NDArray[Any]:
    """Times from correct to wrong; never learnt counts most.

    Forgetting events: how often an example goes from correct to wrong between consecutive presentations.

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
    events = np.zeros(rows.shape[1], np.int64)
    was_correct = np.zeros(rows.shape[1], bool)
    learnt = np.zeros(rows.shape[1], bool)
    for row, shown in zip(rows.astype(bool), mask, strict=True):
        events += was_correct & shown & ~row
        was_correct = np.where(shown, row, was_correct)
        learnt |= shown & row
    return count_forgetting(events, learnt, np.asarray(mask.any(axis=0)), len(rows))


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


@register_score("aum", needs="trace", higher_is_harder=False, source=AUM, columns=("logit_margin",))
def aum(logit_margin: ArrayLike, seen: ArrayLike | None = None) -> NDArray[Any]:
    """Mean logit margin over training; low for wrong labels.

    The area under the margin; often negative for wrong labels.

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
    return result_like(mean_of_seen(rows, mask), rows)


@register_score(
    "confidence",
    needs="trace",
    higher_is_harder=False,
    range=(0.0, 1.0),
    source=CARTOGRAPHY,
    columns=("probability",),
)
def confidence(probability: ArrayLike, seen: ArrayLike | None = None) -> NDArray[Any]:
    """Mean probability of the label over training.

    Confidence of dataset cartography; low is hard.

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
    return result_like(mean_of_seen(rows, mask), rows)


@register_score("variability", needs="trace", range=(0.0, 0.5), source=CARTOGRAPHY, columns=("probability",))
def variability(probability: ArrayLike, seen: ArrayLike | None = None) -> NDArray[Any]:
    """Spread of the label's probability over training; high for ambiguous examples.

    Variability of dataset cartography: the standard deviation, divided by E and not by E - 1.

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
    squares = np.where(mask, rows.astype(np.float64) - mean_of_seen(rows, mask), 0.0) ** 2
    return result_like(np.sqrt(mean_of_seen(squares, mask)), rows)


@register_score(
    "dyn_unc",
    needs="trace",
    range=ANY,
    source="He et al., Large-scale Dataset Pruning with Dynamic Uncertainty, CVPR 2024 workshops",
    columns=("probability",),
)
def dyn_unc(probability: ArrayLike, window: int = 10, seen: ArrayLike | None = None) -> NDArray[Any]:
    """Mean spread of the label's probability in sliding windows of epochs.

    Dynamic uncertainty: `mean_k std(probability[k : k + window])` with k from 0 to E - window; the standard
    deviation divides by window - 1, which changes the scale and not the ranking. A window with fewer than two
    presentations does not count.

    Args:
        probability: (epochs, n), the label's probability at each epoch.
        window: number of epochs in a window, at least 2.
        seen: (epochs, n) bool.

    Returns:
        (n,) at least 0; 0 where no window has two presentations; NaN for an example that was never seen.

    Raises:
        BadInputError: shapes do not fit, a seen value is not finite, or the window is below 2.

    Source: He et al., "Large-scale Dataset Pruning with Dynamic Uncertainty", CVPR 2024 workshops, section 3.

    Example:
        >>> dyn_unc([[0.0], [1.0], [0.0]], window=2).round(4)
        array([0.7071])
    """
    return _mean_over_windows(probability, window, seen, times_difficulty=False)


@register_score(
    "dual",
    needs="trace",
    range=(0.0, 0.36),
    source="Cho et al., Lightweight Dataset Pruning without Full Training (DUAL), ICML 2025",
    columns=("probability",),
)
def dual(probability: ArrayLike, window: int = 10, seen: ArrayLike | None = None) -> NDArray[Any]:
    """Spread times one minus mean of the label's probability in sliding windows of epochs.

    Difficulty times uncertainty, `mean_k std * (1 - mean)`; the standard deviation divides by window - 1. A window
    with fewer than two presentations does not count.
    The paper looks at the first 30 epochs with a window of 10.

    Args:
        probability: (epochs, n), the label's probability at each epoch.
        window: number of epochs in a window, at least 2.
        seen: (epochs, n) bool.

    Returns:
        (n,) in [0, 0.36]; 0 where no window has two presentations; NaN for an example that was never seen.

    Raises:
        BadInputError: shapes do not fit, a seen value is not finite, or the window is below 2.

    Source: Cho, Shin, Kang, Yun, "Lightweight Dataset Pruning without Full Training via Example Difficulty
    and Prediction Uncertainty", ICML 2025, section 4.1.

    Example:
        >>> dual([[0.2, 0.9], [0.6, 0.9]], window=2).round(4)
        array([0.1697, 0.    ])
    """
    return _mean_over_windows(probability, window, seen, times_difficulty=True)


@register_score("tdds", needs="trace", range=ANY, source=_TDDS, columns=(CHANGE,))
def tdds(
    change: ArrayLike, window: int = 10, decay: float = 0.9, seen: ArrayLike | None = None
) -> NDArray[Any]:
    """How much the change of the prediction varies from epoch to epoch, the last epochs most.

    The temporal dual-depth score. With `k_t = sum_c |p_t log(p_t / p_(t-1))|`, p_(t-1) from the presentation before,
    each window of J epochs has J - 1 changes and the norm of their deviations from their mean; windows are summed
    with weights `decay * (1 - decay) ** age`, age 0 the last one.

    Args:
        change: (epochs, n), k_t; that of an example's first presentation is not looked at.
        window: epochs of one sliding window, at least 3 (two have one change, which cannot vary).
        decay: weight of the last window, in (0, 1].
        seen: (epochs, n) bool.

    Returns:
        (n,) at least 0; 0 where no window has two changes; NaN for an example that was never seen.

    Raises:
        BadInputError: shapes do not fit, a change is not finite, the window is below 3, or decay is outside (0, 1].

    Source: Zhang, Du, Li, Xie, Zhou, "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for
    Enhanced Dataset Pruning", CVPR 2024, section 3.

    Example:
        >>> tdds([[np.nan], [0.5], [0.1]], window=3).round(4)
        array([0.2546])
    """
    if not 0.0 < decay <= 1.0:
        raise BadInputError(f"decay is {decay}; give a weight above 0 and at most 1.")
    rows = np.asarray(change)
    shown = np.ones(rows.shape, bool) if seen is None else np.asarray(seen, dtype=bool)
    rows, changed = rows_and_mask(rows, shown & (shown.cumsum(axis=0) > 1), "change")
    width = _width(window, 3, len(rows))
    total = np.zeros(rows.shape[1])
    for age, start in enumerate(range(len(rows) - width, -1, -1)):
        part, counts = rows[start + 1 : start + width], changed[start + 1 : start + width]
        spread = np.where(counts, part - np.nan_to_num(mean_of_seen(part, counts)), 0.0)
        total += decay * (1.0 - decay) ** age * np.sqrt((spread**2).sum(axis=0))
    return result_like(np.where(shown.any(axis=0), total, np.nan), rows)


def tdds_of_probabilities(
    probability: ArrayLike, window: int = 10, decay: float = 0.9, seen: ArrayLike | None = None
) -> NDArray[Any]:
    """`tdds` of the probabilities of all classes, where those of every epoch are at hand.

    Args:
        probability: (epochs, n, classes).
        window: epochs of one sliding window, at least 3.
        decay: weight of the last window, in (0, 1].
        seen: (epochs, n) bool.

    Returns:
        As `tdds`.

    Raises:
        BadInputError: as `tdds`.

    Source: as `tdds`; logarithms are shifted by 1e-8 as in the released code.

    Example:
        >>> steady, moving = [[0.5, 0.5]] * 3, [[0.5, 0.5], [0.9, 0.1], [0.9, 0.1]]
        >>> scores = tdds_of_probabilities(np.stack([steady, moving], axis=1), window=3)
        >>> bool(scores[0] == 0.0 and scores[1] > 0.0)
        True
    """
    full = np.asarray(probability)
    if full.ndim != 3:
        raise BadInputError(f"probability must be (epochs, n, classes), got shape {full.shape}.")
    # What is not finite in any class makes its sum not finite.
    _, mask = rows_and_mask(full.sum(axis=2), seen, "probability")
    return result_like(tdds(_changes(full, mask), window, decay, mask), full)


@register_score(
    "tdds_label",
    needs="trace",
    range=ANY,
    source=f"{_TDDS}; of the label's probability alone: ours",
    columns=("probability",),
)
def tdds_label(
    probability: ArrayLike, window: int = 10, decay: float = 0.9, seen: ArrayLike | None = None
) -> NDArray[Any]:
    """How much the change of the label's probability varies from epoch to epoch, the last epochs most.

    `tdds` without the terms of the other classes, which every trace gives. An example whose label has next to no
    probability, as wrong ones have before they are learnt by heart, scores next to nothing here, and may not there.

    Args:
        probability: (epochs, n), the label's probability at each epoch.
        window: epochs of one sliding window, at least 3.
        decay: weight of the last window, in (0, 1].
        seen: (epochs, n) bool.

    Returns:
        As `tdds`.

    Raises:
        BadInputError: as `tdds`.

    Example:
        >>> tdds_label([[0.5, 0.5], [0.5, 0.9], [0.5, 0.9]], window=3).round(3)
        array([0.   , 0.337])
    """
    rows, _ = rows_and_mask(probability, seen, "probability")
    return tdds_of_probabilities(rows[:, :, None], window, decay, seen)


def _width(window: int, least: int, epochs: int) -> int:
    """The window, no longer than the epochs there are."""
    if window < least:
        raise BadInputError(f"window must be at least {least} epochs, got {window}.")
    return min(window, epochs)


def _mean_over_windows(
    probability: ArrayLike, window: int, seen: ArrayLike | None, *, times_difficulty: bool
) -> NDArray[Any]:
    """The mean over all windows of the deviation, or of the deviation times one minus the window's mean."""
    rows, mask = rows_and_mask(probability, seen, "probability")
    total, windows = np.zeros(rows.shape[1]), np.zeros(rows.shape[1], np.int64)
    for mean, deviation, enough in _windows(rows, mask, _width(window, 2, len(rows))):
        total += np.where(enough, deviation * (1.0 - mean) if times_difficulty else deviation, 0.0)
        windows += enough
    return result_like(np.where(mask.any(axis=0), total / np.maximum(windows, 1), np.nan), rows)


def _windows(
    rows: NDArray[Any], mask: NDArray[Any], width: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Mean and unbiased deviation (n,) in every window, and whether it has two presentations."""
    # Sums roll from window to window; centred first, so that they stay small and lose no digits.
    centre = mean_of_seen(rows, mask)
    first, second, count = (np.zeros(rows.shape[1]) for _ in range(3))
    for last in range(len(rows)):
        for row, sign in ((last, 1.0), (last - width, -1.0)):
            if row >= 0:
                centred = np.where(mask[row], rows[row] - centre, 0.0)
                first += sign * centred
                second += sign * centred**2
                count += sign * mask[row]
        if last >= width - 1:
            several = np.maximum(count, 1)
            variance = (second - first**2 / several) / np.maximum(count - 1, 1)
            yield centre + first / several, np.sqrt(np.maximum(variance, 0.0)), count >= 2


def _changes(full: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """Changes since the presentation before, (epochs, n); NaN where there was none."""
    changes = np.full(mask.shape, np.nan)
    before: NDArray[Any] = np.full(full.shape[1:], np.nan)
    for epoch, here in enumerate(mask):
        now = np.where(here[:, None], full[epoch], np.nan).astype(np.float64)
        logarithm = np.log(now + SHIFT)
        changes[epoch] = np.abs(now * (logarithm - before)).sum(axis=1)
        before = np.where(here[:, None], logarithm, before)
    return changes
