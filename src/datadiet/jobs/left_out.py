"""Who is left out of each subset: kept share, accuracy and difference to full of every group, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.foundation.atomic import atomic_path
from datadiet.foundation.spread import Crossed, SeedSpread
from datadiet.foundation.statistics import FEWEST_SEEDS, Estimate, Trained, example_variance
from datadiet.jobs.arms import Arm
from datadiet.jobs.groups import Grouping
from datadiet.pages.report import printable, subset_title

Row = dict[str, Any]

FEWEST = 10  # test examples below which no interval is given


def excess_differences(
    arms: Sequence[npt.NDArray[np.bool_]], members: npt.NDArray[np.bool_], *, level: float = 0.95
) -> list[Estimate]:
    """Of every arm but the first: a group's difference to the first arm minus that of all test examples.

    The group is part of the whole, so its excess is (1 - f) times its difference minus that of the others, f being
    its share of the test examples; the two are independent samples. Luck of a seed that moves the group and the whole
    alike cancels; how much seeds differ in the rest is learnt from all arms (`SeedSpread`).

    Args:
        arms: bool (seeds, n) each; full data first.
        members: bool (n,): the group.
        level: nominal coverage.

    Example:
        >>> full = np.ones((3, 400), dtype=bool); arm = full.copy(); arm[:, :50] = False
        >>> [excess] = excess_differences([full, arm], np.arange(400) < 100)
        >>> excess.mean, excess.high < 0
        (-0.375, True)
    """
    if members.all() or not members.any():
        return [Estimate(0.0, np.nan, np.nan) for _ in arms[1:]]
    n, inside = len(members), int(members.sum())
    rest = 1 - inside / n
    weights = np.where(members, rest * n / inside, -rest * n / (n - inside))
    contrasts = [Crossed.of(arm * weights) for arm in arms]
    spread = SeedSpread(contrasts, [1.0] * len(arms))
    found = []
    for place in range(1, len(arms)):
        differences = arms[place].mean(axis=0) - arms[0].mean(axis=0)
        parts = (differences[members], differences[~members])
        least = 1 / min(arms[place].shape[0], arms[0].shape[0])
        variance = rest**2 * sum(example_variance(part, least) for part in parts)
        degrees = max(1, min(map(len, parts)) - 1)
        mean = float(parts[0].mean() - differences.mean())
        half = spread.half_width([place, 0], level, example=variance, degrees=degrees)
        found.append(Estimate(mean, mean - half, mean + half))
    return found


_TEXTS = ("score", "rule", "grouping", "group")
_COUNTS = ("n", "n_train", "n_test")
_COLUMNS = (
    "score", "rule", "keep", "n", "grouping", "group", "n_train", "n_kept", "kept_share", "n_test", "accuracy",
    "accuracy_low", "accuracy_high", "minus_full", "minus_full_low", "minus_full_high", "loses_more",
)  # fmt: skip
_TYPES = dict.fromkeys(_COLUMNS, pa.float64()) | dict.fromkeys(_TEXTS, pa.string())
_TYPES |= dict.fromkeys(_COUNTS, pa.int64()) | {"loses_more": pa.bool_()}


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


def arm_groups(arms: Sequence[Arm], grouping: Grouping, ids: npt.NDArray[np.int64]) -> list[list[Row]]:
    """Every group of each trained subset, worst first: by the difference to full, then by the kept share.

    A group `loses_more` when it is below full data and the one-sided upper bound of (its difference to full minus
    that of all test examples), at the level 1 - 0.05 / (number of groups judged), is below zero: together, the
    groups of one grouping of one subset raise a false alarm with at most 5 % (Bonferroni). Null where it cannot
    be judged: fewer than ten test examples, or fewer than three seeds.

    Args:
        arms: full data and the subsets, trained.
        grouping: the groups.
        ids: id of each train example, sorted.

    Returns:
        For each subset what `kept_shares` gives, and `n_test`, `accuracy` and `minus_full` as [mean, low, high]
        (bounds null with fewer than ten test examples, all null without any), and `loses_more`.
    """
    correct = [arm.correct() for arm in arms]
    tested = np.empty(0, dtype=np.int64) if grouping.test is None else grouping.test
    sizes = np.bincount(tested, minlength=len(grouping.names))
    # Only the upper bound is asked: of an interval that leaves out 0.1, it leaves out 0.05.
    level = 1 - 0.1 / max(1, int((sizes >= FEWEST).sum()))
    measured: list[dict[str, Row]] = [{} for _ in arms[1:]]
    for code in np.flatnonzero(sizes):
        members, size = tested == code, int(sizes[code])
        here = Trained([one[:, members] for one in correct], [arm.keep for arm in arms])
        excess = excess_differences(correct, members, level=level) if size >= FEWEST else None
        for place, found in enumerate(measured, start=1):
            difference = here.difference(place, 0)
            loses_more = None
            if excess is not None and min(len(correct[place]), len(correct[0])) >= FEWEST_SEEDS:
                loses_more = bool(difference.mean < 0 and excess[place - 1].high < 0)
            found[grouping.names[code]] = {
                "n_test": size,
                "accuracy": _triple(here.accuracy(place), size),
                "minus_full": _triple(difference, size),
                "loses_more": loses_more,
            }
    nothing = {"n_test": 0, "accuracy": None, "minus_full": None, "loses_more": None}
    tables = []
    for arm, found in zip(arms[1:], measured, strict=True):
        chosen = [arm.ids_for(index) for index in range(max(len(arm.runs), 1))]
        rows = kept_shares(grouping, ids, [ids if kept is None else kept for kept in chosen])
        tables.append(sorted(({**row, **found.get(row["group"], nothing)} for row in rows), key=_worst_first))
    return tables


def _triple(estimate: Estimate, size: int) -> list[float | None]:
    return list(estimate.as_list()) if size >= FEWEST else [estimate.mean, None, None]


def _by_share(row: Row) -> tuple[bool, float]:
    share = row["kept_share"]
    return share is None, 0.0 if share is None else share


def _worst_first(row: Row) -> tuple[Any, ...]:
    difference = row["minus_full"]
    return difference is None, 0.0 if difference is None else difference[0], *_by_share(row)


def tables_of(
    arms: Sequence[Arm], groupings: Sequence[Grouping], ids: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    """The `groups` of `verdict.json`: one entry a subset and grouping, with its rows in `groups`; full data first."""
    by_grouping = [arm_groups(arms, grouping, ids) for grouping in groupings]
    return [
        {
            **{key: getattr(arm, key) for key in ("score", "rule", "keep", "n")},
            "grouping": grouping.name,
            "in_test": grouping.test is not None,
            "groups": tables[place],
        }
        for place, arm in enumerate(arms[1:])
        for grouping, tables in zip(groupings, by_grouping, strict=True)
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
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(_TYPES.items()))), temporary)
