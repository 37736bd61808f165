"""Anything that can be a source -> its train rows and, where it has them, its test rows."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import datasets
import numpy as np

from datadiet.data.columns.raw import RawPart
from datadiet.data.origin import Origin
from datadiet.data.sources.layout import find_place, lacking_labels, origin_of, read_arrows, read_folder
from datadiet.data.sources.objects import from_arrays, from_frame, from_map_style, from_table
from datadiet.data.sources.parts import TEST_WORDS
from datadiet.data.sources.scan import counted, is_archive, is_arrow, listed, shown
from datadiet.data.sources.shards import is_shard, read_shards
from datadiet.data.sources.tables import Reading, read_tables, table_format, with_written
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.names import require_utf8

BUILT_IN = ("digits",)
_AS_FOUND = Reading()
_IN_MEMORY = Origin()
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass
class Source:
    """Rows of a source as they are, before roles are found: `datasets.Dataset`s and where they came from."""

    train: Any
    test: Any | None
    name: str
    source: str
    base: Path | None = None  # the folder that paths in its columns are relative to
    test_base: Path | None = None
    notes: list[str] = field(default_factory=list)
    origin: Origin = field(default_factory=Origin)

    def keep_as_written(self, columns: Sequence[str], reading: Reading) -> None:
        """Have columns that are not used say what their files say: `007` of a CSV file is not 7."""
        for part in ("train", "test"):
            rows, files = getattr(self, part), self.origin.files.get(part, ())
            if rows is not None and files and self.origin.form in ("csv", "mixed"):
                setattr(self, part, with_written(rows, files, reading, columns, self.origin.columns))

    def parts(self) -> tuple[RawPart, ...]:
        """The train part, and the test part where there is one.

        Raises:
            BadInputError: one of them has no rows.
        """
        given = [RawPart("train", self.train, self.base)]
        if self.test is not None:
            given.append(RawPart("test", self.test, self.test_base))
        for part in given:
            if not len(part.dataset):
                raise BadInputError(f"The {part.where} part of '{self.source}' is empty; give it rows.")
        return tuple(given)


def open_source(source: Any, reading: Reading = _AS_FOUND) -> Source:
    """Read a built-in name, a path, a hub id, a data set object or arrays; `reading` says how tables are read.

    Raises:
        BadInputError: it does not exist, cannot be read, or is nothing that can be a source.
    """
    if isinstance(source, str | Path):
        return _open_name(source, reading)
    if isinstance(source, datasets.DatasetDict):
        return _from_splits(source, "dataset", "a datasets.DatasetDict", reading)
    if isinstance(source, datasets.Dataset):
        return Source(source, None, "dataset", "a datasets.Dataset")
    if isinstance(source, datasets.IterableDataset | datasets.IterableDatasetDict):
        raise BadInputError("An iterable data set has no fixed positions; give one that is not streamed.")
    if type(source).__module__.startswith("pandas") and hasattr(source, "columns"):
        rows, notes = from_frame(source)
        return Source(rows, None, "dataframe", "a DataFrame", notes=notes)
    if type(source).__module__.startswith("pyarrow") and hasattr(source, "schema"):
        rows, notes = from_table(source)
        return Source(rows, None, "table", "a pyarrow.Table", notes=notes)
    notes = []
    if isinstance(source, tuple) and len(source) == 2:
        return Source(from_arrays(*source, notes), None, "arrays", "arrays", notes=notes)
    indexed = hasattr(source, "__getitem__") and hasattr(source, "__len__")
    if indexed and not isinstance(source, Mapping | np.ndarray):
        kind = type(source).__name__
        rows = from_map_style(source, notes)
        return Source(rows, None, kind.lower(), f"a torch data set ({kind})", notes=notes)
    raise BadInputError(
        f"A {type(source).__name__} cannot be a source; give a built-in name ({', '.join(BUILT_IN)}), a "
        "path, a hub id, a data set, or a pair of arrays (inputs, labels)."
    )


def _open_name(source: str | Path, reading: Reading) -> Source:
    if source == "digits":
        return _digits()
    require_utf8(source, "source")
    path = Path(source).expanduser()
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:
        raise BadInputError(
            f"{shown(path)} cannot be looked at ({error.strerror}); check the path and its permissions."
        ) from error
    if is_file:
        if is_archive(path.name):
            raise BadInputError(f"{shown(path)} is an archive; unpack it first, and give the folder.")
        if is_arrow(path.name):
            origin = origin_of(path, "arrow", {})
            return Source(read_arrows([path]), None, path.stem, str(path), path.parent, origin=origin)
        if not is_shard(path) and table_format(path) is None:
            raise BadInputError(
                f"'{path}' is no table; give a .parquet, .csv, .tsv, .jsonl, .json or .tar file, or a folder."
            )
        said: list[str] = []
        rows, notes = (
            (read_shards([path], notes=said), said) if is_shard(path) else read_tables([path], reading)
        )
        origin = origin_of(path, "shard" if is_shard(path) else "table", {"train": (path,)})
        return Source(rows, None, path.name.split(".")[0], str(path), path.parent, notes=notes, origin=origin)
    if is_folder:
        return _open_folder(path, reading)
    # What begins with a dot, a slash or a tilde, or has a backslash in it, is no hub id either.
    if isinstance(source, Path) or table_format(path) or not _HUB_ID.fullmatch(source):
        raise BadInputError(f"There is no file or folder '{source}'; check the path.")
    return _open_hub(str(source), reading)


def _open_folder(folder: Path, reading: Reading) -> Source:
    name = folder.resolve().name
    place = find_place(folder)
    if place.is_saved:
        origin = Origin("datasets", (folder,))
        try:
            saved = datasets.load_from_disk(str(place.folder.path))
        except Exception as error:  # whatever a damaged folder leads `datasets` to raise
            raise BadInputError(
                f"{shown(place.folder.path)} cannot be read by datasets: {_first_line(error)}; save it again."
            ) from error
        if isinstance(saved, datasets.DatasetDict):
            return _from_splits(saved, name, str(folder), reading, origin)
        return Source(saved, None, name, str(folder), origin=origin)
    rows = read_folder(place, reading)
    return Source(
        rows.train,
        rows.test,
        name,
        str(folder),
        rows.base,
        rows.test_base,
        notes=rows.notes,
        origin=rows.origin,
    )


def _open_hub(name: str, reading: Reading) -> Source:
    nowhere = f"'{name}' is neither a built-in name ({', '.join(BUILT_IN)}) nor a file or folder here, and"
    cached = Path(datasets.config.HF_DATASETS_CACHE) / name.lower().replace("/", "___")
    if not _hub_in_reach() and not cached.is_dir():
        raise BadInputError(
            f"{nowhere} the Hugging Face hub cannot be reached; check the name or the network."
        )
    try:
        found = datasets.load_dataset(name)
    # The hub's client raises its own, HTTP's and the operating system's errors, by version.
    except Exception as error:
        raise BadInputError(
            f"{nowhere} could not be fetched from the Hugging Face hub ({_first_line(error)}); "
            "check the name or the network."
        ) from error
    if isinstance(found, datasets.DatasetDict):
        return _from_splits(found, name.split("/")[-1], name, reading)
    raise BadInputError(f"'{name}' cannot be streamed as a source; give a data set with fixed rows.")


def _hub_in_reach() -> bool:
    """Whether the hub's address can be looked up: its own client would retry for half a minute."""
    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname, 443)
    except OSError:
        return False
    return True


