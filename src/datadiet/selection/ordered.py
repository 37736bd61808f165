"""Rules by the order of a score: cuts, windows, strata, weighted draws, random; and several scores made one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from datadiet.foundation.errors import BadInputError
from datadiet.selection.registry import Pool, selection_rule
from datadiet.selection.sizes import Floats, Rows, equal_quotas, rounded_share


def hardest_rows(hardness: NDArray[Any], size: int) -> Rows:
    """The first `size` rows from hardest to easiest, increasing; a tie goes to the lower row.

    Linear in the number of rows: nothing is sorted.

    Example:
        >>> hardest_rows(np.array([0.5, 0.9, 0.5, 0.1]), 2).tolist()
        [0, 1]
    """
    n = len(hardness)
    if size <= 0:
        return np.empty(0, dtype=np.int64)
    if size >= n:
        return np.arange(n, dtype=np.int64)
    threshold = np.partition(hardness, n - size)[n - size]
    chosen = hardness > threshold
    tied = np.flatnonzero(hardness == threshold)
    chosen[tied[: size - int(np.count_nonzero(chosen))]] = True
    return np.flatnonzero(chosen).astype(np.int64, copy=False)


def window_rows(hardness: NDArray[Any], first: int, last: int) -> Rows:
    """Rows at the places `first` to `last - 1` of the order from hardest to easiest, increasing.

    Example:
        >>> window_rows(np.array([0.5, 0.9, 0.5, 0.1]), 1, 3).tolist()
        [0, 2]
    """
    inside = np.zeros(len(hardness), dtype=bool)
    inside[hardest_rows(hardness, last)] = True
    inside[hardest_rows(hardness, first)] = False
    return np.flatnonzero(inside).astype(np.int64, copy=False)


@selection_rule(
    "hardest",
    when="Much is kept (about 0.7 and more) of a large, clean data set.",
    fails="Little is kept (0.3 and less): worse than random. Wrong labels: it keeps them all.",
    source="Paul, Ganguli, Dziugaite 2021",
)
def hardest(pool: Pool, size: int, generator: np.random.Generator) -> Rows:
    """The first `size` examples from hardest to easiest; a tie goes to the lower id."""
    return hardest_rows(pool.scores(), size)


@selection_rule(
    "easiest",
    when="Very few examples of a hard or badly labelled data set are kept, or a start for sparse networks is sought.",
    fails="Much is kept: it drops exactly what the model still has to learn.",
    source="Sorscher et al. 2022; Paul, Larsen et al. 2022",
)
def easiest(pool: Pool, size: int, generator: np.random.Generator) -> Rows:
    """The last `size` examples of the same order: with `hardest` of the rest it makes up the whole."""
    return window_rows(pool.scores(), len(pool) - size, len(pool))


@selection_rule(
    "window",
    when="Labels are noisy: leave out the very hardest, then keep the hard ones; tune `start` on a validation part.",
    fails="`start` is not tuned: on clean data it throws away the best examples, and little kept is still too narrow.",
    source="Paul, Ganguli, Dziugaite 2021, section 4.2",
    options={
        "start": "share of the hardest examples that is dropped first, in [0, 1); default 0",
        "end": "where the window ends, in (start, 1]; default start + keep; it must agree with keep",
    },
)
def window(
    pool: Pool,
    size: int,
    generator: np.random.Generator,
    *,
    start: float | None = None,
    end: float | None = None,
) -> Rows:
    """`size` examples on end in the order from hardest to easiest, after the `start` hardest.

    `start` and `end` count from the hard end: 0 is the hardest example, 1 the end of the easiest. With `end`
    alone the window is the one that ends there.
    """
    n = len(pool)
    for name, place in (("start", start), ("end", end)):
        if place is not None and not 0.0 <= place <= 1.0:
            raise BadInputError(
                f"{name} is {place}: give a share of the examples from 0 (hardest) to 1 (easiest)."
            )
    if start is not None and end is not None and abs((end - start) * n - size) > 1.0:
        raise BadInputError(
            f"The window from {start} to {end} holds {(end - start) * n:.0f} of {n} examples, but {size} are to "
            f"stay: leave out end, or set keep to {end - start:.6g}."
        )
    first = rounded_share(n, start or 0.0)
    if start is None and end is not None:
        first = rounded_share(n, end) - size
    # Start and size are each rounded: together they may overhang the easy end by less than one example.
    if start is not None and first + size == n + 1 and start * n + size < n + 1:
        first -= 1
    if first < 0 or first + size > n:
        raise BadInputError(
            f"A window of {size} examples that starts after the {first} hardest does not fit into {n}: "
            "lower start or keep."
        )
    return window_rows(pool.scores(), first, first + size)


@selection_rule(
    "random",
    needs=(),
    when="Always, as the baseline, with a seed of its own for every repetition; hard to beat when little is kept.",
    fails="Rare classes can vanish (use per_class=True); it cannot tell wrong labels from right ones.",
    source="the baseline of every paper",
)
def random(pool: Pool, size: int, generator: np.random.Generator) -> Rows:
    """`size` examples without replacement; one seed's smaller choice lies inside its larger one."""
    return generator.permutation(len(pool))[:size]


