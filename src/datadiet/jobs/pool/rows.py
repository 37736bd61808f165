"""The rows of a pool: inputs as the base has them, hypotheses where there are any, and which rows leave and why."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.data import Examples, Part, arrow
from datadiet.data.checks import check_inputs
from datadiet.data.columns.images import with_encoded_images
from datadiet.data.columns.labels import match_names, read_classes
from datadiet.data.columns.raw import RawExamples, RawPart
from datadiet.data.columns.roles import IMAGE_SUFFIXES, Roles, find_roles, input_form, require_column
from datadiet.data.columns.targets import match_tags, read_targets, rows_with_other_tags
from datadiet.data.depth import PixelRange
from datadiet.data.examples import CLASS_TASKS, IGNORED, TargetRows
from datadiet.data.sources import Source, open_source
from datadiet.data.sources.objects import from_arrays
from datadiet.foundation.errors import BadInputError

MISSING, UNKNOWN = "no hypothesis", "hypothesis that the base does not know"


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """What a pool says of its rows.

    Args:
        labels: class of each row as the base numbers them, int64 (n,); below 0 where it has none.
        targets: tags or label sets as the base numbers them; None of classes.
        reasons: row -> why its hypothesis is of no use.
    """

    labels: npt.NDArray[np.int64]
    targets: TargetRows | None
    reasons: dict[int, str]


def read_hypotheses(dataset: Any, base: Examples, roles: Roles) -> Hypotheses:
    """Read the columns `roles.label` and `roles.tags` of a pool.

    A hypothesis that is missing, or names a class, tag or label that no training example of the base has, is of
    no use, and its row is named.

    Args:
        dataset: the pool.
        base: whose classes count.
        roles: the pool's columns.
    """
    reasons: dict[int, str] = {}
    labels = np.zeros(len(dataset), dtype=np.int64)
    if base.task in CLASS_TASKS:
        feature, of_base = dataset.features[roles.label], base.train.dataset.features[base.label_column]
        # Numbers of a pool mean what the numbers of the base mean, where only that has names for them.
        named = feature if hasattr(feature, "names") else of_base
        labels = read_classes(RawPart("pool", dataset), roles.label, named, base.class_names)[0].labels
        reasons.update(dict.fromkeys(np.flatnonzero(labels == -1).tolist(), MISSING))
        reasons.update(dict.fromkeys(np.flatnonzero(labels == -2).tolist(), UNKNOWN))
    if base.task == "regression":
        return Hypotheses(labels, None, reasons)
    part = read_targets(RawExamples(roles, (RawPart("pool", dataset),))).parts[0]
    if part.targets is None:
        return Hypotheses(labels, None, reasons)
    tagged = roles.tags is not None
    match = _matched_tags if tagged else _matched_sets
    targets, unknown = match(part.targets, base)
    for row in part.bad:
        reasons.setdefault(row, "tags that do not go with the words" if tagged else MISSING)
    for row in unknown:
        reasons.setdefault(row, UNKNOWN)
    return Hypotheses(labels, targets, reasons)


def _matched_tags(found: TargetRows, base: Examples) -> tuple[TargetRows, list[int]]:
    """Tags as the base numbers them, and the rows with tags that it does not know."""
    targets = match_tags(found, base.tag_names)
    unknown = (targets.values < 0) & (targets.values != IGNORED)
    values = np.where(unknown, 0, targets.values)  # such rows leave
    return dataclasses.replace(targets, values=values), list(rows_with_other_tags(found, base.tag_names))


def _matched_sets(found: TargetRows, base: Examples) -> tuple[TargetRows, list[int]]:
    """Sets of labels as the base numbers these, and the rows with labels that it does not know."""
    values = np.zeros((len(found), len(base.output_names)), dtype=np.float32)
    places = match_names(found.names, np.arange(len(found.names)), base.output_names)
    values[:, places[places >= 0]] = found.values[:, places >= 0]
    unknown = np.flatnonzero(found.values[:, places < 0].any(axis=1)).tolist()
    return TargetRows("multilabel", values, None, base.output_names), unknown


_TRUE, _FALSE = {"true", "1", "yes", "y", "t", "defect"}, {"false", "0", "no", "n", "f", "", "none"}


@dataclass(frozen=True, eq=False)
class PoolRows:
    """A pool as it was read.

    Args:
        dataset: all rows with all their columns, images encoded; row number = id.
        part: the rows that can be used, with their hypotheses as labels, or with class 0 where there are none.
        weak: whether the pool has hypotheses.
        confidence: of each usable row's hypothesis as the pool says it, float64, NaN where it does not; None
            without such a column.
        reasons: id -> why a row leaves before anything is picked.
        roles: the columns of inputs, hypotheses and tags.
        source: where the pool is.
        notes: sentences for people.
        pixel_range: how its images of more than 8 bits become 8 bits.
    """

    dataset: Any
    part: Part
    weak: bool
    confidence: npt.NDArray[np.float64] | None
    reasons: Mapping[int, str]
    roles: Roles
    source: str
    notes: list[str] = field(default_factory=list)
    pixel_range: PixelRange = field(default_factory=PixelRange)

    def left_out(self) -> dict[str, int]:
        """How many rows leave, by reason."""
        return dict(Counter(self.reasons.values()))


def read_pool_rows(
    source: Any,
    base: Examples,
    *,
    hypothesis: str | None = None,
    tags: str | None = None,
    confidence: str | None = None,
    defect: str | None = None,
    unlabelled: bool = False,
    skip_bad: bool = False,
) -> PoolRows:
    """Read a pool whose inputs are in columns of the same names as the base's.

    Args:
        source: anything that `datadiet.load` takes, a flat folder of images, or texts, vectors or images alone.
        base: the labelled data.
        hypothesis: the column of hypotheses; None for the base's label column, or one called `hypothesis`.
        tags: the column of hypothesised tags; None for the base's.
        confidence: the column that says how sure the hypotheses are; None for one called `confidence`.
        defect: a column of true and false; rows with true leave.
        unlabelled: leave hypotheses unread.
        skip_bad: leave rows out whose input cannot be used, instead of refusing.

    Raises:
        BadInputError: columns that are not there, or rows that cannot be used.
    """
    opened = _opened(source)
    columns = list(opened.train.column_names)
    if len(opened.train) == 0:
        raise BadInputError(f"The pool '{opened.source}' is empty; give it rows.")
    for wanted in base.input_columns:
        require_column(wanted, columns, "the pool")
    roles = _roles(opened.train, base)
    reasons: dict[int, str] = {}
    notes = list(opened.notes)
    if opened.test is not None:
        notes.append("Only the train part of the pool is looked at.")
    if defect is not None:
        require_column(defect, columns, "the pool")
        for row in np.flatnonzero(_truths(opened.train, defect)):
            reasons[int(row)] = "defect"
    dataset = opened.train
    if roles.kind == "image":
        dataset = with_encoded_images(dataset, roles.inputs[0], roles.form, opened.base)
    own = _note_bad(dataset, base, roles, reasons, skip_bad)
    pixel_range = base.pixel_range.or_else(own)
    if base.pixel_range.differs(own):
        notes.append(
            "Images of the pool hold numbers of another range than the base's; they are read as the base's are."
        )
    elif pixel_range != base.pixel_range:
        notes.append("Images of the pool have more bits than the base's; they are scaled by their own range.")
    column, tag_column = _hypothesis_columns(columns, base, hypothesis, tags, roles, unlabelled)
    labels = np.zeros(len(dataset), dtype=np.int64)
    targets = _placeholders(dataset, base, roles)
    if column is not None:
        found = read_hypotheses(dataset, base, dataclasses.replace(roles, label=column, tags=tag_column))
        labels, targets = found.labels, found.targets
        for number, reason in found.reasons.items():
            reasons.setdefault(number, reason)
    good = np.ones(len(dataset), dtype=bool)
    good[list(reasons)] = False
    ids = np.flatnonzero(good).astype(np.int64)
    part = Part(
        arrow.rows_with(dataset, ids),
        ids,
        np.maximum(labels[ids], 0),
        base.input_columns,
        base.kind,
        targets=None if targets is None else targets.take(ids),
    )
    asked = confidence
    if asked is None and "confidence" in columns and "confidence" not in roles.inputs:
        asked = "confidence"
    sure = None if asked is None else _numbers(dataset, asked)[ids]
    shown = dataclasses.replace(roles, label=column or roles.label, tags=tag_column)
    return PoolRows(
        dataset, part, column is not None, sure, reasons, shown, opened.source, notes, pixel_range
    )


def _opened(source: Any) -> Source:
    """The pool's rows; also of a flat folder of images, and of inputs without labels."""
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if path.is_dir():
            found = (f for f in path.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file())
            files = sorted(f for f in found if not f.name.startswith("."))
            if files:
                table = pa.table({"image": [str(file.resolve()) for file in files]})
                return Source(arrow.dataset_of(table), None, path.name, str(path), path)
        return open_source(source)
    texts = isinstance(source, list) and bool(source) and all(isinstance(text, str) for text in source)
    if isinstance(source, np.ndarray) or texts:
        rows = from_arrays(source, np.zeros(len(source), dtype=np.int64))
        return Source(rows.remove_columns("label"), None, "arrays", "arrays")
    if isinstance(source, Examples):
        raise BadInputError("A pool is read from where it lies; give the file, folder or data set itself.")
    return open_source(source)


