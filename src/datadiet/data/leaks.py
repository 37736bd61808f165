"""What duplicates come to: labels that contradict each other, a test part that was trained on; and how that is said."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from datadiet.data.duplicates import Repeats
from datadiet.data.examples import Examples, IntArray, Part
from datadiet.foundation.errors import BadInputError

OnLeak = Literal["error", "drop", "keep"]
_SHOWN = 5  # ids or classes in a sentence
_ANSWERS = {
    "classification": "labels",
    "intent_slots": "intents or tags",
    "token_classification": "tags",
    "multilabel": "labels",
    "regression": "numbers",
}
_NAMED = (
    "classification",
    "intent_slots",
    "multilabel",
)  # tasks in which a row's class says what it is answered with


def conflicts(train: Part, repeats: Repeats) -> tuple[IntArray, IntArray]:
    """Training rows with the inputs of another row but another label or target, as the part has them now.

    Args:
        train: the train part.
        repeats: of its data.

    Returns:
        Ids, increasing, and for each the first id with the same inputs.

    Example:
        >>> from datadiet.data import load
        >>> examples = load((["good", "bad", "good", "mean"], [1, 0, 0, 0]), test=(["fine", "poor"], [1, 0]))
        >>> [found.tolist() for found in conflicts(examples.train, examples.repeats)]
        [[0, 2], [0, 0]]
    """
    here = np.isin(repeats.train, train.ids)
    order = np.argsort(repeats.train_first[here], kind="stable")
    ids, first = repeats.train[here][order], repeats.train_first[here][order]
    if len(ids):
        answers = _answers(train, train.positions_of(ids))
        starts = np.flatnonzero(np.diff(first, prepend=first[0] - 1))
        differ = np.minimum.reduceat(answers, starts) != np.maximum.reduceat(answers, starts)
        chosen = np.repeat(differ, np.diff(starts, append=len(ids)))
        ids, first = ids[chosen], first[chosen]
    order = np.argsort(ids)
    return ids[order], first[order]


def _answers(part: Part, positions: IntArray) -> IntArray:
    """Label and targets of some rows as one number each, the same for the same."""
    if part.targets is None:
        return part.labels[positions]
    # Adding 0 turns -0.0 into 0.0.
    found = [np.asarray(row + 0).tobytes() for row in part.targets.take(positions).rows()]
    numbers: dict[tuple[int, bytes], int] = {}
    pairs = zip(part.labels[positions].tolist(), found, strict=True)
    return np.array([numbers.setdefault(pair, len(numbers)) for pair in pairs], dtype=np.int64)


def repeat_notes(examples: Examples) -> list[str]:
    """A sentence for the user on each way in which rows are repeated; none where none are."""
    repeats, train, notes = examples.repeats, examples.train, []
    again = np.flatnonzero(repeats.train != repeats.train_first)
    if len(again):
        row, first = repeats.train[again[0]], repeats.train_first[again[0]]
        notes.append(
            f"{_count(len(again), 'training row repeats', 'training rows repeat')} an earlier row exactly (the first: "
            f"row {row} repeats row {first})."
        )
    ids, group = conflicts(train, repeats)
    if len(ids):
        places = train.positions_of(ids)
        answers = _answers(train, places)
        other = int(np.flatnonzero((group == group[0]) & (answers != answers[0]))[0])
        labels = train.labels[places[[0, other]]]
        told = examples.task in _NAMED and labels[0] != labels[1]
        one, two = (f" '{examples.class_names[label]}'" if told else "" for label in labels)
        notes.append(
            f"{len(ids):,} training rows repeat each other but have different {_ANSWERS[examples.task]} "
            f"(the first: row {ids[0]}{one} and row {ids[other]}{two})."
        )
    if len(repeats.leaked):
        notes.append(f"{_copies(examples)} (the first: {_pairs(repeats, 1)}).")
    if len(repeats.test):
        notes.append(
            f"{_count(len(repeats.test), 'test row repeats', 'test rows repeat')} an earlier one exactly."
        )
    return notes


def rows_tested(examples: Examples, on_leak: OnLeak) -> npt.NDArray[np.bool_] | None:
    """Which test rows a verdict is of.

    Args:
        examples: the data.
        on_leak: what becomes of test rows that are in the train part too: "error" refuses them, "drop" leaves them
            out, "keep" counts them as all others.

    Returns:
        bool (n_test,), or None for all.

    Raises:
        BadInputError: there are such rows and `on_leak` is "error"; or fewer than two others, and it is not "keep".

    Example:
        >>> from datadiet.data import load
        >>> examples = load((["good", "bad", "mean"], [1, 0, 0]), test=(["bad", "fine", "poor"], [0, 1, 0]))
        >>> rows_tested(examples, "drop").tolist(), rows_tested(examples, "keep")
        ([False, True, True], None)
    """
    if on_leak not in get_args(OnLeak):
        raise BadInputError(f"on_leak is '{on_leak}', but must be 'error', 'drop' or 'keep'.")
    leaked = examples.repeats.leaked
    if not len(leaked) or on_leak == "keep":
        return None
    kept = ~np.isin(examples.test.ids, leaked)
    left = int(kept.sum())
    if left < 2:
        rest = "" if left == 0 else ", and a single row is left"
        instead = "give another test part with --test, or none to have training rows held out"
        if examples.holdout_seed is not None:
            instead = "remove the repeated rows, or give a test part with --test"
        raise BadInputError(
            f"{_copies(examples)}{rest}, so accuracies would say nothing of new data; {instead}, or count such rows "
            "all the same with --on-leak keep."
        )
    if on_leak == "error":
        raise BadInputError(
            f"{_copies(examples)} ({_pairs(examples.repeats, _SHOWN)}); remove them from one of the two, or leave them "
            "out of the verdict with --on-leak drop."
        )
    return kept


def leak_warning(examples: Examples, tested: npt.NDArray[np.bool_] | None) -> str | None:
    """What to know of a verdict on data whose parts share rows; None where they share none.

    Args:
        examples: the data.
        tested: what `rows_tested` gave.
    """
    if not len(examples.repeats.leaked):
        return None
    if tested is None:
        verb = "counts" if len(examples.repeats.leaked) == 1 else "count"
        doubt = "so accuracies may be higher than on new data"
        return f"{_copies(examples)} and {verb} as all others (--on-leak keep), {doubt}."
    left = f"accuracies are of the other {int(tested.sum()):,} rows"
    said = f"{_copies(examples)} and {'is' if tested.sum() + 1 == len(tested) else 'are'} left out: {left}."
    gone = np.setdiff1d(examples.test.labels, examples.test.labels[tested])
    if not len(gone) or examples.task not in _NAMED:
        return said
    names = ", ".join(f"'{examples.class_names[label]}'" for label in gone[:_SHOWN])
    more = f" and {len(gone) - _SHOWN:,} more" if len(gone) > _SHOWN else ""
    return f"{said} No test row is left of {'class' if len(gone) == 1 else 'the classes'} {names}{more}."


def _copies(examples: Examples) -> str:
    repeats, train, test = examples.repeats, examples.train, examples.test
    count = len(repeats.leaked)
    said = f"{count:,} of {_count(len(test), 'test row', 'test rows')} "
    said += "is an exact copy of a training row" if count == 1 else "are exact copies of training rows"
    if count == len(test):
        said = f"All {_count(count, 'test row', 'test rows')} are exact copies of training rows"
    here = np.isin(repeats.leaked_from, train.ids)  # there may be less to train on by now
    labels = test.labels[test.positions_of(repeats.leaked[here])]
    others = int((labels != train.labels[train.positions_of(repeats.leaked_from[here])]).sum())
    return f"{said} ({others:,} with another label)" if others and examples.task in _NAMED else said


def _pairs(repeats: Repeats, most: int) -> str:
    """The first test rows with the training rows that they are."""
    pairs = zip(repeats.leaked[:most].tolist(), repeats.leaked_from[:most].tolist(), strict=True)
    more = ", ..." if len(repeats.leaked) > most > 1 else ""
    return ", ".join(f"test row {test} is training row {train}" for test, train in pairs) + more


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
