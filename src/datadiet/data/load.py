"""Any source -> `Examples`: roles found, labels indexed, bad examples refused, a test part held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import psutil

from datadiet.data.checks.images import read_images
from datadiet.data.checks.rows import (
    DraftRows,
    bad_texts,
    bad_vectors,
    check_classes,
    require_rows,
    unseen_classes,
    with_encoded_images,
    without_empty_classes,
)
from datadiet.data.columns.arrow import one_array, rows_at, rows_with
from datadiet.data.columns.labels import label_values, match_names
from datadiet.data.columns.roles import Roles, require_column
from datadiet.data.columns.targets import Targets
from datadiet.data.columns.task_roles import find_task_roles
from datadiet.data.examples import Examples, IntArray, Part, Task
from datadiet.data.fingerprint import fingerprint
from datadiet.data.holdout import hold_out
from datadiet.data.sources import Source, open_source
from datadiet.foundation.errors import BadInputError

OnBadExample = Literal["error", "skip"]


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
    if on_bad_example not in ("error", "skip"):
        raise BadInputError(f"on_bad_example is '{on_bad_example}', but must be 'error' or 'skip'.")
    if image_size is not None and image_size < 1:
        raise BadInputError(f"image_size is {image_size}, but must be at least 1.")
    opened = open_source(source)
    if test is not None:
        other = open_source(test)
        opened.test, opened.test_base = other.train, other.base
    for part, rows in (("train", opened.train), ("test", opened.test)):
        if rows is not None and len(rows) == 0:
            raise BadInputError(f"The {part} part of '{opened.source}' is empty; give it rows.")
    roles = find_task_roles(opened.train, inputs=input, label=label, task=task, tags=tags)
    if opened.test is not None:
        for column in (*roles.inputs, roles.label, *([roles.tags] if roles.tags else [])):
            require_column(column, opened.test.column_names, "the test part")
    has_classes = roles.task in ("classification", "intent_slots")
    parts, class_names = _labelled(opened, roles) if has_classes else _without_classes(opened, roles)
    targets = Targets(parts, roles)
    skip = on_bad_example == "skip"
    notes = [*opened.notes]
    limit = psutil.virtual_memory().available // 4 if memory_limit is None else memory_limit
    shape = _check_inputs(parts, roles, image_size, limit, skip, notes)
    for rows in parts:
        rows.refuse_or_leave_out(skip)
    require_rows(parts[0])
    if has_classes:
        check_classes(parts[0], class_names, roles.label)
    if has_classes and len(parts) == 2:
        parts[1].note(unseen_classes(parts[0], parts[1], class_names))
    targets.settle(notes)
    for rows in parts[1:]:
        rows.refuse_or_leave_out(skip)
        require_rows(rows)
    if not has_classes:
        class_names = targets.classes()
    elif not hasattr(opened.train.features[roles.label], "names"):
        class_names = without_empty_classes(parts, class_names)
    output_names = targets.output_names()
    notes.insert(0, _roles_note(roles, class_names, output_names, parts[0]))
    notes += [note for rows in parts if (note := rows.left_out_note())]
    kept = [rows.kept() for rows in parts]
    left_out = [tuple(sorted(rows.bad)) for rows in parts]
    holdout = None
    if len(parts) == 1:
        holdout = holdout_seed
        rows, ids = parts[0], kept[0]
        split = hold_out(rows.labels[ids], class_names, fraction=test_fraction, seed=holdout_seed)
        parts, kept = [rows, rows], [ids[split[0]], ids[split[1]]]
        notes.append(
            f"There is no test part: {len(kept[1])} of {len(ids)} examples are held out, stratified by class "
            f"(seed {holdout_seed})."
        )
    train_part, test_part = (_part(rows, ids, roles) for rows, ids in zip(parts, kept, strict=True))
    return Examples(
        name=name or opened.name,
        kind=roles.kind,
        input_columns=roles.inputs,
        label_column=roles.label,
        class_names=class_names,
        train=train_part,
        test=test_part,
        fingerprint=fingerprint(class_names, (train_part, test_part)),
        source=opened.source,
        holdout_seed=holdout,
        left_out=left_out[0],
        notes=tuple(notes),
        image_shape=shape,
        left_out_test=left_out[1] if len(left_out) > 1 else (),
        task=roles.task,
        output_names=output_names,
    )


def _labelled(opened: Source, roles: Roles) -> tuple[list[DraftRows], tuple[str, ...]]:
    """Rows of both parts with encoded image columns and class indices (-1: missing, -2: not in train)."""
    column = roles.label
    feature = opened.train.features[column]
    names, indices, _ = label_values(_column(opened.train, column), feature, column)
    parts = [DraftRows("train", with_encoded_images(opened.train, roles, opened.base), indices)]
    if opened.test is not None:
        test_feature = opened.test.features[column]
        array = _column(opened.test, column)
        # Class names on one side only say what that side's numbers mean on the other side, too.
        if not (hasattr(feature, "names") and hasattr(test_feature, "names")):
            test_feature = feature
        test_names, test_indices, _ = label_values(array, test_feature, column)
        matched = match_names(test_names, test_indices, names)
        parts.append(DraftRows("test", with_encoded_images(opened.test, roles, opened.test_base), matched))
        for row in np.flatnonzero(matched == -2):
            value = test_names[test_indices[row]]
            parts[1].bad[int(row)] = f"its label '{value}' is never seen in the train part"
    for rows in parts:
        for row in np.flatnonzero(rows.labels == -1):
            rows.bad[int(row)] = f"its label (column '{column}') is missing"
    return parts, tuple(names)


def _without_classes(opened: Source, roles: Roles) -> tuple[list[DraftRows], tuple[str, ...]]:
    """Rows of both parts with encoded image columns, all of one class for the time being."""
    given = [("train", opened.train, opened.base), ("test", opened.test, opened.test_base)]
    parts = [
        DraftRows(where, with_encoded_images(rows, roles, base), np.zeros(len(rows), dtype=np.int64))
        for where, rows, base in given
        if rows is not None
    ]
    return parts, ()


def _column(dataset: Any, column: str) -> Any:
    return one_array(rows_at(dataset, [column], slice(None)), column)


def _check_inputs(
    parts: list[DraftRows], roles: Roles, image_size: int | None, limit: int, skip: bool, notes: list[str]
) -> tuple[int, int, int] | None:
    """Note what is wrong with single rows; decode images where they fit. Returns the images' shape."""
    if roles.kind == "text":
        for rows in parts:
            rows.note(bad_texts(rows.dataset, roles.inputs))
        return None
    if roles.kind == "vector":
        width: int | None = None
        for rows in parts:
            found, width = bad_vectors(rows.dataset, roles.inputs, width)
            rows.note(found)
        return None
    found_images = read_images(
        [rows.dataset for rows in parts], roles.inputs[0], image_size=image_size, limit=limit, decode_all=skip
    )
    for rows, pixels, failed in zip(parts, found_images.pixels, found_images.failed, strict=True):
        rows.pixels = pixels
        rows.note({row: f"its image cannot be decoded: {reason}" for row, reason in failed.items()})
    notes.extend(found_images.notes)
    return found_images.shape


