"""What `select` refuses, each with one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.errors import BadInputError
from datadiet.selection.groups import Groups
from datadiet.selection.pool import Pool
from datadiet.selection.registry import RuleCard


def check_forms(
    *,
    per_class: bool,
    balance: str | None,
    floor: int | float | None,
    labels: npt.ArrayLike | None,
    groups: npt.ArrayLike | None,
) -> None:
    """Refuse forms that contradict each other or lack their labels or groups."""
    if balance not in (None, "class", "group"):
        raise BadInputError(f"balance is {balance!r}: give 'class', 'group' or None.")
    if per_class and balance is not None:
        raise BadInputError(
            f"per_class keeps the same fraction of every class and balance={balance!r} equal "
            f"counts: choose one."
        )
    if (per_class or balance == "class") and labels is None:
        raise BadInputError(
            f"{'per_class' if per_class else 'balance=class'} needs the class of every example: pass labels."
        )
    if balance == "group" and groups is None:
        raise BadInputError("balance='group' needs the group of every example: pass groups.")
    if floor is not None and labels is None and groups is None:
        raise BadInputError(
            "floor needs to know the group of every example: pass groups, or labels for classes."
        )
    if floor is not None and groups is not None and (per_class or balance == "class"):
        raise BadInputError(
            "A floor for groups and quotas for classes cut the examples in two ways at once: "
            "drop per_class and balance, or use balance='group'."
        )


def check_options(card: RuleCard, options: Mapping[str, Any]) -> None:
    """Refuse options that the rule does not take."""
    if unknown := sorted(set(options) - set(card.options)):
        takes = f"it takes {', '.join(sorted(card.options))}" if card.options else "it takes none"
        raise BadInputError(f"Rule {card.name!r} has no option {unknown[0]!r}: {takes}.")


def sorted_pool(
    card: RuleCard,
    ids: npt.ArrayLike,
    hardness: npt.ArrayLike | None,
    labels: npt.ArrayLike | None,
    groups: npt.ArrayLike | None,
    embeddings: npt.ArrayLike | None,
    extra: Mapping[str, npt.ArrayLike] | None,
) -> tuple[Pool, Groups | None, Groups | None]:
    """Everything the rule needs, in the order of the ids, with the classes and the groups.

    What the card does not ask for is neither checked nor carried.

    Raises:
        BadInputError: ids that are no integers or come twice, a column with the wrong number of rows, NaN, or
            a missing column that the rule needs.
    """
    checked_ids = _checked_ids(ids)
    n = len(checked_ids)
    in_order = bool((checked_ids[1:] > checked_ids[:-1]).all())
    order = slice(None) if in_order else np.argsort(checked_ids, kind="stable")
    sorted_ids = checked_ids[order]
    if not in_order and (twice := sorted_ids[1:][sorted_ids[1:] == sorted_ids[:-1]]).size:
        raise BadInputError(
            f"{len(np.unique(twice))} ids come more than once ({_some(np.unique(twice))}): "
            "give each example one row."
        )

    def column(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
        array = np.asarray(values)
        if array.ndim < 1 or len(array) != n:
            rows = "no rows" if array.ndim < 1 else f"{len(array)} rows"
            raise BadInputError(f"There are {n} ids, but {name} has {rows}: give one row an example.")
        return array[order]

    def flat(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
        array = column(name, values)
        if array.ndim != 1:
            raise BadInputError(f"{name} has shape {array.shape}: give one value an example.")
        return array

    classes = None if labels is None else Groups.of(flat("labels", labels), "class")
    parts = None if groups is None else Groups.of(flat("groups", groups), "group")
    if "labels" in card.needs and classes is None:
        raise BadInputError(f"Rule {card.name!r} needs labels: pass the class of every example.")
    scores = None
    if "scores" in card.needs:
        if hardness is None:
            raise BadInputError(f"Rule {card.name!r} needs scores: pass the hardness of every example.")
        scores = _real_numbers("hardness", flat("hardness", hardness), sorted_ids)
    vectors = None
    if "embeddings" in card.needs:
        if embeddings is None:
            raise BadInputError(
                f"Rule {card.name!r} needs embeddings: pass an array of shape (n, dimensions)."
            )
        vectors = column("embeddings", embeddings)
        if vectors.ndim != 2 or vectors.shape[1] == 0:
            raise BadInputError(f"embeddings have shape {vectors.shape}: give (examples, dimensions).")
        vectors = _real_numbers("embeddings", vectors, sorted_ids, finite=True)
    further = {}
    for name in card.extra:
        if extra is None or name not in extra:
            raise BadInputError(
                f"Rule {card.name!r} needs {name!r} from the trace: pass extra={{{name!r}: ...}}."
            )
        further[name] = _real_numbers(name, column(name, extra[name]), sorted_ids)
    pool = Pool(sorted_ids, scores, None if classes is None else classes.codes, vectors, further)
    return pool, classes, parts


def _checked_ids(ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
    array = np.asarray(ids)
    if array.ndim != 1:
        raise BadInputError(f"ids have shape {array.shape}: give one id an example.")
    if array.size == 0:
        raise BadInputError("There are no examples to select from.")
    if array.dtype.kind not in "iu":
        raise BadInputError(
            f"ids are of type {array.dtype}: give integers, for other numbers round large ids."
        )
    return array.astype(np.int64, copy=False)


def _real_numbers(
    name: str, values: npt.NDArray[Any], ids: npt.NDArray[np.int64], finite: bool = False
) -> npt.NDArray[Any]:
    """The values as floating numbers that compare exactly; NaN (or not finite) is refused with its ids."""
    if values.dtype.kind not in "fiub":
        raise BadInputError(f"{name} is of type {values.dtype}: give real numbers.")
    wide = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
    bad = ~np.isfinite(wide) if finite else np.isnan(wide)
    rows = bad if bad.ndim == 1 else bad.reshape(len(bad), -1).any(axis=1)
    if rows.any():
        what = "NaN or infinite" if finite else "NaN"
        raise BadInputError(
            f"{name} is {what} for {int(rows.sum())} examples (ids {_some(ids[rows])}): leave them "
            f"out or score them."
        )
    return wide


def _some(ids: npt.NDArray[np.int64]) -> str:
    return ", ".join(str(i) for i in ids[:5].tolist()) + (", ..." if len(ids) > 5 else "")
