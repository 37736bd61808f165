"""Which files of a folder are data, and of which part: tables and tar shards, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from datadiet.data.sources.exported import beside_the_data
from datadiet.data.sources.shards import is_shard
from datadiet.data.sources.tables import table_format
from datadiet.foundation.errors import BadInputError

Parts = dict[str, list[Path]]
_TRAIN_WORDS = ("train", "training")
# In the order of preference: a test part with hidden labels gives way to a validation part.
TEST_WORDS = ("test", "testing", "validation", "valid", "val", "dev", "eval")


def find_parts(folder: Path) -> Parts:
    """Table files of a folder (or of its `data` folder) by part: "train", "test", ...; none if there are none.

    Raises:
        BadInputError: the files belong to several data sets, or there is no train part.
    """
    files = _tables_in(folder) or _tables_in(folder / "data")
    groups: dict[str, dict[str, list[Path]]] = {}
    for file in files:
        part, rest = _part_of_name(file)
        groups.setdefault(part, {}).setdefault(rest, []).append(file)
    stems = sorted({rest for part in groups.values() for rest in part})
    if len(stems) > 1 and any(len(part) > 1 for part in groups.values()):
        raise BadInputError(
            f"'{folder}' holds several data sets ({', '.join(stems[:6])}); give the file of one, "
            "or a folder with one train and one test file."
        )
    parts = {part: next(iter(group.values())) for part, group in groups.items()}
    return _with_train_part(parts, folder, files, "file")


def _tables_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    no_data = beside_the_data(folder)
    files = [f for f in folder.iterdir() if f.is_file() and table_format(f)]
    return sorted(f for f in files if not f.name.startswith((".", "_")) and f.name not in no_data)


def find_shards(folder: Path) -> Parts:
    """Shards of a folder by part ("train", "test", ...), in the order of their names; none if there are none.

    Raises:
        BadInputError: there is no train part.
    """
    files = sorted(f for f in folder.iterdir() if f.is_file() and is_shard(f) and not f.name.startswith("."))
    parts: Parts = {}
    for file in files:
        parts.setdefault(_part_of_name(file)[0], []).append(file)
    return _with_train_part(parts, folder, files, "shard")


def _with_train_part(parts: Parts, folder: Path, files: Sequence[Path], what: str) -> Parts:
    """Parts in which files that name no part are the train part if no others are."""
    if "train" not in parts and "all" in parts:
        parts["train"] = parts.pop("all")
    if files and "train" not in parts:
        raise BadInputError(f"'{folder}' has no train {what} among {', '.join(f.name for f in files[:6])}.")
    return parts


def _part_of_name(file: Path) -> tuple[str, str]:
    """The part that a file name tells, and the rest of the name without its shard numbers."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", file.name.lower()) if word]
    part = "all"
    for word in words:
        plain = re.sub(r"\d+k?$", "", word)
        if plain in (*_TRAIN_WORDS, *TEST_WORDS):
            part = "train" if plain in _TRAIN_WORDS else plain
            words.remove(word)
            break
    rest = [re.sub(r"\d+$", "", word) for word in words if not word.isdigit() and word not in ("of", "gz")]
    return part, " ".join(rest)