def _part(rows: DraftRows, ids: IntArray, roles: Roles) -> Part:
    """The rows with the given ids (positions in the source) as a part."""
    whole = len(ids) == len(rows.labels)
    dataset = rows.dataset if whole else rows_with(rows.dataset, ids)
    targets = None if rows.targets is None else rows.targets.take(ids)
    part = Part(dataset, ids, rows.labels[ids], roles.inputs, roles.kind, targets=targets)
    if rows.pixels is not None:
        pixels = rows.pixels if whole else rows.pixels[ids]
        _, channels, height, width = pixels.shape
        part.decoded[(channels, height, width)] = pixels
    return part


def _roles_note(
    roles: Roles, class_names: Sequence[str], output_names: Sequence[str], train: DraftRows
) -> str:
    shown = ", ".join(f"'{column}'" for column in roles.inputs[:4])
    more = f" and {len(roles.inputs) - 4} more" if len(roles.inputs) > 4 else ""
    left = f"; not used: {', '.join(roles.ignored)}" if roles.ignored else ""
    plural = "s" if len(roles.inputs) > 1 else ""
    label = f"label: column '{roles.label}' with {len(class_names)} classes"
    tags = len(train.targets.names) if train.targets is not None else 0
    if roles.task == "intent_slots":
        label += f"; tags of words: column '{roles.tags}' with {tags} tags"
    elif roles.task == "token_classification":
        label = f"tags of words: column '{roles.tags}' with {tags} tags"
    elif roles.task == "multilabel":
        label = f"labels: lists of column '{roles.label}' with {len(output_names)} labels"
    elif roles.task == "regression":
        label = f"number to predict: column '{roles.label}'"
    return f"Input: {roles.kind} column{plural} {shown}{more}; {label}{left}."
