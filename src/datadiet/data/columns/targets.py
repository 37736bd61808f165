"""Targets beside classes: tags of words, sets of labels, numbers; read, then numbered by what good rows have."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.data import arrow
from datadiet.data.columns.labels import label_values, match_names
from datadiet.data.columns.raw import RawExamples, RawPart
from datadiet.data.columns.roles import Roles
from datadiet.data.examples import IGNORED, TargetRows
from datadiet.foundation.errors import BadInputError

_BIO = re.compile(r"O|[BIESLU]-.+")
# More sets than this, or sets of one example, are no classes that examples could be drawn from evenly.
_MOST_SETS, _LEAST_EXAMPLES = 100, 2
_MOST_BINS = 5
EVERYTHING = "all"


def read_targets(raw: RawExamples) -> RawExamples:
    """Give the parts their tags, sets of labels or numbers, where the task has them; rows without are bad.

    Raises:
        BadInputError: the columns do not hold what the task needs.
    """
    if raw.roles.tags is not None:
        return _read_tags(raw, raw.roles.tags)
    if raw.roles.task == "multilabel":
        return _read_label_sets(raw)
    if raw.roles.task == "regression":
        return dataclasses.replace(
            raw, parts=tuple(_with_numbers(part, raw.roles.label) for part in raw.parts)
        )
    return raw


def finalize_targets(raw: RawExamples) -> RawExamples:
    """Number the tags or labels that good training rows have; test rows with others are bad.

    Raises:
        BadInputError: no training row has any label.
    """
    if raw.roles.tags is not None:
        return _finalize_tags(raw)
    return _finalize_label_sets(raw) if raw.roles.task == "multilabel" else raw


def classes_of_targets(raw: RawExamples) -> RawExamples:
    """Classes for quotas, held-out parts and tables, where the label column has none, and names of outputs.

    The sets of labels ("a+b", "none") are classes where good rows have at most 100 of them and each set of the
    train part is there at least twice; numbers are put into quantile bins, five at most, of two rows each.

    Raises:
        BadInputError: all training rows have the same number.
    """
    if raw.roles.task == "multilabel":
        return _classes_of_label_sets(raw)
    if raw.roles.task == "regression":
        return _classes_of_numbers(raw)
    return dataclasses.replace(raw, class_names=(EVERYTHING,))


def _targets(part: RawPart) -> TargetRows:
    assert part.targets is not None
    return part.targets


def _item_features(raw: RawExamples, column: str) -> list[Any]:
    """What `datasets` says of the items of lists in a column, for each part."""
    return [getattr(part.dataset.features[column], "feature", None) for part in raw.parts]


def _named(features: list[Any]) -> Any:
    """The first feature that has class names, None if none has."""
    return next((feature for feature in features if hasattr(feature, "names")), None)


def _read_tags(raw: RawExamples, column: str) -> RawExamples:
    """Tags are strings with white space between them, or lists of strings, whole numbers or class names.

    The number -100 is a word without a tag.
    """
    features = _item_features(raw, column)
    parts = []
    for part, own in zip(raw.parts, features, strict=True):
        array = arrow.whole_column(part.dataset, column)
        if arrow.is_list(array.type):
            flat, offsets = array.flatten(), arrow.offsets_of(arrow.list_lengths(array))
        else:
            rows = arrow.words_of(array)
            flat = pa.array([tag for row in rows for tag in row], pa.string())
            offsets = arrow.offsets_of([len(row) for row in rows])
        untagged = np.zeros(len(flat), dtype=bool)
        if pa.types.is_integer(flat.type):
            mask = pc.equal(flat, IGNORED).fill_null(False)
            untagged = np.asarray(mask.to_numpy(zero_copy_only=False))
            flat = pc.if_else(mask, pa.scalar(None, flat.type), flat)
        feature = features[0] if hasattr(features[0], "names") and not hasattr(own, "names") else own
        names, indices, _ = label_values(flat, feature, column)
        indices = np.where(untagged, IGNORED, indices)
        targets = TargetRows(raw.roles.task, indices, offsets, tuple(names))
        parts.append(_with_tags(part, raw.roles, array, targets))
    fixed = tuple(named.names) if (named := _named(features)) is not None else None
    return dataclasses.replace(raw, parts=tuple(parts), fixed_names=fixed)


def _with_tags(part: RawPart, roles: Roles, array: Any, targets: TargetRows) -> RawPart:
    """The part with its tags; rows whose tags are missing or do not line up with the words are bad."""
    column, words_column = roles.tags, roles.inputs[0]
    words, tags = arrow.word_counts(arrow.whole_column(part.dataset, words_column)), targets.lengths()
    part = part.marked(array.is_null(), f"its tags (column '{column}') are missing", targets=targets)
    other = {
        int(row): f"it has {_counted(words[row], 'word')} (column '{words_column}') and "
        f"{_counted(tags[row], 'tag')} (column '{column}')"
        for row in np.flatnonzero((words != tags) & (words > 0))
    }
    missing = _rows_of(targets, np.flatnonzero(targets.values == -1)).tolist()
    reason = f"a tag of it (column '{column}') is missing"
    return part.with_bad(other).with_bad(dict.fromkeys(missing, reason))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _rows_of(targets: TargetRows, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The rows that words at given places among all words are in."""
    assert targets.offsets is not None
    return np.searchsorted(targets.offsets, places, side="right") - 1


