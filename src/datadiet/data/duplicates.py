"""Rows with exactly the same inputs, within a part and in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def _none() -> IntArray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Repeats:
    """Which rows have exactly the inputs of another: encoded bytes of images, texts, float64 values of vectors.

    Args:
        train: ids of all training rows that are not the only ones with their inputs, increasing.
        train_first: for each of these the first id with the same inputs, its own where it is the first.
        leaked: ids of the test rows whose inputs are also in the train part, increasing.
        leaked_from: for each of these the first training id with the same inputs.
        test: ids of the test rows that repeat an earlier test row, increasing.
        test_first: for each of these the first test id with the same inputs.
    """

    train: IntArray = field(default_factory=_none)
    train_first: IntArray = field(default_factory=_none)
    leaked: IntArray = field(default_factory=_none)
    leaked_from: IntArray = field(default_factory=_none)
    test: IntArray = field(default_factory=_none)
    test_first: IntArray = field(default_factory=_none)


def find_repeats(ids: Sequence[IntArray], rows: Sequence[npt.NDArray[np.uint64]]) -> Repeats:
    """The rows of a train and a test part that have the inputs of another.

    Args:
        ids: of the rows of train and test, increasing.
        rows: their hashes, uint64 (n, 2) each, as `datadiet.data.fingerprint.read_content` gives them.

    Example:
        >>> from datadiet.data import load
        >>> repeats = load((["good", "bad", "good", "mean"], [1, 0, 0, 0]), test=(["mean", "fine"], [0, 1])).repeats
        >>> repeats.train.tolist(), repeats.train_first.tolist(), repeats.leaked.tolist()
        ([0, 2], [0, 0], [0])
    """
    train_ids, test_ids = ids
    hashes, n = np.concatenate(rows), len(train_ids)
    # Hashes that stand once, which are most, need one sort and nothing else.
    ordered = np.sort(hashes[:, 0])
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return Repeats()
    among = np.flatnonzero(np.isin(hashes[:, 0], twice))
    # Rows of one hash lie together and in their order, so that the first of them leads.
    among = among[np.lexsort((hashes[among, 1], hashes[among, 0]))]
    new = np.ones(len(among), dtype=bool)
    new[1:] = (hashes[among[1:]] != hashes[among[:-1]]).any(axis=1)
    group = np.cumsum(new) - 1
    first, in_train = among[new][group], among < n
    several = in_train & (np.bincount(group, weights=in_train)[group] > 1)
    leaked = ~in_train & (first < n)
    # A test row repeats another where the one before it in its group is a test row too.
    leads = ~in_train & (new | np.concatenate([[True], in_train[:-1]]))
    again = ~in_train & ~leads
    first_test = np.empty(len(among), dtype=np.int64)
    first_test[group[leads]] = among[leads] - n
    train, train_first = _by_id(train_ids[among[several]], train_ids[first[several]])
    leaks, leaked_from = _by_id(test_ids[among[leaked] - n], train_ids[first[leaked]])
    test, test_first = _by_id(test_ids[among[again] - n], test_ids[first_test[group[again]]])
    return Repeats(train, train_first, leaks, leaked_from, test, test_first)


def _by_id(ids: IntArray, others: IntArray) -> tuple[IntArray, IntArray]:
    order = np.argsort(ids)
    return ids[order], others[order]
