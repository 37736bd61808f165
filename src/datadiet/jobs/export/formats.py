"""What every format is asked and answers: the labels it can hold, and what it gives back once written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datadiet.data import Examples
from datadiet.data.examples import IGNORED, TAG_TASKS, require_classification
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.columns import LabelColumn
from datadiet.jobs.export.origin import Origin
from datadiet.jobs.export.plan import Plan

_INSTEAD = "export it to parquet, datasets, jsonl or webdataset"


def check_format(examples: Examples, label: LabelColumn, format: str) -> None:
    """Refuse a format that cannot say what the labels of these examples are.

    Args:
        examples: the data.
        label: its label column.
        format: what is written; where the source's own is, the form of the source.

    Raises:
        BadInputError: lists, numbers or untagged words where the format has no place for them.
    """
    if format == "cleanlab":
        require_classification(examples, "The export for cleanlab", "choose another --format")
    if format in ("imagefolder", "fiftyone") and examples.kind == "image" and not label.has_classes:
        raise BadInputError(
            f"The format {format} has one class an image, and '{examples.name}' is of the task "
            f"'{examples.task}'; {_INSTEAD}."
        )
    if format == "csv" and examples.task == "multilabel":
        raise BadInputError(f"CSV has no lists, and '{label.name}' holds lists of labels; {_INSTEAD}.")
    if examples.task in TAG_TASKS:
        _check_tags(examples, label, format)


def _check_tags(examples: Examples, label: LabelColumn, format: str) -> None:
    parts = (examples.train, examples.test)
    untagged = any(part.targets is not None and (part.targets.values == IGNORED).any() for part in parts)
    named = label.tags in label.list_names
    if untagged and (format == "csv" or (named and format in ("jsonl", "webdataset"))):
        raise BadInputError(
            f"Some words have no tag ({IGNORED} in column '{label.tags}'), which {format} cannot say of tags with "
            "names; export it to parquet or datasets."
        )
    taken = ("id", "label") if label.has_classes else ("id",)
    if format == "webdataset" and label.tags in taken:
        raise BadInputError(
            f"The column of tags is called '{label.tags}', which means something else in a shard; rename it, or "
            "export it to parquet, datasets or jsonl."
        )


DEFAULT_SHARD_SIZE = 1 << 30


@dataclass(frozen=True, eq=False)
class Job:
    """What a format is given to write.

    Args:
        plan: what stays.
        label: the label column of the source.
        origin: the files of the source, where it has some.
        folder: an empty folder.
        advance: to be called with the number of examples that were written.
        shard_size: bytes that a shard may have.
        keep_formulas: leave texts in CSV as they are that a spreadsheet would run.
    """

    plan: Plan
    label: LabelColumn
    origin: Origin
    folder: Path
    advance: Callable[[int], Any]
    shard_size: int = DEFAULT_SHARD_SIZE
    keep_formulas: bool = False


@dataclass(eq=False)
class Written:
    """Which file holds which example, and what is to be said about it.

    Args:
        files: part -> one path below the folder for each example that stays, or one for all; a part that
            is not written is missing.
        class_folders: class name -> its folder's name, where classes have folders.
        columns_left_out: columns of the source that the format has no place for.
        neutralised: part -> ids of the examples with a text that a spreadsheet would have run as a formula.
        notes: sentences for people.
        keeps_names: whether reading the format again gives class names and their order by itself.
    """

    files: dict[str, list[str] | str] = field(default_factory=dict)
    class_folders: dict[str, str] = field(default_factory=dict)
    columns_left_out: tuple[str, ...] = ()
    neutralised: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    keeps_names: bool = False