def match_tags(targets: TargetRows, names: tuple[str, ...]) -> TargetRows:
    """Tags numbered as in `names`: -1 where missing, -2 where the name is not among them."""
    values = match_names(targets.names, np.maximum(targets.values, -1).astype(np.int64), names)
    values[targets.values == IGNORED] = IGNORED
    return dataclasses.replace(targets, values=values, names=names)


def rows_with_other_tags(targets: TargetRows, names: tuple[str, ...]) -> dict[int, str]:
    """For each row with a tag that is not in `names`, the first such tag."""
    known = np.append(np.isin(np.asarray(targets.names), names), True)
    places = np.flatnonzero(~known[np.maximum(targets.values, -1)])
    pairs = zip(_rows_of(targets, places)[::-1], places[::-1], strict=True)
    return {int(row): targets.names[targets.values[place]] for row, place in pairs}


def _finalize_tags(raw: RawExamples) -> RawExamples:
    """Number tags as good training rows have them: "O" first where it is there, others sorted, or as fixed."""
    train = _targets(raw.parts[0])
    codes = train.take(raw.parts[0].kept()).values
    seen = np.bincount(codes[codes >= 0], minlength=len(train.names)) > 0
    present = tuple(name for name, there in zip(train.names, seen, strict=True) if there)
    names = raw.fixed_names or tuple(sorted(present, key=lambda name: name != "O"))
    parts = []
    for number, part in enumerate(raw.parts):
        unseen = rows_with_other_tags(_targets(part), present) if number else {}
        bad = {row: f"its tag '{tag}' is never seen in the train part" for row, tag in unseen.items()}
        parts.append(part.with_bad(bad, targets=match_tags(_targets(part), names)))
    notes = raw.notes
    odd = next((name for name in names if not _BIO.fullmatch(name)), None)
    if odd is not None:
        notes += (
            f"The tags of column '{raw.roles.tags}' are not BIO (such as '{odd}'); each word's tag counts by itself.",
        )
    return dataclasses.replace(raw, parts=tuple(parts), notes=notes)


def _read_label_sets(raw: RawExamples) -> RawExamples:
    """Rows are lists of labels (strings, whole numbers, class names), or equally long lists of 0 and 1.

    Of the latter, label i is the name of position i.
    """
    label = raw.roles.label
    columns = [arrow.whole_column(part.dataset, label) for part in raw.parts]
    for column in columns:
        if not arrow.is_list(column.type) or arrow.is_list(column.type.value_type):
            raise BadInputError(
                f"Label column '{label}' holds {column.type}; several labels a row must be one list a row."
            )
    reason = f"its labels (column '{label}') are missing"
    parts = [part.marked(column.is_null(), reason) for part, column in zip(raw.parts, columns, strict=True)]
    features = _item_features(raw, label)
    named = _named(features)
    width = 0 if named is not None else _indicator_width(columns)
    fixed = tuple(named.names) if named is not None else None
    if width:
        fixed = tuple(str(index) for index in range(width))
    found: list[tuple[Sequence[str], npt.NDArray[np.int64]]] = []
    for column, own in zip(columns, features, strict=True):
        flat = column.flatten()
        if width:
            ones = arrow.numeric_matrix(pa.table({label: flat}), [label])[:, 0] > 0
            found.append((fixed or (), np.where(ones, np.arange(len(flat)) % width, -2)))
        else:
            found.append(label_values(flat, own if hasattr(own, "names") else named, label)[:2])
    # The names of the train part in their order, then those that only the test part has.
    names = tuple(dict.fromkeys(name for names_here, _ in found for name in names_here))
    for number, (column, (names_here, indices)) in enumerate(zip(columns, found, strict=True)):
        owner = np.repeat(np.arange(len(column)), arrow.list_lengths(column))
        there = indices >= 0
        matrix = np.zeros((len(column), len(names)), dtype=np.float32)
        matrix[owner[there], match_names(names_here, indices, names)[there]] = 1
        bad = {int(row): f"a label of it (column '{label}') is missing" for row in owner[indices == -1]}
        parts[number] = parts[number].with_bad(bad, targets=TargetRows("multilabel", matrix, None, names))
    return dataclasses.replace(raw, parts=tuple(parts), fixed_names=fixed)


def _indicator_width(columns: list[Any]) -> int:
    """How long lists are if all are equally long lists of 0 and 1, else 0."""
    widths: set[int] = set()
    for column in columns:
        kind = column.type.value_type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            return 0
        if not set(column.flatten().unique().to_pylist()) <= {0, 1}:
            return 0
        widths |= set(arrow.list_lengths(column.drop_null()).tolist())
    return widths.pop() if len(widths) == 1 and min(widths) > 1 else 0


