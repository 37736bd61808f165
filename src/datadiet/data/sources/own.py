"""What lies in a folder of data and is none of it: workspaces, results and files that datadiet wrote itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.foundation.outputs import RESULTS_JSON, WORKSPACE_MARK, is_results, is_workspace

# What a workspace holds beside results, which say so themselves.
_OF_A_WORKSPACE = frozenset({"trainings", "embeddings", "tokens", "studies", "machine.json", WORKSPACE_MARK})
# An export's own files are read by who reads the export.
_OF_AN_EXPORT = frozenset({"manifest.json", "classes.json"})
_HEAD = re.compile(rb"\s*\{\s*\"format\"\s*:\s*\"datadiet-")


def own_names(folder: Path, names: Sequence[str], *, is_root: bool) -> frozenset[str] | None:
    """Which of the names in a folder of data are no data, as datadiet wrote them; None for all of them.

    Args:
        folder: that is looked at.
        names: of what is in it.
        is_root: whether it is what was named as the data; a folder below it may be none of them as a whole.
    """
    there = set(names)
    works = bool(there & {"trainings", WORKSPACE_MARK}) and is_workspace(folder)
    if not is_root and (works or (RESULTS_JSON in there and is_results(folder))):
        return None
    found = {name for name in names if _is_own(folder / name)}
    if works:
        found |= there & _OF_A_WORKSPACE
    return frozenset(found)


def _is_own(path: Path) -> bool:
    """Whether a file was written by datadiet, by what it says of itself."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return path.is_file() and any(
                key.startswith(b"datadiet.") for key in pq.read_metadata(path).metadata or {}
            )
        if suffix == ".json" and path.name not in _OF_AN_EXPORT and path.is_file():
            with path.open("rb") as file:
                return _HEAD.match(file.read(200)) is not None
    except (OSError, pa.ArrowException):
        return False  # whoever reads it says what is wrong with it
    return False
