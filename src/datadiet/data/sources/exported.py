"""What an exported folder says of itself: its classes and columns, and which of its files are no data."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.data.arrow import is_text, whole_column, with_column
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.parsing import parse_json

EXPORT_FORMAT = "datadiet-export"
MANIFEST_JSON = "manifest.json"
MANIFEST_TABLE = "manifest.parquet"
CLASSES_JSON = "classes.json"
_BESIDE_THE_DATA = frozenset({MANIFEST_JSON, MANIFEST_TABLE, CLASSES_JSON})


@dataclass(frozen=True)
class ExportedClasses:
    """What the classes of an export are called.

    Args:
        class_names: all of them in their order, where the source fixed one; else empty.
        renamed: name of a class folder, or label in a table -> name of the class, of those that differ.
        label_column: of its tables.
        columns: name in its tables -> name of the column, of those that differ.
        own_columns: columns of its tables that the export put there, and that are none of the data.
    """

    class_names: tuple[str, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)
    label_column: str = "label"
    columns: dict[str, str] = field(default_factory=dict)
    own_columns: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as it stands in `classes.json`."""
        head = {"format": "datadiet-classes", "version": 1, "class_names": list(self.class_names)}
        return {**head, "written": self.renamed, "label_column": self.label_column, "columns": self.columns}

    def named(self, dataset: datasets.Dataset) -> datasets.Dataset:
        """The columns under their real names, and the label column with the real class names.

        The names have their order where that is known.
        """
        if own := [name for name in self.own_columns if name in dataset.column_names]:
            dataset = dataset.remove_columns(own)
        if there := {name: real for name, real in self.columns.items() if name in dataset.column_names}:
            dataset = dataset.rename_columns(there)
        column = self.label_column
        if not (self.class_names or self.renamed) or column not in dataset.column_names:
            return dataset
        kind = dataset.data.schema.field(column).type
        array = whole_column(dataset, column)
        if pa.types.is_boolean(kind):
            array = pc.if_else(array, "True", "False")
        elif pa.types.is_integer(kind):
            array = array.cast(pa.string())
        elif not is_text(kind):
            return dataset
        labels = array.to_pylist()
        real = [self.renamed.get(label, label) for label in labels]
        if self.class_names and set(real) - {None} <= set(self.class_names):
            places = {name: index for index, name in enumerate(self.class_names)}
            feature = datasets.ClassLabel(names=list(self.class_names))
            values = pa.array([places.get(name) for name in real], pa.int64())
        elif real != labels and is_text(kind):
            feature, values = dataset.features[column], pa.array(real, kind)
        else:
            return dataset
        return with_column(dataset, column, values, feature)


def is_export(folder: Path) -> bool:
    """Whether a folder was written by `datadiet export`, by its manifest.

    Raises:
        BadInputError: it was, and the manifest is damaged.
    """
    return _manifest(folder).get("format") == EXPORT_FORMAT


def beside_the_data(folder: Path) -> frozenset[str]:
    """Names of the files of an exported folder that are no data; none of any other folder."""
    return _BESIDE_THE_DATA if is_export(folder) else frozenset()


def exported_classes(folder: Path) -> ExportedClasses:
    """What the classes of an exported folder are called; nothing for any other folder.

    Raises:
        BadInputError: its `classes.json` was damaged.
    """
    path = folder / CLASSES_JSON
    if not path.is_file() or not is_export(folder):
        return ExportedClasses()
    found = _object(path) or {}
    names, renamed, column = (found.get(key) for key in ("class_names", "written", "label_column"))
    columns = found.get("columns", {})  # earlier exports renamed no columns
    if isinstance(renamed, dict) and isinstance(columns, dict):
        told = [*renamed, *renamed.values(), *columns, *columns.values(), column]
        if _are_texts(names) and _are_texts(told):
            return ExportedClasses(tuple(names or ()), renamed, str(column), columns)
    raise BadInputError(f"'{path}' is damaged; export again, or delete it.")


def classes_of_shards(folder: Path) -> ExportedClasses:
    """What exported tar shards are to be read as: the manifest says it, shards hold no order of names.

    Raises:
        BadInputError: the manifest is damaged.
    """
    found = _manifest(folder)
    names = found.get("class_names")
    if found.get("format") != EXPORT_FORMAT or names is None:
        return ExportedClasses()
    column, own = found.get("label_column_written", "label"), found.get("own_columns", [])
    if not _are_texts(names) or not _are_texts([column]) or not _are_texts(own):
        raise _damaged(folder / MANIFEST_JSON)
    return ExportedClasses(tuple(names), label_column=column, own_columns=tuple(own))


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an exported folder; empty where a folder has none, or a file of that name that is another's."""
    path = folder / MANIFEST_JSON
    found = _object(path)
    if found is None:
        with suppress(OSError):
            if EXPORT_FORMAT.encode() in path.read_bytes():
                raise _damaged(path)
        return {}
    return found


def _damaged(path: Path) -> BadInputError:
    return BadInputError(f"'{path}' is damaged; export again.")


def _object(path: Path) -> dict[str, Any] | None:
    """A JSON object of a small file; None if it is something else."""
    try:
        found = parse_json(path.read_bytes(), f"'{path}'")
    except (OSError, BadInputError):
        return None
    return found if isinstance(found, dict) else None
