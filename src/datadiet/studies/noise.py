"""The same data with some labels made wrong, on a bench of its own."""

from __future__ import annotations

from datadiet.data import corrupt
from datadiet.data.corruption import Corrupted
from datadiet.errors import BadInputError
from datadiet.studies.bench import Workbench


def with_wrong_labels(bench: Workbench) -> tuple[Workbench, Corrupted]:
    """A bench on the data with the scale's share of training labels made wrong, and which they are.

    Every study draws the same wrong labels (symmetric, by the bench's seed), so that they share the runs.

    Raises:
        BadInputError: there are too few examples for a single wrong label.
    """
    corrupted = corrupt(bench.setup.examples, bench.scale.noise, "symmetric", seed=bench.seed)
    count, size = int(corrupted.mask.sum()), len(corrupted.mask)
    if not 0 < count < size:
        raise BadInputError(
            f"{bench.scale.noise:g} of {size} training labels are {count}: no wrong labels beside right ones; "
            "use more data."
        )
    said = f"Wrong labels: {count:,} of {size:,}, drawn once, evenly over examples and other classes."
    if said not in bench.notes:
        bench.notes.append(said)
    return bench.on(corrupted.examples), corrupted
