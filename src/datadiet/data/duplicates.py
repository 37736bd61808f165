"""Rows with exactly the same inputs: within a part, in both parts, and with different labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from datadiet.foundation.errors import BadInputError

if TYPE_CHECKING:
    from datadiet.data.examples import Examples, Part

IntArray = npt.NDArray[np.int64]
OnLeak = Literal["error", "drop", "keep"]
_SHOWN = 5  # ids in an error


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
    """

    train: IntArray = field(default_factory=_none)
    train_first: IntArray = field(default_factory=_none)
    leaked: IntArray = field(default_factory=_none)
    leaked_from: IntArray = field(default_factory=_none)
    test: IntArray = field(default_factory=_none)

    def conflicts(self, train: Part) -> tuple[IntArray, IntArray]:
        """Training rows with the same inputs as another row but another label or target, by the labels of the part.

        Args:
            train: the train part.

        Returns:
            Ids, increasing, and for each the first id with the same inputs.
        """
        here = np.isin(self.train, train.ids)
        ids, first = self.train[here], self.train_first[here]
        order = np.argsort(first, kind="stable")
        ids, first = ids[order], first[order]
        if not len(ids):
            return ids, first
        answers = _answers(train, train.positions_of(ids))
        starts = np.flatnonzero(np.diff(first, prepend=first[0] - 1))
        differ = np.minimum.reduceat(answers, starts) != np.maximum.reduceat(answers, starts)
        chosen = np.repeat(differ, np.diff(starts, append=len(ids)))
        ids, first = ids[chosen], first[chosen]
        order = np.argsort(ids)
        return ids[order], first[order]


def find_repeats(parts: Sequence[Part], rows: Sequence[npt.NDArray[np.uint64]]) -> Repeats:
    """The rows of a train and a test part that have the inputs of another.

    Args:
        parts: train and test.
        rows: the hashes of their rows, as `datadiet.data.fingerprint.read_content` gives them.

    Example:
        >>> from datadiet.data import load
        >>> texts = (["good", "bad", "good", "poor"], [1, 0, 0, 0])
        >>> repeats = load(texts, test=(["poor", "fine"], [0, 1])).repeats
        >>> repeats.train.tolist(), repeats.train_first.tolist(), repeats.leaked.tolist()
        ([0, 2], [0, 0], [0])
    """
    hashes, n = np.concatenate(rows), len(rows[0])
    ordered = np.sort(hashes[:, 0])
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return Repeats()
    among = np.flatnonzero(np.isin(hashes[:, 0], twice))
    # The last key counts first; places that share a hash stay in their order, so the first one leads.
    among = among[np.lexsort((hashes[among, 1], hashes[among, 0]))]
    new = np.ones(len(among), dtype=bool)
    new[1:] = (hashes[among[1:]] != hashes[among[:-1]]).any(axis=1)
    group = np.cumsum(new) - 1
    first = among[new][group]
    in_train = among < n
    train_ids, test_ids = (part.ids for part in parts)
    several = in_train & (np.bincount(group, weights=in_train)[group] > 1)
    leaked = ~in_train & (first < n)
    # A test row repeats another if the one before it in its group is a test row too.
    again = ~in_train & ~new & ~np.concatenate([[True], in_train[:-1]])
    train, train_first = _by_id(train_ids[among[several]], train_ids[first[several]])
    leaks, leaked_from = _by_id(test_ids[among[leaked] - n], train_ids[first[leaked]])
    return Repeats(train, train_first, leaks, leaked_from, np.sort(test_ids[among[again] - n]))


def _by_id(ids: IntArray, others: IntArray) -> tuple[IntArray, IntArray]:
    order = np.argsort(ids)
    return ids[order], others[order]


def _answers(part: Part, positions: IntArray) -> IntArray:
    """Label and targets of some rows as one number each, the same for the same."""
    if part.targets is None:
        return part.labels[positions]
    found = [np.asarray(row + 0).tobytes() for row in part.targets.take(positions).rows()]  # 0 for -0.0
    numbers: dict[Any, int] = {}
    pairs = zip(part.labels[positions].tolist(), found, strict=True)
    return np.array([numbers.setdefault(pair, len(numbers)) for pair in pairs], dtype=np.int64)


_ANSWERS = {
    "classification": "labels",
    "intent_slots": "intents or tags",
    "token_classification": "tags",
    "multilabel": "labels",
    "regression": "numbers",
}


