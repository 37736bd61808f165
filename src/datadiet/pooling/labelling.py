"""The same data with other labels on some training examples: those that a pool's hypotheses give."""

from __future__ import annotations

import dataclasses

import numpy as np

from datadiet.data import Examples
from datadiet.data.examples import Part
from datadiet.data.fingerprint import fingerprint
from datadiet.data.target_rows import TargetRows


def with_labels(
    examples: Examples, ids: np.ndarray, labels: np.ndarray, targets: TargetRows | None = None, *, said: str
) -> Examples:
    """The data with other labels, and other targets where it has such, on some training examples.

    Args:
        examples: the data; it stays as it is.
        ids: whose labels are replaced, int64 (m,).
        labels: their classes, int64 (m,).
        targets: their tags or label sets, of m rows with as many words as these examples have; None of classes.
        said: what was done, in words, for the name.

    Returns:
        `Examples` with a fingerprint of its own; the test part is the same.

    Example:
        >>> from datadiet.data import load
        >>> digits = load("digits")
        >>> other = with_labels(digits, digits.train.ids[:2], np.array([7, 7]), said="two sevens")
        >>> other.train.labels[:2].tolist(), other.name
        ([7, 7], 'digits (two sevens)')
    """
    train = examples.train
    places = train.positions_of(ids)
    new = train.labels.copy()
    if (
        examples.task != "multilabel"
    ):  # whose classes are label sets, by which tables go and nothing is trained
        new[places] = labels
    part: Part = dataclasses.replace(train, labels=new, targets=_replaced(train.targets, places, targets))
    return dataclasses.replace(
        examples,
        name=f"{examples.name} ({said})",
        train=part,
        fingerprint=fingerprint(examples.class_names, (part, examples.test)),
        notes=(*examples.notes, f"{said}: {len(places)} of {len(train)} labels."),
    )


def _replaced(there: TargetRows | None, places: np.ndarray, targets: TargetRows | None) -> TargetRows | None:
    if there is None or targets is None:
        return there
    values = there.values.copy()
    if there.offsets is None:
        values[places] = targets.values
        return TargetRows(there.task, values, None, there.names)
    starts = there.offsets[places]
    lengths = there.lengths()[places]
    if not np.array_equal(lengths, targets.lengths()):
        raise ValueError("hypotheses must have a tag for each word of their examples")
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    index = np.arange(int(lengths.sum())) + np.repeat(starts - first, lengths)
    values[index] = targets.values
    return TargetRows(there.task, values, there.offsets, there.names)