def _from_splits(
    splits: Any, name: str, source: str, reading: Reading, origin: Origin = _IN_MEMORY
) -> Source:
    """The train and test splits of a `datasets.DatasetDict`."""
    if not splits:
        raise BadInputError(f"{source} holds no splits; give at least a train split.")
    train_name = "train" if "train" in splits else next(iter(splits)) if len(splits) == 1 else None
    if train_name is None:
        raise BadInputError(
            f"{source} has no split 'train' among {', '.join(splits)}; rename one to 'train'."
        )
    notes, test = [], None
    for word in TEST_WORDS:
        if word not in splits or word == train_name or not len(splits[word]):
            continue
        lack = lacking_labels(splits[train_name], splits[word], reading)
        if lack is None:
            test = splits[word]
            if word != "test":
                notes.append(f"The test part is the split '{word}'.")
            break
        notes.append(f"The split '{word}' has no labels and is not used: it {lack}.")
    left = [word for word in splits if word != train_name and splits[word] is not test]
    if left:
        rows = sum(len(splits[word]) for word in left)
        notes.append(
            f"Not used: {counted(rows, 'row')} of the {'split' if len(left) == 1 else 'splits'} {listed(left)}."
        )
    return Source(splits[train_name], test, name, source, notes=notes, origin=origin)


def _digits() -> Source:
    """The 1,797 handwritten digits of scikit-learn, 8x8 grey, from 17 levels to 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return Source(from_arrays(images, digits.target.astype(np.int64)), None, "digits", "digits")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