# Kept fraction -> share of the hardest that is dropped, linear in between. The paper tunes it by data set and
# drops more the less is kept; these are its CIFAR-10 values (30, 50, 70 and 90 % pruned), taken as a default
# by us.
DEFAULT_BETA = {0.1: 0.3, 0.3: 0.1, 0.5: 0.0}


def default_beta(keep: float) -> float:
    """Share of the hardest examples that `stratified` drops when not told, by the fraction that stays.

    Example:
        >>> [round(default_beta(keep), 3) for keep in (0.05, 0.1, 0.2, 0.3, 0.5, 0.9)]
        [0.3, 0.3, 0.2, 0.1, 0.0, 0.0]
    """
    return float(np.interp(keep, list(DEFAULT_BETA), list(DEFAULT_BETA.values())))


def score_strata(hardness: NDArray[Any], strata: int) -> NDArray[np.int64]:
    """Stratum of each row, 0 (easiest) to `strata - 1`: equal widths from the lowest to the highest score.

    A score on a border belongs to the harder side, the highest of all to the last stratum. Infinite scores go
    to the outermost strata and do not stretch the others.

    Example:
        >>> score_strata(np.array([0.0, 0.9, 1.0, 2.0, np.inf]), 2).tolist()
        [0, 0, 1, 1, 1]
    """
    finite = np.isfinite(hardness)
    if not finite.any():
        return np.where(hardness > 0, strata - 1, 0).astype(np.int64)
    known = hardness if finite.all() else hardness[finite]
    low, high = np.float64(known.min()), np.float64(known.max())
    if low == high:
        return np.where(hardness > high, strata - 1, 0).astype(np.int64)
    # Halved first, so that the span of two huge scores of opposite sign does not overflow.
    place = (hardness * 0.5 - low * 0.5) * (strata / (high * 0.5 - low * 0.5))
    return np.clip(place, 0, strata - 1, out=place).astype(np.int64)


@selection_rule(
    "stratified",
    when="Any fraction, with 200 and more examples a class: easy and hard alike; not shown to lose to random.",
    fails="So little is kept that strata stay empty; beta too small for the noise in the labels.",
    source="CCS: Zheng, Liu, Lai, Prakash 2023",
    options={
        "beta": "share of the hardest examples dropped first, in [0, 1); default by what is kept: "
        "0.3 at 0.1 to 0 at 0.5",
        "strata": "number of strata of equal score width, default 50",
        "drop_by": "the score that beta drops the hardest by, such as 'aum'; default the same as the strata's",
    },
    named_scores=("drop_by",),
)
def stratified(
    pool: Pool,
    size: int,
    generator: np.random.Generator,
    *,
    beta: float | None = None,
    strata: int = 50,
    drop_by: str | None = None,
) -> Rows:
    """Drop the `beta` hardest, cut the scores into strata of equal width, and draw equally many from each.

    The authors drop by AUM, which finds wrong labels, and stratify by AUM or another score.

    Strata too small for their part give all they have; the rest of the budget is shared by the larger ones,
    from the smallest up, so that the size is exact.
    """
    rows = rows_below(pool, size, default_beta(size / len(pool)) if beta is None else beta, drop_by)
    places, quotas = strata_and_quotas(pool.scores()[rows], strata, size)
    return rows[_draw(places, quotas, generator)]


