"""AUM with a threshold class: how low the margin of an example gets whose label is surely wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from datadiet.errors import BadInputError
from datadiet.suspects.signals import checked_signal

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


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
    masks = []
    for index in range(rounds):
        mask = np.zeros(num_examples, bool)
        mask[order[index * size : (index + 1) * size]] = True
        masks.append(mask)
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


def threshold_suspicion(
    aums: ArrayLike, in_threshold_class: ArrayLike, percentile: float = 99.0
) -> NDArray[np.float64]:
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