def repeat_notes(repeats: Repeats, examples: Examples) -> list[str]:
    """Sentences for the user on what is repeated; none where nothing is."""
    notes = []
    train, test = examples.train, examples.test
    again = repeats.train != repeats.train_first
    if again.any():
        ids, first = repeats.train[again], repeats.train_first[again]
        notes.append(
            f"{_count(len(ids), 'training row')} {'repeats' if len(ids) == 1 else 'repeat'} an earlier row exactly "
            f"(the first: row {ids[0]} repeats row {first[0]})."
        )
    ids, first = repeats.conflicts(train)
    if len(ids):
        one, place = int(ids[0]), train.positions_of(ids)
        other = int(ids[(first == first[0]) & (_answers(train, place) != _answers(train, place[:1])[0])][0])
        names = ["", ""]
        if examples.task in ("classification", "intent_slots", "multilabel"):
            labels = train.labels[train.positions_of([one, other])]
            names = [f" '{examples.class_names[label]}'" for label in labels] if np.ptp(labels) else names
        notes.append(
            f"{len(ids):,} training rows have the same content as another but different {_ANSWERS[examples.task]} "
            f"(the first: row {one}{names[0]} and row {other}{names[1]})."
        )
    if len(repeats.leaked):
        notes.append(f"{_leak(examples, repeats)} (the first: {_pairs(repeats, 1)}).")
    if len(repeats.test):
        verb = "repeats" if len(repeats.test) == 1 else "repeat"
        notes.append(f"{_count(len(repeats.test), 'test row')} {verb} an earlier test row exactly.")
    assert len(test)
    return notes


def tested_rows(examples: Examples, on_leak: OnLeak) -> npt.NDArray[np.bool_] | None:
    """Which test rows a verdict is of.

    Args:
        examples: the data.
        on_leak: what test rows do that are also in the train part: "error" refuses them, "drop" leaves them out,
            "keep" counts them as all others.

    Returns:
        bool (n_test,), or None for all.

    Raises:
        BadInputError: there are such rows and `on_leak` is "error"; or fewer than two rows would be left.

    Example:
        >>> from datadiet.data import load
        >>> examples = load((["good", "bad", "mean"], [1, 0, 0]), test=(["bad", "fine", "poor"], [0, 1, 0]))
        >>> tested_rows(examples, "drop").tolist(), tested_rows(examples, "keep")
        ([False, True, True], None)
    """
    if on_leak not in get_args(OnLeak):
        raise BadInputError(f"--on-leak is '{on_leak}', but must be one of {', '.join(get_args(OnLeak))}.")
    leaked = examples.repeats.leaked
    if not len(leaked) or on_leak == "keep":
        return None
    kept = ~np.isin(examples.test.ids, leaked)
    left = int(kept.sum())
    shared = _leak(examples, examples.repeats)
    if left < 2:
        rest = ", and a single one is left" if left else ""
        instead = "give another --test, or leave it out to have a part of the training part held out"
        if examples.holdout_seed is not None:
            instead = "remove the repeated rows, or give a test part with --test"
        raise BadInputError(
            f"{shared}{rest}, so accuracies would say nothing of new data; {instead}, or count such rows all the same "
            "with --on-leak keep."
        )
    if on_leak == "error":
        raise BadInputError(
            f"{shared} ({_pairs(examples.repeats, _SHOWN)}); remove them from one of the two, or leave them out of the "
            "verdict with --on-leak drop."
        )
    return kept


def leak_warning(examples: Examples, tested: npt.NDArray[np.bool_] | None) -> str | None:
    """What to know of a verdict of data whose parts share rows; None where they share none.

    Args:
        examples: the data.
        tested: what `tested_rows` gave.
    """
    leaked = examples.repeats.leaked
    if not len(leaked):
        return None
    shared = _leak(examples, examples.repeats)
    if tested is None:
        return f"{shared}, and count as all others (--on-leak keep): accuracies are higher than on new data would be."
    labels = examples.test.labels
    gone = np.setdiff1d(labels, labels[tested])
    if examples.task not in ("classification", "intent_slots"):
        gone = gone[:0]
    names = ", ".join(f"'{examples.class_names[label]}'" for label in gone[:_SHOWN])
    more = f" and {len(gone) - _SHOWN} more" if len(gone) > _SHOWN else ""
    lost = (
        f" No test row is left of {'class' if len(gone) == 1 else 'the classes'} {names}{more}."
        if len(gone)
        else ""
    )
    return (
        f"{shared}: left out, all accuracies are of the other {_count(int(tested.sum()), 'test row')}.{lost}"
    )


def _leak(examples: Examples, repeats: Repeats) -> str:
    n, count = len(examples.test), len(repeats.leaked)
    labels = examples.test.labels[examples.test.positions_of(repeats.leaked)]
    there = np.isin(repeats.leaked_from, examples.train.ids)  # a part of the train part has not all of them
    trained = examples.train.labels[examples.train.positions_of(repeats.leaked_from[there])]
    others = int((labels[there] != trained).sum())
    if count == n:
        said = "Every row of the test part is also in the training part, exactly"
    else:
        said = (
            f"{count:,} of {n:,} test rows {'is' if count == 1 else 'are'} also in the training part, exactly"
        )
    if others and examples.task in ("classification", "intent_slots", "multilabel"):
        said += f", {others:,} of them with another label"
    return said


def _pairs(repeats: Repeats, most: int) -> str:
    """The first test rows with the training rows that they are."""
    pairs = list(zip(repeats.leaked[:most].tolist(), repeats.leaked_from[:most].tolist(), strict=True))
    more = ", ..." if len(repeats.leaked) > most > 1 else ""
    return ", ".join(f"test row {test} is training row {train}" for test, train in pairs) + more


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