def rows_below(pool: Pool, size: int, beta: float, drop_by: str | None = None) -> Rows:
    """The rows that are left without the `beta` hardest, increasing.

    Args:
        pool: of the scores.
        size: how many are to stay of them.
        beta: share that is dropped, in [0, 1).
        drop_by: the column of `extra` that says which are the hardest; None for the pool's own scores.

    Raises:
        BadInputError: a share outside [0, 1), or one that leaves too few.
    """
    n = len(pool)
    if not 0.0 <= beta < 1.0:
        raise BadInputError(f"beta is {beta}: give the share of the hardest to drop, at least 0 and below 1.")
    rows = window_rows(pool.scores() if drop_by is None else pool.extra[drop_by], rounded_share(n, beta), n)
    if len(rows) < size:
        raise BadInputError(
            f"beta={beta} drops {n - len(rows)} of {n} examples and leaves {len(rows)}, but {size} are to stay: "
            f"lower beta to at most {1 - size / n:.4g} or keep less."
        )
    return rows


def strata_and_quotas(
    hardness: NDArray[Any], strata: int, size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The stratum of each row, and how many stay of each stratum: equally many, as far as there are.

    Raises:
        BadInputError: no strata.

    Example:
        >>> strata_and_quotas(np.array([0.0, 0.1, 0.2, 1.0]), 2, 3)
        (array([0, 0, 0, 1]), array([2, 1]))
    """
    if strata < 1:
        raise BadInputError(f"strata is {strata}: give at least one.")
    places = score_strata(hardness, strata)
    return places, equal_quotas(np.bincount(places, minlength=strata), size)


def _draw(places: NDArray[np.int64], quotas: NDArray[np.int64], generator: np.random.Generator) -> Rows:
    """From each stratum its quota at random: shuffle, sort stably by stratum, take the first ones of each."""
    shuffled = generator.permutation(len(places))
    small = places.astype(np.uint16) if len(quotas) < 2**16 else places
    grouped = shuffled[np.argsort(small[shuffled], kind="stable")]
    counts = np.bincount(places, minlength=len(quotas))
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(places)) - np.repeat(starts, counts)
    return grouped[rank < np.repeat(quotas, counts)]


# The paper's constant: Beta(a, b) has a + b = 16. The mean confidence of the ten highest scores is its
# anchor, as in the released code.
CONCENTRATION = 15.0
ANCHORS = 10


def beta_parameters(keep: float, anchor: float, c_d: float) -> tuple[float, float]:
    """The two parameters of the Beta distribution for a kept fraction.

    `b = 15 (1 - anchor) (1 - (1 - keep) ** c_d)` and `a = 16 - b`: much kept puts its mean at about the
    anchor, little kept moves it towards confident, easy examples.

    Args:
        keep: fraction that stays, in (0, 1].
        anchor: mean probability of the label among the highest scores.
        c_d: how late the move sets in; the paper tunes it by data set.

    Example:
        >>> beta_parameters(1.0, 0.4, 4.0), beta_parameters(0.1, 0.4, 4.0)[1] < 4
        ((7.0, 9.0), True)
    """
    b = CONCENTRATION * (1.0 - anchor) * (1.0 - (1.0 - keep) ** c_d)
    return CONCENTRATION + 1.0 - b, b


@selection_rule(
    "dual",
    needs=("scores", "trace"),
    extra=("confidence",),
    when="The DUAL score of the first part of training is at hand: good from much kept to very little, early.",
    fails="Scores other than DUAL; traces so short that the spread of the probability is noise.",
    source="DUAL: Cho, Shin, Kang, Yun 2025",
    options={
        "c_d": "how late the move to easy examples sets in as less is kept, default 4; tuned by data set"
    },
)
def dual(pool: Pool, size: int, generator: np.random.Generator, *, c_d: float = 4.0) -> Rows:
    """Draw without replacement with weights `score * Beta(a, b).pdf(confidence)`.

    The hardness is the DUAL score, 0 or more; `extra["confidence"]` is the mean probability of the label over
    the same epochs. The draw is the exponential race (Gumbel keys), which equals drawing one by one.
    """
    scores = pool.scores().astype(np.float64, copy=False)
    confidence = pool.extra["confidence"].astype(np.float64, copy=False)
    if confidence.shape != scores.shape:
        raise BadInputError(f"confidence has shape {confidence.shape}: give one mean probability an example.")
    limits = (("hardness (the DUAL score)", scores, np.inf), ("confidence", confidence, 1.0))
    for name, column, high in limits:
        if (wrong := np.flatnonzero((column < 0) | (column > high) | ~np.isfinite(column))).size:
            raise BadInputError(
                f"Rule 'dual': {name} is {column[wrong[0]]} for id {pool.ids[wrong[0]]}; it must lie between 0 "
                f"and {high}."
            )
    if not c_d > 0:
        raise BadInputError(f"c_d is {c_d}: give a number above 0.")
    highest = hardest_rows(scores, min(ANCHORS, len(pool)))
    a, b = beta_parameters(size / len(pool), float(confidence[highest].mean()), c_d)
    # In logarithms nothing underflows, and an example of weight zero comes last instead of never.
    keys = np.log(np.maximum(scores, np.finfo(np.float64).tiny))
    keys += (a - 1.0) * np.log(np.maximum(confidence, 1e-12))
    keys += (b - 1.0) * np.log1p(-np.minimum(confidence, 1.0 - 1e-12))
    keys += generator.gumbel(size=len(pool))
    return hardest_rows(keys, size)


def mixture(hardness_by_name: Mapping[str, ArrayLike], weights: Mapping[str, float] | None = None) -> Floats:
    """Weighted mean of the ranks of several scores: a new hardness in [0, 1], 1 the hardest.

    Each score is replaced by its rank divided by n - 1 (equal scores share the mean of their ranks), then
    averaged with the weights. A negative weight turns a score round.

    Args:
        hardness_by_name: scores by name, each of shape (n,), higher = harder, rows alike.
        weights: by name; all names, not all zero. Equal where not given.

    Returns:
        float64, shape (n,).

    Raises:
        BadInputError: no scores, unequal lengths, NaN, or weights that do not fit the names.

    Source:
        ours.

    Example:
        >>> mixture({"el2n": [0.1, 0.2, 0.9], "forgetting": [0, 5, 5]}).tolist()
        [0.0, 0.625, 0.875]
    """
    if not hardness_by_name:
        raise BadInputError("There are no scores to mix: give at least one.")
    chosen = dict.fromkeys(hardness_by_name, 1.0) if weights is None else dict(weights)
    if missing := sorted(set(hardness_by_name) ^ set(chosen)):
        raise BadInputError(
            f"Scores and weights do not name the same: {missing[0]!r} is in one only. Give each score one weight."
        )
    total = sum(abs(weight) for weight in chosen.values())
    if not np.isfinite(total) or total == 0:
        raise BadInputError(
            f"The weights {chosen} do not add up to anything: give finite ones, not all zero."
        )
    parts: list[Floats] = []
    for name, values in hardness_by_name.items():
        scores = np.asarray(values)
        if scores.ndim != 1 or (parts and len(scores) != len(parts[0])):
            raise BadInputError(f"Score {name!r} has shape {scores.shape}: give all scores the same length.")
        if (missing_rows := np.flatnonzero(np.isnan(scores))).size:
            raise BadInputError(
                f"Score {name!r} is NaN in {len(missing_rows)} rows, first row {missing_rows[0]}."
            )
        rank = (stats.rankdata(scores) - 1.0) / max(1, len(scores) - 1)
        parts.append((rank if chosen[name] >= 0 else 1.0 - rank) * (abs(chosen[name]) / total))
    return sum(parts[1:], start=parts[0])
