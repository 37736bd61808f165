"""Scores of outputs over the training pass: what an example scored each time that it was trained on, averaged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datadiet.foundation.errors import BadInputError

#: Before the name of a score of outputs, its mean over the training pass: `mean_el2n` beside `el2n`.
OVER_THE_PASS = "mean_"
#: Epoch whose presentations are the first to count: in the one before, what a model says is mostly its start.
FIRST_EPOCH = 2


def mean_over_the_pass(values: ArrayLike, seen: ArrayLike | None = None) -> NDArray[Any]:
    """Mean of a score over the presentations of the training pass, from the second epoch on.

    What a model said when it was trained on an example, in training mode, augmented, with the weights of that moment:
    it costs nothing beside the training. An example that was presented in the first epoch alone has that value, and
    so has every example where there is one epoch. Epochs weigh alike; of several presentations in one epoch, `values`
    has the mean.

    Args:
        values: (epochs, n), the first row that of the first epoch.
        seen: (epochs, n) bool; epochs without a presentation do not count.

    Returns:
        (n,) in the units of the score; NaN for an example that was never seen.

    Raises:
        BadInputError: shapes do not fit, or a seen value is not finite.

    Example:
        >>> mean_over_the_pass([[9.0, 9.0], [0.5, 0.1], [0.3, 0.2]], seen=[[1, 1], [1, 0], [1, 0]])
        array([0.4, 9. ])
    """
    rows, mask = rows_and_mask(values, seen, "values")
    late = mask[FIRST_EPOCH - 1 :]
    counted = mask.copy()
    counted[: FIRST_EPOCH - 1, late.any(axis=0)] = False
    return result_like(mean_of_seen(rows, counted), rows)


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


def mean_of_seen(rows: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """Mean over the presentations of each example, NaN where there is none."""
    count = mask.sum(axis=0)
    total = np.where(mask, rows, 0).sum(axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan)


def result_like(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """The values as float64 where the input was, else as float32."""
    return values.astype(np.float64 if like.dtype == np.float64 else np.float32)
