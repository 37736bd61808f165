"""The data of a command, with what is to be known of it, and that of a score table, loaded again as it was."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from datadiet.data import Examples, load
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import unknown
from datadiet.foundation.progress import ProgressDisplay
from datadiet.pages.text import printable
from datadiet.scores import ScoreTable


def read_examples(
    source: Any, load_options: Mapping[str, Any] | None = None, display: ProgressDisplay | None = None
) -> Examples:
    """`datadiet.load` as every command does it: what is to be known of the data is said.

    Args:
        source: anything that `datadiet.load` takes; `Examples` are given back, whoever made them knows their notes.
        load_options: its further arguments.
        display: where it is said; None for silence.

    Raises:
        BadInputError: the data cannot be loaded.
    """
    if isinstance(source, Examples):
        return source
    display = display or ProgressDisplay(enabled=False)
    display.mention(f"Reading {printable(str(source))}")
    examples = load(source, **_known(load_options or {}))
    for note in examples.notes:
        display.say(note)
    return examples


def _known(load_options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `datadiet.load`, each of which it has.

    Raises:
        BadInputError: there is no such argument.
    """
    names = [name for name in inspect.signature(load).parameters if name != "source"]
    for name in load_options:
        if name not in names:
            raise unknown("load option", name, names)
    return dict(load_options)


def loading_facts(examples: Examples, load_options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a table's provenance says of how its data was loaded.

    Args:
        examples: the data.
        load_options: arguments of `datadiet.load`; those that are no plain data are not remembered.

    Returns:
        `load_options`, and `left_out`: ids of bad examples of the train part that were skipped.
    """
    plain = {}
    for name, value in (load_options or {}).items():
        with suppress(TypeError):
            json.dumps(value)
            plain[name] = value
    return {"load_options": plain, "left_out": [int(id_) for id_ in examples.left_out]}


def load_again(
    facts: Mapping[str, Any],
    source: Any = None,
    load_options: Mapping[str, Any] | None = None,
    display: ProgressDisplay | None = None,
) -> Examples:
    """The data of a table.

    Args:
        facts: the table's provenance.
        source: the data, when it has moved; None for the source that the table names.
        load_options: arguments of `datadiet.load` that go before those remembered.
        display: as for `read_examples`.

    Raises:
        BadInputError: the data cannot be loaded.
    """
    options = {**facts.get("load_options", {}), **(load_options or {})}
    if facts.get("holdout_seed") is not None:
        options.setdefault("holdout_seed", facts["holdout_seed"])
    if source is None and facts.get("source") is None:
        raise BadInputError("This score table does not say where its data is; give the data with --source.")
    return read_examples(source if source is not None else facts["source"], options, display)


def data_of_table(
    table: ScoreTable,
    source: Any = None,
    load_options: Mapping[str, Any] | None = None,
    display: ProgressDisplay | None = None,
) -> Examples:
    """The data that a table was made from, and no other.

    Args:
        table: scores; one made from logits is held against the data's labels.
        source: as for `load_again`.
        load_options: as for `load_again`.
        display: as for `read_examples`.

    Raises:
        BadInputError: the data cannot be loaded, or the table was made from other data.
    """
    examples = load_again(table.provenance, source, load_options, display)
    table.check_data(examples.fingerprint, labels_by_id(examples))
    return examples


def labels_by_id(examples: Examples) -> np.ndarray:
    """The labels of the train part by id, int64; -1 where there is no example."""
    train = examples.train
    labels = np.full(int(train.ids[-1]) + 1, -1, dtype=np.int64)
    labels[train.ids] = train.labels
    return labels
