"""Who is left out of each subset: kept share, accuracy and difference to full of every group, worst first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.atomic import atomic_path
from datadiet.comparison import Arm
from datadiet.grouping.columns import Grouping
from datadiet.grouping.statistics import FEWEST, excess_difference, part_accuracy, part_difference
from datadiet.report import printable, subset_title
from datadiet.statistics import Estimate

Row = dict[str, Any]

_COLUMNS = pa.schema(
    [
        *((name, pa.string()) for name in ("score", "rule")),
        ("keep", pa.float64()),
        ("n", pa.int64()),
        *((name, pa.string()) for name in ("grouping", "group")),
        ("n_train", pa.int64()),
        *((name, pa.float64()) for name in ("n_kept", "kept_share")),
        ("n_test", pa.int64()),
        *((f"accuracy{end}", pa.float64()) for end in ("", "_low", "_high")),
        *((f"minus_full{end}", pa.float64()) for end in ("", "_low", "_high")),
        ("loses_more", pa.bool_()),
    ]
)


def kept_shares(grouping: Grouping, ids: npt.NDArray[np.int64], kept: Sequence[Any]) -> list[Row]:
    """How many of each group stay, smallest share first.

    Args:
        grouping: the groups of the train examples.
        ids: id of each train example, sorted, shape (n,).
        kept: one or several (then their mean is told) arrays of ids that stay.

    Returns:
        For each group `group`, `n_train`, `n_kept`, and `kept_share` (null where no train example is in it).

    Example:
        >>> site = Grouping("site", ("east", "west"), np.array([0, 1, 1]), None)
        >>> [row["kept_share"] for row in kept_shares(site, np.array([3, 5, 8]), [np.array([3, 8])])]
        [0.5, 1.0]
    """
    before = np.bincount(grouping.train, minlength=len(grouping.names))
    counts = [
        np.bincount(grouping.train[np.searchsorted(ids, chosen)], minlength=len(before)) for chosen in kept
    ]
    after = np.mean(counts, axis=0)
    rows = []
    for name, there, stay in zip(grouping.names, before.tolist(), after.tolist(), strict=True):
        share = stay / there if there else None
        n_kept = int(stay) if float(stay).is_integer() else stay
        rows.append({"group": name, "n_train": there, "n_kept": n_kept, "kept_share": share})
    return sorted(rows, key=_by_share)


def arm_groups(
    arm: Arm, full_correct: npt.NDArray[np.bool_], grouping: Grouping, ids: npt.NDArray[np.int64]
) -> list[Row]:
    """Every group of one trained subset, worst first: by the difference to full, then by the kept share.

    A group `loses_more` when it is below full data and the one-sided upper bound of (its difference to full minus
    that of all test examples), at the level 1 - 0.05 / (number of groups judged), is below zero: together, the
    groups of one grouping of one subset raise a false alarm with at most 5 % (Bonferroni). Null where it cannot
    be judged: fewer than ten test examples, or one seed.

    Args:
        arm: the subset, trained.
        full_correct: bool (seeds, test examples) of full data.
        grouping: the groups.
        ids: id of each train example, sorted.

    Returns:
        What `kept_shares` gives, and `n_test`, `accuracy` and `minus_full` as [mean, low, high] (bounds null with
        fewer than ten test examples, all null without any), and `loses_more`.
    """
    chosen = [arm.ids_for(index) for index in range(max(len(arm.runs), 1))]
    rows = kept_shares(grouping, ids, [ids if kept is None else kept for kept in chosen])
    correct = arm.correct()
    code = {name: index for index, name in enumerate(grouping.names)}
    sizes = np.zeros(len(code), dtype=np.int64)
    if grouping.test is not None:
        sizes = np.bincount(grouping.test, minlength=len(code)).astype(np.int64)
    judged = int((sizes >= FEWEST).sum())
    enough = min(len(correct), len(full_correct)) >= 2
    for row in rows:
        size = int(sizes[code[row["group"]]])
        row |= {"n_test": size, "accuracy": None, "minus_full": None, "loses_more": None}
        if grouping.test is None or not size:
            continue
        members = grouping.test == code[row["group"]]
        here, there = correct[:, members], full_correct[:, members]
        accuracy, difference = part_accuracy(here), part_difference(here, there)
        row |= {"accuracy": _triple(accuracy, size), "minus_full": _triple(difference, size)}
        if enough and size >= FEWEST:
            # Only the upper bound is asked: of an interval that leaves out 0.1, it leaves out 0.05.
            excess = excess_difference(correct, full_correct, members, level=1 - 0.1 / judged)
            row["loses_more"] = difference.mean < 0 and excess.high < 0
    return sorted(rows, key=_worst_first)


def _triple(estimate: Estimate, size: int) -> list[float | None]:
    return list(estimate.as_list()) if size >= FEWEST else [estimate.mean, None, None]


def _by_share(row: Row) -> tuple[bool, float]:
    share = row["kept_share"]
    return share is None, 0.0 if share is None else share


def _worst_first(row: Row) -> tuple[Any, ...]:
    difference = row["minus_full"]
    return difference is None, 0.0 if difference is None else difference[0], *_by_share(row)


def tables_of(
    arms: Iterable[Arm],
    full_correct: npt.NDArray[np.bool_],
    groupings: Sequence[Grouping],
    ids: npt.NDArray[np.int64],
) -> list[dict[str, Any]]:
    """The `groups` of `verdict.json`: one entry a subset and grouping, with its rows in `groups`."""
    return [
        {
            **{key: getattr(arm, key) for key in ("score", "rule", "keep", "n")},
            "grouping": grouping.name,
            "in_test": grouping.test is not None,
            "groups": arm_groups(arm, full_correct, grouping, ids),
        }
        for arm in arms
        for grouping in groupings
    ]


def warnings_of(
    tables: Sequence[Mapping[str, Any]],
    subsets: Sequence[Mapping[str, Any]],
    recommended: Mapping[str, Any] | None,
) -> list[str]:
    """One sentence for each group that loses more than the whole: the recommended subset's first, then by size.

    Random subsets, which are there to compare with, are warned of only where one is recommended.
    """
    whole = {_key(subset): subset["minus_full"][0] for subset in subsets}
    first = _key(recommended) if recommended is not None else None
    told = [table for table in tables if table["score"] != "random" or _key(table) == first]
    told.sort(key=lambda table: (_key(table) != first, -table["n"]))
    return [
        _sentence(table, row, whole[_key(table)])
        for table in told
        for row in table["groups"]
        if row["loses_more"]
    ]


def _sentence(table: Mapping[str, Any], row: Row, whole: float) -> str:
    mean, low, high = (100 * value for value in row["minus_full"])
    stay = "" if row["kept_share"] is None else f"; {row['kept_share']:.0%} of its training examples stay"
    what = f"{printable(table['grouping'], 40)} '{printable(row['group'], 60)}'"
    return (
        f"{subset_title(table)}, {table['keep']:.4g}: {what} loses more than the whole: {mean:+.1f} points "
        f"[{low:+.1f}, {high:+.1f}] against {100 * whole:+.1f}{stay}."
    )


def _key(subset: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(subset[key] for key in ("score", "rule", "keep", "n"))


def write_groups(tables: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write `groups.parquet`: one row a subset, grouping and group."""
    rows = []
    for table in tables:
        about = {key: table[key] for key in ("score", "rule", "keep", "n", "grouping")}
        for row in table["groups"]:
            flat = {key: value for key, value in row.items() if not isinstance(value, list)}
            for name in ("accuracy", "minus_full"):
                mean, low, high = row[name] or (None, None, None)
                flat |= {name: mean, f"{name}_low": low, f"{name}_high": high}
            rows.append({**about, **flat, "n_kept": float(row["n_kept"])})
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=_COLUMNS), temporary)