def _finalize_label_sets(raw: RawExamples) -> RawExamples:
    train = raw.parts[0]
    names = _targets(train).names
    seen = np.atleast_1d((_targets(train).values[train.kept()] > 0).any(axis=0))
    if not seen.any():
        raise BadInputError(f"No training row has a label in column '{raw.roles.label}'; give at least one.")
    parts = [train]
    for part in raw.parts[1:]:
        unseen = np.argwhere((_targets(part).values > 0) & ~seen)[::-1]
        bad = {int(row): f"its label '{names[at]}' is never seen in the train part" for row, at in unseen}
        parts.append(part.with_bad(bad))
    if raw.fixed_names is None:
        names = tuple(name for name, there in zip(names, seen, strict=True) if there)
        for number, part in enumerate(parts):
            targets = TargetRows("multilabel", _targets(part).values[:, seen], None, names)
            parts[number] = dataclasses.replace(part, targets=targets)
    return dataclasses.replace(raw, parts=tuple(parts), output_names=names)


def _classes_of_label_sets(raw: RawExamples) -> RawExamples:
    kept = [part.kept() for part in raw.parts]
    matrices = [_targets(part).values[good] > 0 for part, good in zip(raw.parts, kept, strict=True)]
    sets, numbers = np.unique(np.concatenate(matrices), axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    counts = np.bincount(numbers[: len(matrices[0])], minlength=len(sets))
    if len(sets) > _MOST_SETS or (counts[counts > 0] < _LEAST_EXAMPLES).any():
        return dataclasses.replace(raw, class_names=(EVERYTHING,))
    names: list[str] = []
    for row in sets:
        name = "+".join(raw.output_names[index] for index in np.flatnonzero(row)) or "none"
        # A label that has a plus in it, or is called "none", may look like another set.
        names.append(name if name not in names else f"{name} ({len(names)})")
    parts = []
    for part, good in zip(raw.parts, kept, strict=True):
        labels = part.labels.copy()
        labels[good], numbers = numbers[: len(good)], numbers[len(good) :]
        parts.append(dataclasses.replace(part, labels=labels))
    return dataclasses.replace(raw, parts=tuple(parts), class_names=tuple(names))


def _with_numbers(part: RawPart, label: str) -> RawPart:
    """The part with its numbers; rows whose number is missing, NaN or infinite are bad."""
    array = arrow.whole_column(part.dataset, label)
    if hasattr(part.dataset.features[label], "names") or not arrow.is_number(array.type):
        raise BadInputError(f"Label column '{label}' holds {array.type}; a regression needs numbers.")
    values = np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    good = np.abs(values) <= float(np.finfo(np.float32).max)
    which = f"its number (column '{label}')"
    reasons = {
        f"{which} is missing, NaN or infinite": ~np.isfinite(values),
        f"{which} is too large for float32 (beyond 3.4e38)": ~good,
    }
    for reason, rows in reasons.items():
        part = part.marked(rows, reason)
    return dataclasses.replace(part, targets=TargetRows("regression", np.where(good, values, 0.0)))


def _classes_of_numbers(raw: RawExamples) -> RawExamples:
    label, train = raw.roles.label, raw.parts[0]
    values = _targets(train).values[train.kept()].astype(np.float64)
    if len(np.unique(values)) == 1:
        raise BadInputError(f"Label column '{label}' has only one value, {values[0]:g}; give at least two.")
    edges = quantile_edges(values)
    parts = []
    for part in raw.parts:
        labels = np.searchsorted(edges, _targets(part).values.astype(np.float64), side="left")
        parts.append(dataclasses.replace(part, labels=labels))
    return dataclasses.replace(raw, parts=tuple(parts), class_names=bin_names(edges), output_names=(label,))


def quantile_edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Upper edges of all bins but the last; an edge belongs to the bin below it.

    >>> quantile_edges(np.arange(10.0)).tolist()
    [1.0, 3.0, 5.0, 7.0]
    """
    shares = np.arange(1, _MOST_BINS) / _MOST_BINS
    edges = np.unique(np.quantile(values, shares, method="inverted_cdf"))
    edges = edges[edges < values.max()]
    while len(edges):
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
        if counts.min() >= 2:
            break
        # A bin of one row cannot give a row to a test part; it joins its neighbour.
        edges = np.delete(edges, min(int(counts.argmin()), len(edges) - 1))
    return np.asarray(edges, dtype=np.float64)


def bin_names(edges: npt.NDArray[np.float64]) -> tuple[str, ...]:
    """What the bins are called.

    >>> bin_names(np.array([0.5, 2.0]))
    ('<= 0.5', '0.5 to 2', '> 2')
    """
    if not len(edges):
        return (EVERYTHING,)
    shown = [f"{edge:.4g}" for edge in edges]
    if len(set(shown)) < len(shown):
        shown = [repr(float(edge)) for edge in edges]
    middle = [f"{low} to {high}" for low, high in pairwise(shown)]
    return (f"<= {shown[0]}", *middle, f"> {shown[-1]}")
