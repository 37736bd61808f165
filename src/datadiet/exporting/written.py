"""What a format gives back when it has written its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datadiet.exporting.label_column import LabelColumn
from datadiet.exporting.origin import Origin
from datadiet.exporting.plan import Plan

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
