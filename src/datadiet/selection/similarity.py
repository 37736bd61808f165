"""How alike scores order the same examples, how much two choices share, and whether the classes stay as they were."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from datadiet.foundation.errors import BadInputError
from datadiet.selection.sizes import Floats

# Kendall's tau takes a second for a million rows; of more, that many are drawn.
MOST_ROWS_OF_KENDALL = 1_000_000
DRAWS = 200
ROWS_OF_A_DRAW = 500


def rank_correlations(columns: Mapping[str, ArrayLike], *, seed: int = 0) -> list[dict[str, Any]]:
    """Spearman's rho and Kendall's tau-b of every pair of columns, each with a 95 % interval.

    rho is the correlation of the ranks (equal values share their mean rank);
    tau-b = (concordant - discordant) / sqrt((pairs not tied in x) * (pairs not tied in y)).

    Intervals come from a bootstrap over examples, because the closed forms (Fisher's z) assume continuous scores,
    and scores such as forgetting counts are mostly ties. Its spread is taken on Fisher's z, so that an interval
    stays within [-1, 1], from 200 draws of at most 500 rows, and scaled by sqrt(rows of a draw / n): the
    spread of both falls as one over the root of n, and resampling ten million rows 200 times would take hours.

    Args:
        columns: name -> real numbers, shape (n,), one an example in one order for all; infinities are allowed.
        seed: of the bootstrap, and of the rows that tau is taken over above a million.

    Returns:
        A row a pair: `first`, `second`, `n`, `spearman`, `kendall`, each with `_low` and `_high`, and
        `kendall_rows`, the rows that tau is taken over. None where a column is constant.

    Raises:
        BadInputError: columns of different lengths, or NaN.

    Example:
        >>> row = rank_correlations({"a": [1, 2, 3, 4], "b": [1, 2, 4, 3]})[0]
        >>> round(row["spearman"], 2), round(row["kendall"], 2)
        (0.8, 0.67)

    Source: Kendall, "The treatment of ties in ranking problems", 1945; Bickel, Götze, van Zwet, "Resampling
    fewer than n observations", 1997.
    """
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) > 1 or any(len(shape) != 1 or shape[0] == 0 for shape in shapes):
        raise BadInputError(f"Columns must be rows of equally many numbers, not of shapes {sorted(shapes)}.")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise BadInputError(f"Column {name!r} has NaN; leave those examples out.")
    if not arrays:
        return []
    n = len(next(iter(arrays.values())))
    generator = np.random.default_rng([seed, n])
    draws = generator.integers(0, n, size=(DRAWS, min(n, ROWS_OF_A_DRAW)))
    few = n <= MOST_ROWS_OF_KENDALL
    some = slice(None) if few else np.sort(generator.choice(n, MOST_ROWS_OF_KENDALL, replace=False))
    ranks = {name: _unit_ranks(values) for name, values in arrays.items()}
    drawn = np.stack([_unit_ranks(values[draws]) for values in arrays.values()])
    rhos = np.einsum("adr,bdr->abd", drawn, drawn, optimize=True)
    taus = np.stack([_kendall_matrix(drawn[:, draw]) for draw in range(DRAWS)], -1)
    rows = []
    for (i, first), (j, second) in itertools.combinations(enumerate(arrays), 2):
        row: dict[str, Any] = {"first": first, "second": second, "n": n}
        rho = float(np.clip(np.dot(ranks[first], ranks[second]), -1.0, 1.0))  # NaN stays NaN
        tau = _kendall(arrays[first][some], arrays[second][some])
        # The interval of a tau over some of the rows is that of as many rows.
        tau_rows = min(n, MOST_ROWS_OF_KENDALL)
        both = (("spearman", rho, rhos[i, j], n), ("kendall", tau, taus[i, j], tau_rows))
        for name, value, of_draws, size in both:
            low, high = _interval(value, of_draws, size)
            found = {name: value, f"{name}_low": low, f"{name}_high": high}
            row |= {key: number if np.isfinite(number) else None for key, number in found.items()}
        rows.append(row | {"kendall_rows": tau_rows})
    return rows


def overlap(first: int, second: int, common: int, total: int | None = None) -> dict[str, Any]:
    """How much two choices share, beside what two random choices of the same sizes would.

    The overlap is `common / min(first, second)`: |A ∩ B| / k where both hold k. Two random choices share a
    hypergeometric number of examples: on average `max(first, second) / total` of the smaller one, k / n where
    both hold k.

    Args:
        first: examples in the one.
        second: examples in the other.
        common: examples in both.
        total: how many both were chosen from; None when that is not known.

    Returns:
        `overlap`, `jaccard` (|A ∩ B| / |A ∪ B|), `chance`, and `chance_low` to `chance_high`, in which 95 % of
        random choices fall; the last three are None without `total`.

    Raises:
        BadInputError: sizes that cannot be.

    Example:
        >>> found = overlap(50, 50, 40, 100)
        >>> found["overlap"], found["chance"], round(found["jaccard"], 3)
        (0.8, 0.5, 0.667)
    """
    smaller, larger = sorted((first, second))
    if not 0 <= common <= smaller or smaller < 1 or (total is not None and first + second - common > total):
        raise BadInputError(
            f"Two choices of {first} and {second} examples with {common} in common cannot come from "
            f"{total if total is not None else 'any number of'} examples."
        )
    chance = low = high = None
    if total is not None:
        chance = larger / total
        ends = stats.hypergeom.ppf([0.025, 0.975], total, larger, smaller)
        low, high = (float(end) / smaller for end in ends)
    return {
        "overlap": common / smaller,
        "jaccard": common / (first + second - common),
        "chance": chance,
        "chance_low": low,
        "chance_high": high,
    }


def class_balance(labels: NDArray[np.int64], kept: NDArray[Any]) -> dict[str, Any]:
    """How far the classes of what stays are from those of the source.

    With p_c the share of class c in the source and q_c its share among what stays, the total variation
    distance is sum |q_c - p_c| / 2: the share of the kept that would have to change class. The ratio of a
    class is q_c / p_c.

    Args:
        labels: class of every example, int64 (n,).
        kept: which stay: bool (n,), or their rows.

    Returns:
        `total_variation`; `chance_total_variation`, its mean for a random choice of as many (normal
        approximation of the hypergeometric counts); `largest_ratio` and `largest_class`, the class that grows
        most; `smallest_ratio` and `smallest_class`; `emptied`, the number of classes that vanish.

    Raises:
        BadInputError: nothing stays.

    Example:
        >>> found = class_balance(np.array([0, 0, 1, 1]), np.array([True, True, True, False]))
        >>> round(found["total_variation"], 3), round(found["largest_ratio"], 3), found["largest_class"]
        (0.167, 1.333, 0)
    """
    counts = np.bincount(labels)
    stay = np.bincount(labels[kept], minlength=len(counts))
    n, size = int(counts.sum()), int(stay.sum())
    if size == 0:
        raise BadInputError("Nothing stays, so there is no class balance.")
    present = np.flatnonzero(counts)
    source, share = counts[present] / n, stay[present] / size
    ratio = share / source
    spread = np.sqrt(source * (1 - source) / size * (n - size) / max(n - 1, 1))
    largest, smallest = int(np.argmax(ratio)), int(np.argmin(ratio))
    return {
        "total_variation": float(np.abs(share - source).sum() / 2),
        "chance_total_variation": float(np.sqrt(2 / np.pi) * spread.sum() / 2),
        "largest_ratio": float(ratio[largest]),
        "largest_class": int(present[largest]),
        "smallest_ratio": float(ratio[smallest]),
        "smallest_class": int(present[smallest]),
        "emptied": int((stay[present] == 0).sum()),
    }


def _unit_ranks(values: NDArray[Any]) -> Floats:
    """Ranks along the last axis, centred and of unit length, so that a correlation is a dot product.

    NaN where all values are the same: their order says nothing.
    """
    ranks = np.asarray(stats.rankdata(values, axis=-1), dtype=np.float64)
    ranks -= (values.shape[-1] + 1) / 2
    length = np.sqrt(np.einsum("...r,...r->...", ranks, ranks))[..., None]
    found: Floats = np.full_like(ranks, np.nan)
    np.divide(ranks, length, out=found, where=length > 0)
    return found


def _kendall(x: NDArray[Any], y: NDArray[Any]) -> float:
    if len(x) < 2 or (x == x[0]).all() or (y == y[0]).all():
        return float("nan")
    method = "asymptotic" if len(x) > 2 else "exact"  # the p-value is not used, and fails for two rows
    return float(stats.kendalltau(x, y, method=method).statistic)


def _kendall_matrix(columns: Floats) -> Floats:
    """tau-b of every pair of a few short columns (columns, rows): the cosines of the signs of their differences.

    Quadratic in the rows, but for many pairs of hundreds of rows far quicker than one call a pair.
    """
    signs = np.sign(columns[:, :, None] - columns[:, None, :]).astype(np.float32).reshape(len(columns), -1)
    products = (signs @ signs.T).astype(np.float64)  # whole numbers below 2^24: exact
    lengths = np.sqrt(np.diag(products))
    scale = np.outer(lengths, lengths)
    found: Floats = np.full_like(products, np.nan)
    np.divide(products, scale, out=found, where=scale > 0)
    return found


def _interval(value: float, draws: Floats, n: int) -> tuple[float, float]:
    """Bounds on Fisher's z from the spread between draws of fewer rows than n."""
    usable = np.clip(draws[np.isfinite(draws)], -1 + 1e-12, 1 - 1e-12)
    if not np.isfinite(value) or len(usable) < DRAWS // 2:
        return float("nan"), float("nan")
    if abs(value) > 1 - 1e-12:
        return value, value
    scaled = float(np.arctanh(usable).std(ddof=1)) * np.sqrt(min(n, ROWS_OF_A_DRAW) / n)
    reach = float(stats.norm.ppf(0.975)) * scaled
    centre = float(np.arctanh(value))
    return float(np.tanh(centre - reach)), float(np.tanh(centre + reach))
