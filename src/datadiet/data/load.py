"""Any source -> `Examples`: opened, roles found, labels read, bad examples refused, a test part held out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import psutil
import pyarrow as pa

from datadiet.data.arrow import with_column
from datadiet.data.checks import check_inputs
from datadiet.data.columns.images import with_encoded_images
from datadiet.data.columns.labels import finalize_classes, read_classes
from datadiet.data.columns.raw import RawExamples, RawPart
from datadiet.data.columns.roles import find_roles, listed, require_alike, require_column
from datadiet.data.columns.targets import classes_of_targets, finalize_targets, read_targets
from datadiet.data.duplicates import find_repeats
from datadiet.data.examples import CLASS_TASKS, Examples, IntArray, Part, Task
from datadiet.data.fingerprint import read_content
from datadiet.data.leaks import repeat_notes
from datadiet.data.sources import open_source
from datadiet.data.sources.tables import Reading
from datadiet.foundation.errors import BadInputError, DataDietError
from datadiet.foundation.parsing import require

OnBadExample = Literal["error", "skip"]
_HOLDOUT_STREAM = 0x401D


def load(
    source: Any,
    *,
    input: str | Sequence[str] | None = None,
    label: str | None = None,
    task: Task | None = None,
    tags: str | None = None,
    test: Any = None,
    test_fraction: float = 0.2,
    holdout_seed: int = 0,
    on_bad_example: OnBadExample = "error",
    image_size: int | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    name: str | None = None,
    memory_limit: int | None = None,
) -> Examples:
    """Read a labelled data set from wherever it is.

    Args:
        source: "digits"; an image folder (`train/<class>/*` and `test/<class>/*`, or `<class>/*`); a
            Parquet, CSV or JSON lines file, or WebDataset shards (`.tar`), or a folder with such files for
            train and test; a folder saved
            by `datasets`; a hub id; a `datasets.Dataset` or `DatasetDict`; a map-style torch data set;
            arrays (inputs, labels).
        input: the input column, or several; found by type and conventional names if left out.
        label: the label column; found likewise.
        task: "classification", "intent_slots" (a class for the text and a tag for each word),
            "token_classification" (tags only), "multilabel" (a list of labels a row) or "regression" (a
            number a row; never found, always asked for); found by the columns if left out.
        tags: the column with a tag for each word; found likewise.
        test: a second source with the same columns, for the test part.
        test_fraction: how much is held out, stratified by class, if there is no test part.
        holdout_seed: seed of that split.
        on_bad_example: "error" refuses bad examples; "skip" leaves them out and records their ids.
        image_size: side in pixels that images are brought to; their own if all are equal, else 64.
        encoding: of CSV and JSON files, as Python calls it; found if left out.
        delimiter: between the values of CSV files; found if left out.
        name: what to call the data; the source's own name if left out.
        memory_limit: bytes that decoded images may take while loading; a quarter of the available memory if
            left out. Above it only headers are checked, and images are decoded when they are used.

    Raises:
        BadInputError: anything about the source, its columns or its rows that cannot be used.

    >>> examples = load((["good", "fine", "bad", "poor"], [1, 1, 0, 0]), test_fraction=0.5)
    >>> examples.kind, examples.class_names, len(examples.train), len(examples.test)
    ('text', ('0', '1'), 2, 2)
    """
    if isinstance(source, Examples):
        return source
    with _as_one_sentence():
        texts = {
            "label": label,
            "task": task,
            "tags": tags,
            "encoding": encoding,
            "delimiter": delimiter,
            "name": name,
        }
        for option, value in texts.items():
            require(value, str | None, option)
        for option, number in {"image_size": image_size, "memory_limit": memory_limit}.items():
            require(number, int | None, option)
        require(input, str | Sequence[str] | None, "input")
        require(test_fraction, float, "test_fraction")
        require(holdout_seed, int, "holdout_seed")
        if on_bad_example not in ("error", "skip"):
            raise BadInputError(f"on_bad_example='{on_bad_example}' must be 'error' or 'skip'.")
        if image_size is not None and image_size < 1:
            raise BadInputError(f"image_size={image_size} must be at least 1.")
        skip = on_bad_example == "skip"
        reading = Reading(label, task == "regression", encoding, delimiter, tags=tags)
        opened = open_source(source, reading)
        if test is not None:
            other = open_source(test, reading.as_test_of(opened.train))
            opened.test, opened.test_base = other.train, other.base
            opened.notes += other.notes
            opened.origin = opened.origin.with_test(other.origin)
        opened.parts()  # which refuses an empty one
        try:
            roles = find_roles(opened.train, inputs=input, label=label, task=task, tags=tags)
        except BadInputError as error:
            lost = [note for note in opened.notes if "left out" in note]
            raise BadInputError(" ".join([str(error), *lost])) if lost else error from None
        opened.keep_as_written(roles.ignored, reading)
        parts = opened.parts()
        raw = _read_labels(RawExamples(roles, parts, tuple(opened.notes)))
        limit = psutil.virtual_memory().available // 4 if memory_limit is None else memory_limit
        raw = check_inputs(raw, image_size=image_size, limit=limit, decode_all=skip)
        raw = _finalize(raw, skip)
        train_part, test_part, note = _split(raw, test_fraction, holdout_seed)
        content = read_content(raw.class_names, (train_part, test_part))
        examples = Examples(
            name=name or opened.name,
            kind=roles.kind,
            input_columns=roles.inputs,
            label_column=roles.label,
            class_names=raw.class_names,
            train=train_part,
            test=test_part,
            fingerprint=content.fingerprint,
            source=opened.source,
            holdout_seed=holdout_seed if len(parts) == 1 else None,
            left_out=tuple(sorted(raw.parts[0].bad)),
            notes=(_roles_note(raw), *roles.notes, *raw.notes, *note),
            image_shape=raw.image_shape,
            left_out_test=tuple(sorted(raw.parts[1].bad)) if len(parts) > 1 else (),
            task=roles.task,
            output_names=raw.output_names,
            origin=opened.origin,
            repeats=find_repeats((train_part.ids, test_part.ids), content.rows),
            pixel_range=raw.pixel_range,
        )
        return dataclasses.replace(examples, notes=(*examples.notes, *repeat_notes(examples)))


@contextmanager
def _as_one_sentence() -> Iterator[None]:
    """Inside, what Arrow, pandas and `datasets` say of data that they cannot take becomes one `BadInputError`."""
    try:
        yield
    except DataDietError:
        raise
    except (
        pa.ArrowException,
        OSError,
        ArithmeticError,
        ValueError,
        TypeError,
        LookupError,
        NotImplementedError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split()).rstrip(".")[:300]
        raise BadInputError(
            f"The data cannot be read as it is ({type(error).__name__}: {reason}); change or leave out what that names."
        ) from error


def _read_labels(raw: RawExamples) -> RawExamples:
    """Read classes and targets of all parts, and make their image columns columns of encoded images."""
    roles = raw.roles
    if len(raw.parts) > 1:
        train, test = (part.dataset for part in raw.parts)
        for column in roles.used:
            require_column(column, test.column_names, "the test part")
        require_alike(train, test, roles.inputs)
        raw = dataclasses.replace(
            raw, parts=(raw.parts[0], _without_nothing(raw.parts[1], train, roles.inputs))
        )
    feature = raw.parts[0].dataset.features[roles.label]
    parts: list[RawPart] = []
    names: Sequence[str] | None = None
    for part in raw.parts:
        if roles.task in CLASS_TASKS:
            part, names = read_classes(part, roles.label, feature, names)
        if roles.kind == "image":
            rows = with_encoded_images(part.dataset, roles.inputs[0], roles.form, part.base)
            part = dataclasses.replace(part, dataset=rows)
        parts.append(part)
    return read_targets(dataclasses.replace(raw, parts=tuple(parts), class_names=tuple(names or ())))


def _without_nothing(part: RawPart, train: Any, columns: Sequence[str]) -> RawPart:
    """The part with columns that say nothing, not even a type, of the type that they have in the train part."""
    rows = part.dataset
    for column in columns:
        if pa.types.is_null(rows.data.schema.field(column).type):
            missing = pa.nulls(len(rows), train.data.schema.field(column).type)
            rows = with_column(rows, column, missing, train.features[column])
    return dataclasses.replace(part, dataset=rows)


def _require_labels(part: RawPart, column: str, class_names: Sequence[str]) -> None:
    """Raise a BadInputError if no row has a label, or only such as the train part does not have."""
    if (part.labels == -1).all():
        way_out = "name another label column with label='...'"
        if part.where == "test":
            way_out = "give a test part that has labels, or none, so that rows of the train part are held out"
        raise BadInputError(f"The label column '{column}' of the {part.where} part is empty; {way_out}.")
    if (part.labels < 0).all():
        first = next(iter(part.bad.values()))
        raise BadInputError(
            f"No class of the test part is one of the train part, which has {listed(class_names)} (in row "
            f"{next(iter(part.bad))}, {first}); write the labels of both parts alike."
        )


def _finalize(raw: RawExamples, skip: bool) -> RawExamples:
    """Refuse bad rows or leave them out, and number the classes, tags and labels that good training rows have."""
    for part in raw.parts:
        if not skip and raw.roles.task in CLASS_TASKS:
            _require_labels(part, raw.roles.label, raw.class_names)
        part.refuse_bad(skip)
    raw.parts[0].require_rows()
    if raw.roles.task in CLASS_TASKS:
        raw = finalize_classes(raw)
    raw = finalize_targets(raw)
    for part in raw.parts[1:]:
        part.refuse_bad(skip)
        part.require_rows()
    if raw.roles.task not in CLASS_TASKS:
        raw = classes_of_targets(raw)
    left_out = [part.left_out_note() for part in raw.parts if part.bad]
    return dataclasses.replace(raw, notes=(*raw.notes, *left_out))


def _split(raw: RawExamples, fraction: float, seed: int) -> tuple[Part, Part, list[str]]:
    """The train and the test part, and what there is to say; without a test part one is held out."""
    if len(raw.parts) == 2:
        train, test = (_part(raw, number, part.kept()) for number, part in enumerate(raw.parts))
        return train, test, []
    ids = raw.parts[0].kept()
    split = hold_out(raw.parts[0].labels[ids], raw.class_names, fraction=fraction, seed=seed)
    train, test = (_part(raw, 0, ids[positions]) for positions in split)
    held_out = f"{len(test)} of {len(ids)} examples are held out, stratified by class (seed {seed})"
    return train, test, [f"There is no test part: {held_out}."]


def _part(raw: RawExamples, number: int, ids: IntArray) -> Part:
    """The rows of a part with the given ids (positions in the source)."""
    part, shape = raw.parts[number], raw.image_shape
    decoded = {} if part.pixels is None or shape is None else {shape: part.pixels}
    every = np.arange(len(part.labels))
    whole = Part(part.dataset, every, part.labels, raw.roles.inputs, raw.roles.kind, decoded, part.targets)
    return whole if len(ids) == len(every) else whole.take(ids)


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
        raise BadInputError(f"test_fraction={fraction} must lie between 0 and 1.")
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
    held_out = [
        generator.permutation(np.flatnonzero(labels == index))[: shares[index]]
        for index in np.flatnonzero(present)
    ]
    test = np.sort(np.concatenate(held_out)).astype(np.int64)
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


def _roles_note(raw: RawExamples) -> str:
    """A sentence on which columns are what."""
    roles, targets = raw.roles, raw.parts[0].targets
    shown = ", ".join(f"'{column}'" for column in roles.inputs[:4])
    more = f" and {len(roles.inputs) - 4} more" if len(roles.inputs) > 4 else ""
    ignored = f"; not used: {listed(roles.ignored)}" if roles.ignored else ""
    plural = "s" if len(roles.inputs) > 1 else ""
    tags = f"tags of words: column '{roles.tags}' with {len(targets.names) if targets else 0} tags"
    label = f"label: column '{roles.label}' with {len(raw.class_names)} classes"
    if roles.task == "intent_slots":
        label += f"; {tags}"
    elif roles.task == "token_classification":
        label = tags
    elif roles.task == "multilabel":
        label = f"labels: lists of column '{roles.label}' with {len(raw.output_names)} labels"
    elif roles.task == "regression":
        label = f"number to predict: column '{roles.label}'"
    return f"Input: {roles.kind} column{plural} {shown}{more}; {label}{ignored}."