def _roles(dataset: Any, base: Examples) -> Roles:
    """The pool's roles: the base's columns, in the form that they have here."""
    kind, form = input_form(dataset, base.input_columns)
    if kind != base.kind:
        raise BadInputError(
            f"The pool's inputs are of the kind {kind}, those of '{base.name}' are of the kind {base.kind}."
        )
    tags: str | None = None
    if base.tag_names:
        named = base.label_column if base.task == "intent_slots" else None
        tags = find_roles(base.train.dataset, inputs=base.input_columns, label=named, task=base.task).tags
    return Roles(kind, form, base.input_columns, base.label_column, task=base.task, tags=tags)


def _note_bad(dataset: Any, base: Examples, roles: Roles, reasons: dict[int, str], skip: bool) -> PixelRange:
    """Rows whose inputs cannot be used leave, or are refused; the range of the pool's own images."""
    column = roles.inputs[0]
    width = None
    if roles.kind == "vector" and arrow.is_list(dataset.data.schema.field(column).type):
        width = int(
            arrow.list_lengths(arrow.one_array(arrow.rows_at(base.train.dataset, [column], [0]), column))[0]
        )
    raw = RawExamples(roles, (RawPart("pool", dataset),))
    side = None if base.image_shape is None else base.image_shape[1]
    checked = check_inputs(raw, image_size=side, limit=0, decode_all=True, width=width)
    found = checked.parts[0].bad
    fresh = {row: reason for row, reason in found.items() if row not in reasons}
    if fresh and not skip:
        row = min(fresh)
        raise BadInputError(
            f"Row {row} of the pool cannot be used: {fresh[row]} ({len(fresh)} such rows); mend or remove them, or "
            "leave such rows out with on_bad_example='skip' (--on-bad-example skip)."
        )
    reasons.update(dict.fromkeys(fresh, "input that cannot be used"))
    return checked.pixel_range


