"""Who is left out of each subset: kept share, accuracy and difference to full of every group, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats

from datadiet.foundation.atomic import atomic_path
from datadiet.foundation.statistics import Estimate
from datadiet.jobs.compare import Arm
from datadiet.jobs.groups import Grouping
from datadiet.pages.report import printable, subset_title

Row = dict[str, Any]

FEWEST = 10  # test examples below which no interval is given


@dataclass(frozen=True)
class _Mean:
    """A mean with the variance of its error and that variance's degrees of freedom."""

    mean: float
    variance: float
    degrees: float


def part_accuracy(correct: npt.NDArray[np.bool_], *, level: float = 0.95) -> Estimate:
    """Accuracy on a part of the test examples and its interval.

    With c_i the share of seeds that predict example i right and n examples, the interval is that of Agresti and
    Coull (1998): two right and two wrong examples are added, p = (sum c_i + 2) / (n + 4), and its half is
    sqrt(t^2 p (1 - p) / (n + 4) + s^2 v), v being the variance that the spread between seeds gives to their mean, t
    and s the quantiles of Student's t for both. That treats c_i as right or wrong, the widest it could be.

    Args:
        correct: bool (seeds, n).
        level: nominal coverage.

    Example:
        >>> all_right = part_accuracy(np.ones((3, 20), dtype=bool))
        >>> all_right.mean, round(all_right.low, 2), all_right.high
        (1.0, 0.8, 1.0)
    """
    n = correct.shape[1]
    mean = float(correct.mean())
    shrunk = (mean * n + 2) / (n + 4)
    test = _Mean(shrunk, shrunk * (1 - shrunk) / (n + 4), n - 1)
    low, high = _bounds(shrunk, [test, _between_seeds([correct.mean(axis=1)])], level)
    return Estimate(mean, max(0.0, min(low, mean)), min(1.0, max(high, mean)))


def part_difference(
    arm: npt.NDArray[np.bool_], full: npt.NDArray[np.bool_], *, level: float = 0.95
) -> Estimate:
    """Accuracy of an arm minus that of full data on a part of the test examples, and its interval.

    With d_i = (share of the arm's seeds right on i) - (share of full data's seeds right on i), the interval is
    that of Agresti and Min (2005) for matched pairs: two examples are added, half a one for each of the four
    outcomes (both right, both wrong, one of them right). So a part on which nothing changed keeps an interval
    of honest width, where resampling it would say "exactly zero".

        m = sum d_i / (n + 2),  u = (sum d_i^2 + 1) / (n + 2) - m^2,  m +- sqrt(t^2 u / (n + 2) + s^2 v)

    v is the variance from the choice of seeds (pooled over both arms); t and s are the quantiles of Student's t with
    n - 1 degrees of freedom and with those of v.

    Args:
        arm: bool (seeds, n).
        full: bool (its own seeds, the same n).
        level: nominal coverage.

    Example:
        >>> same = np.ones((3, 20), dtype=bool)
        >>> found = part_difference(same, same)
        >>> found.mean, found.low < -0.05, found.high > 0.05
        (0.0, True, True)
    """
    differences = arm.mean(axis=0) - full.mean(axis=0)
    test = _smoothed(differences)
    low, high = _bounds(test.mean, [test, _between_seeds([arm.mean(axis=1), full.mean(axis=1)])], level)
    mean = float(differences.mean())
    return Estimate(mean, max(-1.0, min(low, mean)), min(1.0, max(high, mean)))


def excess_difference(
    arm: npt.NDArray[np.bool_],
    full: npt.NDArray[np.bool_],
    members: npt.NDArray[np.bool_],
    *,
    level: float = 0.95,
) -> Estimate:
    """A group's difference to full minus that of all test examples, and its interval.

    The group is part of the whole, so its excess is (1 - f) times its difference minus that of the others, f being
    its share of the test examples; the two are independent samples. With m and u of `part_difference`,

        e = (1 - f) (m_in - m_out),  half width^2 = (1 - f)^2 (t^2 u_in / (n_in + 2) + t'^2 u_out / (n_out + 2)) + s^2 v

    where v comes from the spread, between the seeds of each arm, of (accuracy on the group minus accuracy on all).
    Luck of a seed that moves the group and the whole alike cancels.

    Args:
        arm: bool (seeds, n).
        full: bool (its own seeds, n).
        members: bool (n,): the group.
        level: nominal coverage.

    Example:
        >>> full = np.ones((3, 400), dtype=bool); arm = full.copy(); arm[:, :50] = False
        >>> excess = excess_difference(arm, full, np.arange(400) < 100)
        >>> excess.mean, excess.high < 0
        (-0.375, True)
    """
    differences = arm.mean(axis=0) - full.mean(axis=0)
    if members.all():
        return Estimate(0.0, 0.0, 0.0)
    mean = float(differences[members].mean() - differences.mean())
    rest = 1 - float(members.mean())
    inside, outside = _smoothed(differences[members]), _smoothed(differences[~members])
    parts = [_Mean(m.mean, rest**2 * m.variance, m.degrees) for m in (inside, outside)]
    by_seed = [correct[:, members].mean(axis=1) - correct.mean(axis=1) for correct in (arm, full)]
    centre = rest * (inside.mean - outside.mean)
    low, high = _bounds(centre, [*parts, _between_seeds(by_seed)], level)
    return Estimate(mean, low, high)


def _smoothed(differences: npt.NDArray[np.float64]) -> _Mean:
    n = len(differences)
    mean = float(differences.sum()) / (n + 2)
    spread = (float(np.square(differences).sum()) + 1) / (n + 2) - mean**2
    return _Mean(mean, spread / (n + 2), max(n - 1, 1))


def _between_seeds(arms: list[npt.NDArray[np.float64]]) -> _Mean:
    """What other seeds would have changed: the pooled variance between seeds, over the number of seeds."""
    degrees = sum(len(values) - 1 for values in arms)
    if degrees == 0:
        return _Mean(0.0, 0.0, 1.0)
    squares = sum(float(np.square(values - values.mean()).sum()) for values in arms)
    return _Mean(0.0, squares / degrees * sum(1 / len(values) for values in arms), degrees)


def _bounds(centre: float, parts: list[_Mean], level: float) -> tuple[float, float]:
    """Each part's own half width, joined as the sides of a right angle.

    One Student's t for the joined variance (Welch and Satterthwaite) is too narrow where two or three seeds decide:
    by luck they lie close together, and their few degrees of freedom are then hardly counted.
    """
    squares = [float(stats.t.ppf((1 + level) / 2, part.degrees)) ** 2 * part.variance for part in parts]
    half = sum(squares) ** 0.5
    return centre - half, centre + half


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
    tested = np.empty(0, dtype=np.int64) if grouping.test is None else grouping.test
    sizes = np.bincount(tested, minlength=len(code))
    compared = int((sizes >= FEWEST).sum())
    enough = min(len(correct), len(full_correct)) >= 2
    for row in rows:
        size = int(sizes[code[row["group"]]])
        row |= {"n_test": size, "accuracy": None, "minus_full": None, "loses_more": None}
        if not size:
            continue
        members = tested == code[row["group"]]
        here, there = correct[:, members], full_correct[:, members]
        accuracy, difference = part_accuracy(here), part_difference(here, there)
        row |= {"accuracy": _triple(accuracy, size), "minus_full": _triple(difference, size)}
        if enough and size >= FEWEST:
            # Only the upper bound is asked: of an interval that leaves out 0.1, it leaves out 0.05.
            excess = excess_difference(correct, full_correct, members, level=1 - 0.1 / compared)
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
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(_TYPES.items()))), temporary)
