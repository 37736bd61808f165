"""What is asked of a command, held against what can be, before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.data import Examples
from datadiet.foundation.atomic import atomic_path
from datadiet.foundation.errors import BadInputError
from datadiet.selection import rule_card, select


def checked_fractions(keep: Sequence[float]) -> list[float]:
    """Kept fractions from largest to smallest, each once.

    Raises:
        BadInputError: one is outside (0, 1], or there is none.

    Example:
        >>> checked_fractions([0.3, 0.7, 0.3])
        [0.7, 0.3]
    """
    for fraction in keep:
        if not 0 < fraction <= 1:
            raise BadInputError(
                f"keep is {fraction:g}; it is the fraction that stays and must be above 0 and at most 1."
            )
    if not keep:
        raise BadInputError("keep is empty; give at least one fraction that stays, such as 0.5.")
    return sorted({float(fraction) for fraction in keep}, reverse=True)


def check_folder(folder: Path) -> None:
    """Raise `BadInputError` unless the folder can be written to, or be made; nothing is made yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise BadInputError(
            f"Nothing can be written to the folder {str(folder)!r}; give another place with --out."
        )


@contextmanager
def new_file(path: str | Path, what: str) -> Iterator[Path]:
    """A temporary path that becomes the file at the end.

    Raises:
        BadInputError: the file cannot be written.
    """
    try:
        with atomic_path(path) as temporary:
            yield temporary
    except OSError as error:
        raise BadInputError(
            f"The {what} {str(path)!r} cannot be written: {error.strerror or error}."
        ) from error


def results_folder(out: str | Path | None, workspace: str | Path, name: str) -> Path:
    """The folder of the results: the one asked for, else one in the workspace; nothing is made yet.

    Raises:
        BadInputError: it cannot be written to.
    """
    folder = Path(out) if out is not None else Path(workspace) / name
    check_folder(folder)
    return folder


def try_rule(
    examples: Examples,
    fractions: Sequence[float],
    rule: str,
    rule_options: Mapping[str, Any],
    seed: int,
    quotas: Mapping[str, Any],
) -> None:
    """Apply the rule to made-up scores: what it refuses, it refuses before anything is trained."""
    train = examples.train
    made_up = np.arange(len(train), dtype=np.float64)
    card = rule_card(rule)
    rule_options = dict(rule_options)
    if card.extra:
        rule_options["extra"] = {name: np.full(len(train), 0.5) for name in card.extra}
    if "embeddings" in card.needs:
        # Only what the rule refuses counts here, so a few examples do, and no search takes long.
        some, labels = (values[:: max(1, len(train) // 256)] for values in (train.ids, train.labels))
        made = np.random.default_rng(0).standard_normal((len(some), 2))
        select(
            some, made_up[: len(some)], 0.5, rule=rule, labels=labels, embeddings=made, seed=0, **rule_options
        )
        rule, rule_options = "random", {}  # which refuses the same quotas
    told = {"labels": train.labels, "seed": seed, **rule_options, **quotas}
    for fraction in fractions:
        select(train.ids, made_up, fraction, rule=rule, **told)
