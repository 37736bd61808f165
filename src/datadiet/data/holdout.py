"""A stratified test part held out of one source."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datadiet.foundation.errors import BadInputError

IntArray = npt.NDArray[np.int64]
_HOLDOUT_STREAM = 0x401D


def hold_out(
    labels: IntArray, class_names: tuple[str, ...], *, fraction: float, seed: int
) -> tuple[IntArray, IntArray]:
    """Positions that stay for training and positions held out for testing, both sorted.

    Exactly `round(fraction * n)` are held out, but at least one of each class and never all of one.
    Each class gives its share, rounded by the largest remainder (ties: the first class).

    Raises:
        BadInputError: `fraction` is not between 0 and 1, or a class has a single example.

    >>> train, test = hold_out(np.array([0, 0, 0, 0, 1, 1]), ("a", "b"), fraction=0.5, seed=0)
    >>> len(test), sorted([*train, *test]) == list(range(6))
    (3, True)
    """
    if not 0 < fraction < 1:
        raise BadInputError(f"test_fraction is {fraction}, but must lie between 0 and 1.")
    counts = np.bincount(labels, minlength=len(class_names))
    single = np.flatnonzero(counts == 1)
    if len(single):
        row = int(np.flatnonzero(labels == single[0])[0])
        raise BadInputError(
            f"Class '{class_names[single[0]]}' has one example (row {row}), too few for the train and "
            "the test part; give a test part, or remove or merge that class."
        )
    present = counts > 0
    size = min(max(round(fraction * len(labels)), int(present.sum())), len(labels) - int(present.sum()))
    shares = _shares(counts, size)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([_HOLDOUT_STREAM, seed % 2**64])))
    held: list[IntArray] = []
    for index in np.flatnonzero(present):
        members = np.flatnonzero(labels == index)
        held.append(generator.permutation(members)[: shares[index]])
    test = np.sort(np.concatenate(held)).astype(np.int64)
    train = np.setdiff1d(np.arange(len(labels), dtype=np.int64), test, assume_unique=True)
    return train, test


def _shares(counts: IntArray, size: int) -> IntArray:
    """How many of each class make up `size`: in proportion, at least 1 and at most all but 1."""
    exact = counts * (size / counts.sum())
    least, most = np.minimum(counts, 1), np.maximum(counts - 1, 0)
    shares: IntArray = np.clip(np.floor(exact).astype(np.int64), least, most)
    while shares.sum() != size:
        step = 1 if shares.sum() < size else -1
        room = shares < most if step == 1 else shares > least
        # The class that is furthest from its exact share moves, one example at a time.
        gap = np.where(room, step * (exact - shares), -np.inf)
        shares[int(np.argmax(gap))] += step
    return shares
