"""A column of word tags -> the tag of each word, checked against the words of the texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.data.columns import is_list, list_lengths, one_array, rows_at
from datadiet.data.draft import DraftRows
from datadiet.data.labels import label_values, match_names
from datadiet.data.roles import Roles
from datadiet.data.target_rows import IGNORED, TargetRows
from datadiet.data.words import words_of

_BIO = re.compile(r"O|[BIESLU]-.+")


def read_tags(parts: Sequence[DraftRows], roles: Roles) -> tuple[str, ...] | None:
    """Give the drafts their tags and note rows whose tags are missing or do not line up with the words.

    Tags are strings with white space between them, or lists of strings, whole numbers or class names; the
    number -100 is a word without a tag. Returns class names that the column fixes, if it does.
    """
    assert roles.tags is not None
    fixed: tuple[str, ...] | None = None
    train_feature: Any = None
    for rows in parts:
        column = one_array(rows_at(rows.dataset, [roles.tags], slice(None)), roles.tags)
        feature = getattr(rows.dataset.features[roles.tags], "feature", None)
        if hasattr(train_feature, "names") and not hasattr(feature, "names"):
            feature = train_feature
        train_feature = feature if train_feature is None else train_feature
        flat, lengths = _flattened(column)
        untagged = np.zeros(len(flat), dtype=bool)
        if pa.types.is_integer(flat.type):
            mask = pc.equal(flat, IGNORED).fill_null(False)
            untagged = np.asarray(mask.to_numpy(zero_copy_only=False))
            flat = pc.if_else(mask, pa.scalar(None, flat.type), flat)
        names, indices, names_fixed = label_values(flat, feature, roles.tags)
        fixed = names_fixed if fixed is None else fixed
        indices = np.where(untagged, IGNORED, indices)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows.targets = TargetRows(roles.task, indices, offsets, tuple(names))
        rows.note(_bad_tags(rows, column, roles, indices))
    return fixed


def _flattened(column: Any) -> tuple[Any, npt.NDArray[np.int64]]:
    """All tags one after another, and how many each row has."""
    if is_list(column.type):
        return column.flatten(), list_lengths(column)
    rows = words_of(column)
    return pa.array([tag for row in rows for tag in row], pa.string()), np.array([len(row) for row in rows])


def _bad_tags(rows: DraftRows, column: Any, roles: Roles, indices: npt.NDArray[np.int64]) -> dict[int, str]:
    assert rows.targets is not None and rows.targets.offsets is not None
    found: dict[int, str] = {}
    for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)):
        found[int(row)] = f"its tags (column '{roles.tags}') are missing"
    texts = one_array(rows_at(rows.dataset, roles.inputs, slice(None)), roles.inputs[0])
    words = np.array([len(row) for row in words_of(texts)], dtype=np.int64)
    tags = rows.targets.lengths()
    for row in np.flatnonzero((words != tags) & (words > 0)):
        found.setdefault(
            int(row),
            f"it has {_counted(words[row], 'word')} (column '{roles.inputs[0]}') and "
            f"{_counted(tags[row], 'tag')} (column '{roles.tags}')",
        )
    where = np.searchsorted(rows.targets.offsets, np.flatnonzero(indices == -1), side="right") - 1
    for row in np.unique(where):
        found.setdefault(int(row), f"a tag of it (column '{roles.tags}') is missing")
    return found


def settle_tags(
    parts: Sequence[DraftRows], roles: Roles, fixed: tuple[str, ...] | None, notes: list[str]
) -> None:
    """Number the tags as the good training rows have them; note test rows with tags that those do not have.

    "O" comes first where it is there, others are sorted; class names that the column fixes keep their order.
    """
    train = parts[0].targets
    assert train is not None
    codes = train.take(parts[0].kept()).values
    seen = np.bincount(codes[codes >= 0], minlength=len(train.names)) > 0
    present = [name for name, there in zip(train.names, seen, strict=True) if there]
    names = fixed or tuple(sorted(present, key=lambda name: name != "O"))
    for rows in parts:
        targets = rows.targets
        assert targets is not None and targets.offsets is not None
        numbered = match_names(targets.names, np.maximum(targets.values, -1).astype(np.int64), names)
        numbered[targets.values == IGNORED] = IGNORED
        unknown = ~np.isin(np.asarray(targets.names), present)
        unseen = (
            (targets.values >= 0) & unknown[np.maximum(targets.values, 0)]
            if len(unknown)
            else np.zeros(0, bool)
        )
        if rows is not parts[0]:
            places = np.flatnonzero(unseen)
            of_row = np.searchsorted(targets.offsets, places, side="right") - 1
            rows.note(
                {
                    int(
                        row
                    ): f"its tag '{targets.names[targets.values[place]]}' is never seen in the train part"
                    for row, place in zip(of_row[::-1], places[::-1], strict=True)
                }
            )
        rows.targets = TargetRows(roles.task, numbered, targets.offsets, names)
    odd = [name for name in names if not _BIO.fullmatch(name)]
    if odd:
        notes.append(
            f"The tags of column '{roles.tags}' are not BIO (such as '{odd[0]}'); each word's tag counts by itself."
        )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
