"""What studies of pools share: domains of intents, a labelled base, what a model says of the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datadiet.engine.points import load_weights
from datadiet.engine.runs import Run
from datadiet.engine.training.randomness import derive_seed
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.pool.hypotheses import PoolReading, read_pool
from datadiet.selection import kept_size, select
from datadiet.studies.toolbox.accuracy import accuracy_columns
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.protocol import Row

_SEPARATOR = re.compile(r"[._/#:+ -]")


def domains_of(names: Sequence[str], given: Mapping[str, str] | None = None) -> np.ndarray | None:
    """The domain of each intent as a number, int64 (intents,); None where there are no domains to speak of.

    Without a map an intent's domain is its name up to the first separator, one of ``. _ / # : + -`` or a space,
    after a beginning that all names share is taken off. Where that gives one domain only, or each intent its own,
    there are none.

    Args:
        names: of the intents.
        given: intent -> domain.

    Raises:
        BadInputError: the map lacks an intent.

    Example:
        >>> domains_of(["atis_flight", "atis_flight_time", "atis_airfare"]).tolist()
        [1, 1, 0]
        >>> domains_of(["PlayMusic", "GetWeather"]) is None
        True
    """
    if given is not None:
        missing = [name for name in names if name not in given]
        if missing:
            raise BadInputError(
                f"The map of domains lacks {len(missing)} intents (the first: {missing[0]!r}); name a domain for each."
            )
        said = [given[name] for name in names]
    else:
        starts = {_SEPARATOR.split(name, maxsplit=1)[0] for name in names}
        shared = len(starts) == 1 and all(_SEPARATOR.search(name) for name in names)
        rest = [_SEPARATOR.split(name, maxsplit=1)[1] if shared else name for name in names]
        said = [_SEPARATOR.split(name, maxsplit=1)[0] for name in rest]
    distinct, numbers = np.unique(np.asarray(said, dtype=str), return_inverse=True)
    if given is None and not 1 < len(distinct) < len(names):
        return None
    return numbers.reshape(-1).astype(np.int64)


@dataclass(frozen=True)
class Split:
    """The training part in two.

    Args:
        base: ids of the small labelled part, sorted.
        pool: ids of the others, sorted.
    """

    base: np.ndarray
    pool: np.ndarray


def sizes(context: StudyContext) -> tuple[int, int]:
    """How many examples the base has, and how many are added to it.

    Raises:
        BadInputError: too few for one of each class, or a pool that would not leave a choice.
    """
    train = context.setup.examples.train
    base, picks = (kept_size(len(train), s) for s in (context.scale.base_share, context.scale.pick_share))
    present = len(np.unique(train.labels))
    if base < present:
        raise BadInputError(
            f"A base of {context.scale.base_share:g} of {len(train)} examples has {base}, fewer than the {present} "
            "classes; use more data, or a scale with a larger base."
        )
    if base + 2 * picks > len(train):
        raise BadInputError(f"{len(train)} examples are too few for a base of {base} and {picks} picks.")
    return base, picks


def split_of(context: StudyContext) -> Split:
    """The base, in which every class has its share and at least one example, and the pool; drawn once a seed."""
    size, _ = sizes(context)
    train = context.setup.examples.train
    drawn = derive_seed(context.seed, "pool base", size) % 2**32
    base = select(
        train.ids, None, size, rule="random", labels=train.labels, per_class=True, floor=1, seed=drawn
    )
    return Split(base, np.setdiff1d(train.ids, base, assume_unique=True))


def reading_of(context: StudyContext, run: Run, ids: np.ndarray) -> PoolReading:
    """What the model at the end of a run says of some training examples, without their labels."""
    model, _ = load_weights(context.setup, run, run.total_steps)
    return read_pool(context.setup, model, context.setup.train, ids)


def stacked(correct: Mapping[Any, Sequence[np.ndarray]]) -> dict[Any, np.ndarray]:
    """Arms that were trained seed by seed: key -> bool (seeds, test examples)."""
    return {arm: np.stack(rows) for arm, rows in correct.items()}


def metrics_of(run: Run) -> dict[str, float | None]:
    """The test metrics of a run: its accuracy, and whatever else its task has; None for one that is undefined."""
    assert run.result is not None
    return {"accuracy": float(run.result["accuracy"]), **run.result.get("metrics", {})}


def means_of_arms(rows: Sequence[Row], by: Sequence[str], correct: Mapping[Any, np.ndarray]) -> list[Row]:
    """Means over seeds of the rows that agree in some columns, in the order of their first, and bounds of accuracy.

    Args:
        rows: one a training.
        by: the columns.
        correct: bool (seeds, test examples) by the values of these columns.
    """
    names = [
        name for name in dict.fromkeys(name for row in rows for name in row) if name not in (*by, "seed")
    ]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in by), []).append(row)
    table = []
    for key, members in groups.items():
        found: Row = dict(zip(by, key, strict=True)) | {"seeds": len(members)}
        for name in names:
            values = [row[name] for row in members if row.get(name) is not None]
            if values:
                found[name] = float(np.mean(values))
        accuracy = accuracy_columns(correct[key], correct.values())
        table.append(found | {"low": accuracy["low"], "high": accuracy["high"]})
    return table
