"""What an exported folder says of itself: which of its files are no data, and what its classes are called."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from datadiet.data.arrow import dataset_of
from datadiet.errors import BadInputError

if TYPE_CHECKING:
    import datasets

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
        written: name of a class folder, or label in a table -> name of the class, of those that differ.
        label_column: of its tables.
    """

    class_names: tuple[str, ...] = ()
    written: dict[str, str] = field(default_factory=dict)
    label_column: str = "label"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as it stands in `classes.json`."""
        return {
            "format": "datadiet-classes",
            "version": 1,
            "class_names": list(self.class_names),
            "written": self.written,
            "label_column": self.label_column,
        }

    def named(self, dataset: datasets.Dataset) -> datasets.Dataset:
        """Rows whose label column of texts says the real class names, in their order where that is known."""
        import datasets

        column = self.label_column
        if not (self.class_names or self.written) or column not in dataset.column_names:
            return dataset
        kind = dataset.data.schema.field(column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return dataset
        labels = dataset.with_format("arrow")[:][column].to_pylist()
        real = [self.written.get(label, label) for label in labels]
        if self.class_names and set(real) - {None} <= set(self.class_names):
            places = {name: index for index, name in enumerate(self.class_names)}
            feature = datasets.ClassLabel(names=list(self.class_names))
            values = pa.array([places.get(name) for name in real], pa.int64())
        elif real != labels:
            feature, values = dataset.features[column], pa.array(real, kind)
        else:
            return dataset
        features = datasets.Features({**dataset.features, column: feature})
        table = dataset.with_format("arrow")[:]
        arrays = [values if name == column else table.column(name) for name in table.column_names]
        return dataset_of(pa.Table.from_arrays(arrays, schema=features.arrow_schema))


def is_export(folder: Path) -> bool:
    """Whether a folder was written by `datadiet export`, by its manifest."""
    return bool(_read(folder / MANIFEST_JSON).get("format") == EXPORT_FORMAT)


def beside_the_data(folder: Path) -> frozenset[str]:
    """Names of the files of an exported folder that are no data; none of any other folder."""
    return _BESIDE_THE_DATA if is_export(folder) else frozenset()


def exported_classes(folder: Path) -> ExportedClasses:
    """What the classes of an exported folder are called; nothing for any other folder.

    Raises:
        BadInputError: its `classes.json` was damaged.
    """
    if not (folder / CLASSES_JSON).is_file() or not is_export(folder):
        return ExportedClasses()
    found = _read(folder / CLASSES_JSON)
    names, written, column = (found.get(key) for key in ("class_names", "written", "label_column"))
    if not (
        _are_texts(names)
        and isinstance(written, dict)
        and _are_texts([*written, *written.values()])
        and isinstance(column, str)
    ):
        raise BadInputError(f"'{folder / CLASSES_JSON}' is damaged; export again, or delete it.")
    assert names is not None
    return ExportedClasses(tuple(names), written, column)


def classes_of_shards(folder: Path) -> ExportedClasses:
    """What the classes of exported tar shards are called: the manifest says it, shards hold no order of names."""
    names = _read(folder / MANIFEST_JSON).get("class_names") if is_export(folder) else None
    return ExportedClasses(tuple(names) if names is not None and _are_texts(names) else ())


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _read(path: Path) -> dict[str, Any]:
    """A JSON object of a small file; empty if it is something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
