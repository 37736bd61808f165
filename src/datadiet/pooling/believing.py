"""The hypotheses that a pool brings along, in the classes, tags and labels of the base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.data import Examples
from datadiet.data.columns import one_array, rows_at
from datadiet.data.draft import DraftRows
from datadiet.data.label_sets import read_label_sets
from datadiet.data.labels import label_values, match_names
from datadiet.data.roles import Roles
from datadiet.data.tag_rows import read_tags
from datadiet.data.target_rows import IGNORED, TargetRows

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
    targets: TargetRows | None = None
    if base.task in ("classification", "intent_slots"):
        labels = _classes(dataset, base, roles.label)
        reasons.update(dict.fromkeys(np.flatnonzero(labels == -1).tolist(), MISSING))
        reasons.update(dict.fromkeys(np.flatnonzero(labels == -2).tolist(), UNKNOWN))
    draft = DraftRows("pool", dataset, labels.copy())
    if base.task == "multilabel":
        read_label_sets([draft], roles.label)
        targets = _renamed_sets(draft, base, reasons)
    elif roles.tags is not None:
        read_tags([draft], roles)
        targets = _renamed_tags(draft, base, reasons)
    return Hypotheses(labels, targets, reasons)


def _classes(dataset: Any, base: Examples, column: str) -> npt.NDArray[np.int64]:
    array = one_array(rows_at(dataset, [column], slice(None)), column)
    feature, of_base = dataset.features[column], base.train.dataset.features[base.label_column]
    # Numbers of a pool mean what the numbers of the base mean, where only that has names for them.
    names, indices, _ = label_values(array, feature if hasattr(feature, "names") else of_base, column)
    return match_names(names, indices, base.class_names)


def _renamed_tags(draft: DraftRows, base: Examples, reasons: dict[int, str]) -> TargetRows:
    found = draft.targets
    assert found is not None and found.offsets is not None
    for row in draft.bad:
        reasons.setdefault(row, "tags that do not go with the words")
    values = match_names(found.names, np.maximum(found.values, -1).astype(np.int64), base.tag_names)
    values[found.values == IGNORED] = IGNORED
    places = np.flatnonzero((values < 0) & (values != IGNORED))
    for of_place in (np.searchsorted(found.offsets, places, side="right") - 1).tolist():
        reasons.setdefault(of_place, UNKNOWN)
    values[places] = 0  # of rows that leave
    return TargetRows(base.task, values, found.offsets, base.tag_names)


def _renamed_sets(draft: DraftRows, base: Examples, reasons: dict[int, str]) -> TargetRows:
    found = draft.targets
    assert found is not None
    for row in draft.bad:
        reasons.setdefault(row, MISSING)
    places = {name: index for index, name in enumerate(base.output_names)}
    values = np.zeros((len(found), len(places)), dtype=np.float32)
    for column, name in enumerate(found.names):
        if name in places:
            values[:, places[name]] = found.values[:, column]
        else:
            for with_it in np.flatnonzero(found.values[:, column]).tolist():
                reasons.setdefault(with_it, UNKNOWN)
    return TargetRows("multilabel", values, None, base.output_names)
