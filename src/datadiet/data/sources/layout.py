"""A folder -> its rows: what lies in it is looked at once, then it is told how to read it, or why it cannot be.

Two readings that both fit are refused, and every file that no row came from is counted in a note.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from datadiet.data.arrow import dataset_of, is_text, rows_at, whole_column
from datadiet.data.columns.roles import IMAGE_SUFFIXES
from datadiet.data.origin import Origin
from datadiet.data.sources.exported import beside_the_data, classes_of_shards, exported_classes
from datadiet.data.sources.folders import (
    ClassFolders,
    Rows,
    find_class_folders,
    label_of,
    mark_named,
    read_class_folders,
    read_metadata,
)
from datadiet.data.sources.parts import (
    PARTITION,
    TEST_WORDS,
    File,
    Tables,
    find_tables,
    names_part,
    names_train,
    part_of_folder,
)
from datadiet.data.sources.scan import Folder, Scan, counted, is_archive, leftover_note, listed, scan, shown
from datadiet.data.sources.shards import read_shards
from datadiet.data.sources.tables import Reading, read_tables, table_format
from datadiet.foundation.errors import BadInputError

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass
class Place:
    """What was found of a folder: the tree, and the folder in it that the data lies in."""

    scan: Scan
    folder: Folder

    @property
    def is_saved(self) -> bool:
        """Whether `datasets.load_from_disk` reads it."""
        return _is_saved(self.folder)


def _is_saved(folder: Folder) -> bool:
    return "dataset_dict.json" in folder.names or {"state.json", "dataset_info.json"} <= folder.names


def find_place(path: Path) -> Place:
    """Look at a folder; a lone sub-folder with all data in it is followed, as archives and caches have them.

    Raises:
        BadInputError: a folder cannot be read.
    """
    scanned = scan(path)
    folder = scanned.root
    while (inner := _only_inner(folder)) is not None:
        folder = inner
    return Place(scanned, folder)


def _only_inner(folder: Folder) -> Folder | None:
    """The sub-folder that all data of a folder lies in, if it is only a cover of that."""
    if "snapshots" in folder.folders and {"blobs", "refs"} & folder.folders.keys():  # a cache of the hub
        for name in ("blobs", "refs"):
            _use_all(folder.folders.get(name))
        return folder.folders["snapshots"]
    if _is_saved(folder) or folder.images or folder.shards or folder.arrows:
        return None
    bearing = [c for c in folder.folders.values() if c.all_images or c.all_tables or _is_saved(c)]
    if len(bearing) != 1 or PARTITION.fullmatch(bearing[0].name):
        return None
    [inner] = bearing
    if part_of_folder(inner.name) in [("train", ""), *((word, "") for word in TEST_WORDS)]:
        return None
    if folder.tables:
        # A table that is called like a part is the data; another one is beside it, if it is an image folder.
        if any(names_part(folder.path / name) for name in folder.tables):
            return None
        below, called = inner, [inner.name]
        while (further := _only_inner(below)) is not None:
            below = further
            called.append(below.name)
        found = find_class_folders(below)
        if not isinstance(found, ClassFolders) or len(found.proper()) < 2 or below.tables:
            return None
        parted = found.train[0] is not below or any(part_of_folder(name)[0] == "train" for name in called)
        return inner if parted else None
    if inner.images and not inner.tables:
        return None
    # An empty folder beside it may be a class, as the only other one then is.
    empty = [child for child in folder.folders.values() if not child.all_files]
    return None if inner.all_images and not inner.all_tables and empty else inner


def _use_all(folder: Folder | None) -> None:
    for below in [] if folder is None else folder.walk():
        below.used.update(below.files)


def read_folder(place: Place, reading: Reading) -> Rows:
    """The rows of a folder, and sentences on all that is to be known of them.

    Raises:
        BadInputError: nothing can be read, or there is more than one way to.
    """
    folder, root = place.folder, place.scan.root
    folder.used.update(beside_the_data(folder.path) if "manifest.json" in folder.names else ())
    rows = _read(folder, reading)
    notes = place.scan.notes()
    if folder is not root:
        notes.append(
            f"The data of {shown(root.path)} lies in its folder {shown(folder.path.relative_to(root.path))}."
        )
    leftover = leftover_note(root)
    rows.notes = [*notes, *rows.notes, *([leftover] if leftover else [])]
    return rows


def _read(folder: Folder, reading: Reading) -> Rows:
    classes = find_class_folders(folder)
    found = classes if isinstance(classes, ClassFolders) else None
    proper = [] if found is None else found.proper()
    if (rows := read_metadata(folder, found if len(proper) > 1 else None, reading)) is not None:
        return rows
    own = [
        folder.path / name
        for name in (*folder.tables, *folder.shards, *folder.arrows)
        if name not in folder.used
    ]
    if found is not None and len(proper) > 1:
        return _class_folders_or_tables(folder, found, reading)
    if isinstance(classes, BadInputError):
        beside = bool(own) or any(child.all_tables for child in folder.with_images())
        if not beside or (_holds_classes(folder) and not names_train(own)):
            raise classes
    only_images = proper and not own and "data" not in folder.folders
    tables = None if only_images else find_tables(folder)
    if tables is not None:
        return read_parts(folder, tables, reading)
    if found is not None:
        return read_class_folders(folder, found, exported_classes(folder.path))
    raise _nothing(folder)


def _holds_classes(folder: Folder) -> bool:
    """Whether there are images in folders in the folders of a folder."""
    return any(sub.all_images for child in folder.folders.values() for sub in child.folders.values())


def _class_folders_or_tables(folder: Folder, found: ClassFolders, reading: Reading) -> Rows:
    """Images in class folders; a table that is called like the train part and names the images goes before them."""
    root, classes = found.train
    tables = [name for name in folder.tables if names_part(folder.path / name)]
    if names_train([folder.path / name for name in tables]):
        rows = _rows_that_name_images(folder, reading)
        if rows is not None:
            return rows
    else:
        tables = [
            child.name
            for child in folder.with_tables()
            if not child.all_images and (child.name == "data" or part_of_folder(child.name) == ("train", ""))
        ]
    if not tables:
        return read_class_folders(folder, found, exported_classes(folder.path))
    inside = "move the tables elsewhere"
    if root is not folder:
        test = f" (and --test {shown(found.test[0].path)})" if found.test else ""
        inside = f"give {shown(root.path)} itself{test}"
    raise BadInputError(
        f"{shown(folder.path)} holds images in class folders ({listed([c.name for c in classes])}) and tables "
        f"({listed(tables)}), and either could be the data; give the file itself for the rows of a table, or {inside} "
        "for the images."
    )


def _rows_that_name_images(folder: Folder, reading: Reading) -> Rows | None:
    """The rows of the tables of a folder, if they name images that are there."""
    try:
        tables = find_tables(folder)
        if tables is None:
            return None
        train = _read_files(tables.kind, tables.parts["train"], reading, tables.notes)
    except BadInputError:  # whatever it is that they hold, it is not the names of these images
        return None
    if _path_column(train, tables.bases["train"]) is None:
        return None
    rows = read_parts(folder, tables, reading, train)
    rows.notes.append("Labels are those of the table, not the names of folders.")
    return rows


def _nothing(folder: Folder) -> BadInputError:
    """Why there is nothing to read."""
    archives = [name for below in folder.walk() for name in below.files if is_archive(name)]
    about = [name for name in folder.files if table_format(Path(name)) and name not in folder.tables]
    others = Counter(Path(name).suffix for below in folder.walk() for name in below.files)
    hint = ""
    if archives:
        hint = f" (unpack {listed(archives)} first)"
    elif folder.images:
        hint = f" (its {counted(len(folder.images), 'image')} lie in no class folders)"
    elif about:
        hint = f" ({listed(about)} are about data; give such a file itself to read it)"
    elif others:
        kinds = [f"{n} {shown(suffix)[1:-1] or 'without a suffix'}" for suffix, n in others.most_common(3)]
        hint = f" (of its files, {', '.join(kinds)})"
    return BadInputError(
        f"{shown(folder.path)} holds neither table files nor images in class folders{hint}; give a folder with "
        "train/<class>/* or <class>/*, or one with .parquet, .csv or .jsonl files."
    )


def read_parts(
    folder: Folder, tables: Tables, reading: Reading, train: datasets.Dataset | None = None
) -> Rows:
    """The rows of the train part, and of the first test part that has labels.

    Args:
        folder: that was given.
        tables: its files by part.
        reading: how tables are read.
        train: the rows of the train part, if they are read already.

    Raises:
        BadInputError: a file cannot be read.
    """
    notes = [*tables.notes]
    classes_of = {"shard": classes_of_shards, "table": exported_classes, "arrow": exported_classes}
    classes = classes_of[tables.kind](tables.bases["train"])
    written = {real: name for name, real in classes.columns.items()}
    label = reading.label
    if label is None and (classes.class_names or classes.renamed):
        label = classes.label_column  # an export says which column its classes are of
    reading = dataclasses.replace(reading, label=written.get(str(label), label))
    if train is None:
        train = _read_files(tables.kind, tables.parts["train"], reading, notes)
    result = Rows(classes.named(train), base=tables.bases["train"], notes=notes)
    used = {"train": tables.parts["train"]}
    for word in TEST_WORDS:
        if word not in tables.parts:
            continue
        said: list[str] = []
        like = reading.as_test_of(train)
        test = _read_files(tables.kind, tables.parts[word], like, said)
        if (lack := lacking_labels(train, test, reading)) is not None:
            notes.append(f"{shown(tables.called[word])} {lack} and is not used.")
            continue
        result.test, result.test_base = classes.named(test), tables.bases[word]
        used["test"] = tables.parts[word]
        notes += said
        if not tables.called[word].lower().startswith("test"):
            notes.append(f"The test part is {shown(tables.called[word])}.")
        break
    for file in (file for files in used.values() for file in files):
        file.folder.used.add(file.name)
    _mark_images(folder, result.train, result.base)
    _mark_images(folder, result.test, result.test_base)
    keys = list(dict.fromkeys(key for files in used.values() for file in files for key, _ in file.keys))
    if keys:
        one = len(keys) == 1
        notes.append(
            f"The column{'' if one else 's'} {listed(keys)} {'is' if one else 'are'} what the names of folders say "
            f"({listed(['='.join(pair) for pair in used['train'][0].keys])}, ...)."
        )
    paths = {part: tuple(file.path for file in files) for part, files in used.items()}
    origin = origin_of(folder.path, tables.kind, {} if keys else paths, paths)
    result.origin = dataclasses.replace(origin, columns=written)
    return result


def lacking_labels(train: datasets.Dataset, test: datasets.Dataset, reading: Reading) -> str | None:
    """What a test part lacks that it would need to have labels; None if it has them."""
    tagged = reading.label is None and reading.tags in train.column_names
    label = reading.tags if tagged else label_of(train, reading)
    if label is None:
        return None
    if label not in test.column_names:
        return f"has no column '{label}'"
    return f"has nothing in its column '{label}'" if _labels_hidden(test, label) else None


def _labels_hidden(rows: datasets.Dataset, label: str) -> bool:
    """Whether a label column holds nothing at all, or of class numbers nothing but -1, as in competitions."""
    if not len(rows):
        return False
    if pa.types.is_nested(rows.data.schema.field(label).type):
        return bool(whole_column(rows, label).null_count == len(rows))
    nothing = {None, "", -1} if hasattr(rows.features[label], "names") else {None, ""}
    first = rows_at(rows, [label], slice(0, 1)).column(label).to_pylist()
    if first[0] not in nothing:
        return False
    return set(whole_column(rows, label).unique().to_pylist()) <= nothing


def origin_of(
    path: Path, kind: str, files: dict[str, tuple[Path, ...]], read: dict[str, tuple[Path, ...]] | None = None
) -> Origin:
    """The origin of tables, shards or Arrow files.

    Args:
        path: what was named.
        kind: "table", "shard" or "arrow".
        files: part -> the files that hold its rows and nothing else; none if there is more to the rows.
        read: part -> the files that were read, if these are others.
    """
    if kind == "arrow":
        return Origin("datasets", (path,))
    if kind == "shard":
        return Origin("webdataset", (path,), files)
    forms = {table_format(file) for part in (read or files).values() for file in part}
    form = (
        {"parquet": "parquet", "csv": "csv", "json": "jsonl"}[str(forms.pop())]
        if len(forms) == 1
        else "mixed"
    )
    return Origin(form, (path,), files)


def read_arrows(paths: Sequence[Path]) -> datasets.Dataset:
    """One data set from Arrow files that `datasets` wrote, mapped from where they are.

    Raises:
        BadInputError: one is no such file.
    """
    try:
        pieces = [datasets.Dataset.from_file(str(path)) for path in paths]
        return pieces[0] if len(pieces) == 1 else datasets.concatenate_datasets(pieces)
    except Exception as error:  # whatever damaged files lead `datasets` and Arrow to raise
        raise BadInputError(
            f"{listed(paths)} cannot be read as Arrow files of `datasets`; give the folder that save_to_disk wrote, or "
            "Parquet files."
        ) from error


def _read_files(kind: str, files: Sequence[File], reading: Reading, notes: list[str]) -> datasets.Dataset:
    """The rows of the files of a part, with a column for each key that the folders above them say."""
    paths = [file.path for file in files]
    if kind == "arrow":
        rows = read_arrows(paths)
    elif kind == "shard":
        rows = read_shards(paths, notes=notes)
    else:
        rows, said = read_tables(paths, reading)
        notes += said
    for key in dict.fromkeys(key for file in files for key, _ in file.keys):
        if key in rows.column_names:
            notes.append(f"The column '{key}' is that of the files, not what the names of folders say.")
            continue
        counts = _row_counts(kind, paths, reading, len(rows))
        values = [dict(file.keys).get(key) for file in files]
        said_of = pa.array([None if value == _NO_VALUE else value for value in values], pa.string())
        rows = _with_column(rows, key, said_of.take(pa.array(np.repeat(np.arange(len(files)), counts))))
    return rows


def _row_counts(kind: str, paths: Sequence[Path], reading: Reading, total: int) -> list[int]:
    """How many rows each file has."""
    if len(paths) == 1:
        return [total]
    if all(table_format(path) == "parquet" for path in paths):
        return [parquet.read_metadata(path).num_rows for path in paths]
    if kind == "arrow":
        return [len(read_arrows([path])) for path in paths]
    return [len(read_shards([p]) if kind == "shard" else read_tables([p], reading)[0]) for p in paths]


def _with_column(rows: datasets.Dataset, name: str, values: Any) -> datasets.Dataset:
    if rows.cache_files:
        return datasets.concatenate_datasets([rows, dataset_of(pa.table({name: values}))], axis=1)
    features = datasets.Features({**rows.features, name: datasets.Value("string")})
    return dataset_of(rows.with_format("arrow")[:].append_column(name, values), features)


def _mark_images(folder: Folder, rows: datasets.Dataset | None, base: Path | None) -> None:
    """Images that rows name are used."""
    if rows is None or base is None or not folder.all_images:
        return
    column = _path_column(rows, base)
    if column is not None:
        start = next((below for below in folder.walk() if below.path == base), folder)
        mark_named(start, whole_column(rows, column).to_pylist())


def _path_column(rows: datasets.Dataset, base: Path) -> str | None:
    """The first column whose first rows are the paths of image files that are there."""
    columns: list[str] = rows.column_names
    for column in columns:
        if is_text(rows.data.schema.field(column).type):
            values = rows_at(rows, [column], slice(0, 20))[column].to_pylist()
            present = [value for value in values if value]
            if all(PurePath(value).suffix.lower() in IMAGE_SUFFIXES for value in present) and any(
                (base / value).is_file() for value in present
            ):
                return column
    return None
