"""Rules that cut the order from hardest to easiest, and the random baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.errors import BadInputError
from datadiet.selection.pool import Pool
from datadiet.selection.registry import selection_rule
from datadiet.selection.sizes import rounded_share


def hardest_rows(hardness: npt.NDArray[Any], size: int) -> npt.NDArray[np.int64]:
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


def window_rows(hardness: npt.NDArray[Any], first: int, last: int) -> npt.NDArray[np.int64]:
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
def hardest(pool: Pool, size: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """The first `size` examples from hardest to easiest; a tie goes to the lower id."""
    return hardest_rows(pool.scores(), size)


@selection_rule(
    "easiest",
    when="Very few examples of a hard or badly labelled data set are kept, or a start for sparse "
    "networks is sought.",
    fails="Much is kept: it drops exactly what the model still has to learn.",
    source="Sorscher et al. 2022; Paul, Larsen et al. 2022",
)
def easiest(pool: Pool, size: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """The last `size` examples of the same order: with `hardest` of the rest it makes up the whole."""
    return window_rows(pool.scores(), len(pool) - size, len(pool))


@selection_rule(
    "window",
    when="Labels are noisy: leave out the very hardest, then keep the hard ones; tune `start` on a "
    "validation part.",
    fails="`start` is not tuned: on clean data it throws away the best examples, and little kept is "
    "still too narrow.",
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
) -> npt.NDArray[np.int64]:
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
            f"The window from {start} to {end} holds {(end - start) * n:.0f} of {n} examples, but "
            f"{size} are to stay: "
            f"leave out end, or set keep to {end - start:.6g}."
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
    when="Always, as the baseline, with a seed of its own for every repetition; hard to beat when "
    "little is kept.",
    fails="Rare classes can vanish (use per_class=True); it cannot tell wrong labels from right ones.",
    source="the baseline of every paper",
)
def random(pool: Pool, size: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """`size` examples without replacement; one seed's smaller choice lies inside its larger one."""
    return generator.permutation(len(pool))[:size]
