"""Several scores made one, by rank, so that their scales do not matter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from datadiet.errors import BadInputError


def mixture(
    hardness_by_name: Mapping[str, npt.ArrayLike], weights: Mapping[str, float] | None = None
) -> npt.NDArray[np.float64]:
    """Weighted mean of the ranks of several scores: a new hardness in [0, 1], 1 the hardest.

    Each score is replaced by its rank divided by n - 1 (equal scores share the mean of their ranks), then
    averaged with the weights. A negative weight turns a score round.

    Args:
        hardness_by_name: scores by name, each of shape (n,), higher = harder, rows alike.
        weights: by name; all names, not all zero. Equal where not given.

    Returns:
        float64, shape (n,).

    Raises:
        BadInputError: no scores, unequal lengths, NaN, or weights that do not fit the names.

    Source:
        ours.

    Example:
        >>> mixture({"el2n": [0.1, 0.2, 0.9], "forgetting": [0, 5, 5]}).tolist()
        [0.0, 0.625, 0.875]
    """
    if not hardness_by_name:
        raise BadInputError("There are no scores to mix: give at least one.")
    chosen = dict.fromkeys(hardness_by_name, 1.0) if weights is None else dict(weights)
    if missing := sorted(set(hardness_by_name) ^ set(chosen)):
        raise BadInputError(
            f"Scores and weights do not name the same: {missing[0]!r} is in one only. Give each "
            f"score one weight."
        )
    total = sum(abs(weight) for weight in chosen.values())
    if not np.isfinite(total) or total == 0:
        raise BadInputError(
            f"The weights {chosen} do not add up to anything: give finite ones, not all zero."
        )
    mixed: npt.NDArray[np.float64] | None = None
    for name, values in hardness_by_name.items():
        scores = np.asarray(values)
        if scores.ndim != 1 or (mixed is not None and len(scores) != len(mixed)):
            raise BadInputError(f"Score {name!r} has shape {scores.shape}: give all scores the same length.")
        if np.isnan(scores).any():
            row = int(np.flatnonzero(np.isnan(scores))[0])
            raise BadInputError(
                f"Score {name!r} is NaN in {int(np.isnan(scores).sum())} rows, first row {row}."
            )
        rank = _relative_rank(scores)
        part = (rank if chosen[name] >= 0 else 1.0 - rank) * (abs(chosen[name]) / total)
        mixed = part if mixed is None else mixed + part
    assert mixed is not None
    return mixed


def _relative_rank(scores: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Rank from 0 (lowest) to 1 (highest); ties share their mean rank."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(scores) else np.empty(0, dtype=bool)
    run = np.cumsum(first) - 1
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], len(scores)) - 1
    ranks = np.empty(len(scores))
    ranks[order] = ((starts + ends) / 2.0)[run]
    return ranks / max(1, len(scores) - 1)
