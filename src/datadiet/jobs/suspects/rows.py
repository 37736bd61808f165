"""What is found of the examples of both parts, as columns; exact duplicates that contradict each other go first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import softmax

from datadiet.data.examples import Examples
from datadiet.jobs.suspects.held_out import HeldOut, on_scale_of
from datadiet.jobs.suspects.ranking import CONFLICT


@dataclass(frozen=True, eq=False)
class Rows:
    """Columns over the train part and after it, where it was judged, the test part, each in the order of its ids.

    Args:
        ids: of the examples.
        part: "train" or "test".
        labels: the given ones.
        suspicion: higher = more suspicious.
        probability: that the label is wrong.
        proposed: the class that the models propose instead.
        signals: by name; NaN where a test example has none.
    """

    ids: np.ndarray
    part: np.ndarray
    labels: np.ndarray
    suspicion: np.ndarray
    probability: np.ndarray
    proposed: np.ndarray
    signals: Mapping[str, np.ndarray]


def joined(
    examples: Examples,
    suspicion: np.ndarray,
    probability: np.ndarray,
    proposed: np.ndarray,
    signals: Mapping[str, np.ndarray],
    held_out: HeldOut | None,
) -> Rows:
    """What was found of the training examples, and of the test examples beside it, on one scale.

    Args:
        examples: the data.
        suspicion: (n_train,), and so are the next three.
        probability: that the label is wrong.
        proposed: class.
        signals: by name.
        held_out: of the test part; None to leave it out.
    """
    train, test = examples.train, examples.test
    if held_out is None:
        part = np.full(len(train), "train")
        return Rows(train.ids, part, train.labels, suspicion, probability, proposed, signals)
    found, none = held_out.combination, np.full(len(test), np.nan)
    return Rows(
        np.concatenate([train.ids, test.ids]),
        np.repeat(["train", "test"], [len(train), len(test)]),
        np.concatenate([train.labels, test.labels]),
        np.concatenate([suspicion, on_scale_of(suspicion, probability, found.probability_wrong)]),
        np.concatenate([probability, found.probability_wrong]),
        np.concatenate([proposed, found.proposed]),
        {
            name: np.concatenate([values, held_out.signals.get(name, none)])
            for name, values in signals.items()
        },
    )


def contradictions_first(rows: Rows, examples: Examples) -> Rows:
    """Raise exact duplicates with different labels above all others, and say how probably each label is wrong."""
    group = duplicate_groups(examples)[: len(rows.ids)]
    chosen = np.flatnonzero(_contradicting(group, rows.labels))
    conflict = np.zeros(len(rows.ids))
    conflict[chosen] = 1.0
    suspicion, probability = np.array(rows.suspicion, np.float64), np.array(rows.probability, np.float64)
    if len(chosen):
        suspicion[chosen] += 1 + suspicion.max() - suspicion[chosen].min()
        probability[chosen] = one_truth(probability[chosen], rows.labels[chosen], group[chosen])
    signals = {**rows.signals, CONFLICT: conflict}
    return replace(rows, suspicion=suspicion, probability=probability, signals=signals)


def duplicate_groups(examples: Examples) -> np.ndarray:
    """A number for every example, (n_train + n_test,), the same for those with exactly the same inputs.

    Example:
        >>> from datadiet.data import load
        >>> duplicate_groups(load((["good", "bad", "good"], [1, 0, 0]), test=(["bad", "fine", "fine"], [1, 1, 0])))
        array([0, 1, 0, 1, 4, 4])
    """
    train, test, repeats = examples.train, examples.test, examples.repeats
    offset = len(train)
    group = np.arange(offset + len(test))
    here = np.isin(repeats.train, train.ids) & np.isin(repeats.train_first, train.ids)
    group[train.positions_of(repeats.train[here])] = train.positions_of(repeats.train_first[here])
    group[offset + test.positions_of(repeats.test)] = offset + test.positions_of(repeats.test_first)
    here = np.isin(repeats.leaked_from, train.ids)
    leaked, source = repeats.leaked[here], repeats.leaked_from[here]
    group[offset + test.positions_of(leaked)] = train.positions_of(source)
    return group


def _contradicting(group: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) bool: whose group has more than one label."""
    least, most = np.full(group.max() + 1, labels.max()), np.zeros(group.max() + 1, labels.dtype)
    np.minimum.at(least, group, labels)
    np.maximum.at(most, group, labels)
    return np.asarray(least[group] != most[group])


def one_truth(probability: np.ndarray, labels: np.ndarray, group: np.ndarray) -> np.ndarray:
    """How probable each label of exact duplicates is wrong, now that all of a group have one true label.

    The labels were taken to be wrong independently of each other, with probability p_i. Given that what is right in
    a group is right for one class c only, or for none,

        P(c) ~ prod_{label i = c} (1 - p_i) prod_{label i != c} p_i,   P(none) ~ prod_i p_i,

    and label i is wrong with 1 - P(label i). So two examples that contradict each other and looked equally good are
    wrong with at least one half each, and one against three others is most probably the wrong one.

    Args:
        probability: (n,) that each label is wrong, by itself.
        labels: (n,) given labels.
        group: (n,) numbers that say which are duplicates of each other.

    Example:
        >>> one_truth(np.full(4, 0.2), np.array([0, 0, 0, 1]), np.zeros(4)).round(3).tolist()
        [0.072, 0.072, 0.072, 0.942]
    """
    sure = np.clip(probability, 1e-6, 1 - 1e-6)
    log_odds = np.log1p(-sure) - np.log(sure)  # of being right
    wrong = np.empty(len(labels))
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        _, place = np.unique(labels[members], return_inverse=True)
        # Sums of log odds are log P(c) - log P(none).
        shares = softmax([0.0, *np.bincount(place, weights=log_odds[members])])
        wrong[members] = 1 - shares[1:][place]
    return wrong