def _hypothesis_columns(
    columns: list[str],
    base: Examples,
    hypothesis: str | None,
    tags: str | None,
    roles: Roles,
    unlabelled: bool,
) -> tuple[str | None, str | None]:
    """The columns of hypotheses and of their tags; None where there are none."""
    if unlabelled:
        if hypothesis is not None or tags is not None:
            raise BadInputError(
                "The pool cannot be unlabelled and have a column of hypotheses; name only one."
            )
        return None, None
    for named in (hypothesis, tags):
        if named is not None:
            require_column(named, columns, "the pool")
    if base.task == "token_classification":
        found = tags or hypothesis or (roles.tags if roles.tags in columns else None)
        return found, found
    free = [column for column in columns if column not in roles.inputs]
    column = hypothesis or next((c for c in (base.label_column, "hypothesis") if c in free), None)
    if base.task != "intent_slots" or column is None:
        return column, None
    tag_column = tags or (roles.tags if roles.tags in columns else None)
    if tag_column is None:
        raise BadInputError(
            f"The pool has hypotheses of intents (column '{column}') and none of slots; give the column of tags "
            "(--hypothesis-tags), or take the pool as unlabelled (--unlabelled)."
        )
    return column, tag_column


def _placeholders(dataset: Any, base: Examples, roles: Roles) -> TargetRows | None:
    """Targets that say how many words each row has, and nothing else."""
    if base.train.targets is None:
        return None
    there = base.train.targets
    if there.offsets is None:
        values = np.zeros((len(dataset), *there.values.shape[1:]), dtype=np.float32)
        return TargetRows(there.task, values, None, there.names)
    offsets = arrow.offsets_of(arrow.word_counts(arrow.whole_column(dataset, roles.inputs[0])))
    return TargetRows(there.task, np.zeros(int(offsets[-1]), dtype=np.int32), offsets, there.names)


def _truths(dataset: Any, column: str) -> npt.NDArray[np.bool_]:
    """A column of true and false, however it is written; nothing is false."""
    array = arrow.whole_column(dataset, column)
    if pa.types.is_boolean(array.type):
        return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)
    written = [str(value).strip().lower() for value in array.cast(pa.string()).fill_null("").to_pylist()]
    plain = ["1" if text == "1.0" else "0" if text in ("0.0", "nan") else text for text in written]
    odd = next((row for row, text in enumerate(plain) if text not in _TRUE | _FALSE), None)
    if odd is not None:
        raise BadInputError(
            f"Column '{column}' of the pool should say true or false, and row {odd} says {written[odd]!r}."
        )
    return np.array([text in _TRUE for text in plain], dtype=bool)


def _numbers(dataset: Any, column: str) -> npt.NDArray[np.float64]:
    require_column(column, dataset.column_names, "the pool")
    array = arrow.whole_column(dataset, column)
    try:
        values = pc.cast(array, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise BadInputError(f"Column '{column}' of the pool does not hold numbers: {error}.") from error
    return np.asarray(values, dtype=np.float64)
