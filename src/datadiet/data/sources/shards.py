"""WebDataset shards (tar) -> `datasets.Dataset`."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from datadiet.data.arrow import dataset_of
from datadiet.data.columns.roles import IMAGE_SUFFIXES
from datadiet.data.sources.tables import too_large
from datadiet.foundation.errors import BadInputError

_SUFFIXES = (".tar", ".tar.gz", ".tgz")


def is_shard(path: Path) -> bool:
    """Whether a file is a tar archive, by its name.

    >>> is_shard(Path("train-000000.tar")), is_shard(Path("train.parquet"))
    (True, False)
    """
    return path.name.lower().endswith(_SUFFIXES)


def read_shards(paths: Sequence[Path]) -> datasets.Dataset:
    """One data set from shards in the order given: a row for each run of files of one key.

    `image` is the encoded image, `text` a `.txt`, `features` a `.npy`; `label` is the label of the `.json`,
    or else the `.cls`; other values of the `.json` are further columns.

    Raises:
        BadInputError: a shard cannot be read, or its samples do not have the same columns.
    """
    if too_large(paths):
        # The sizes and times name the cache: changed shards are read again.
        known = tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
        features = _features(_table(list(islice(_samples(paths), 1000)), paths))
        given = {"known": known, "columns": tuple(features)}
        return datasets.Dataset.from_generator(_known_rows, gen_kwargs=given, features=features)
    table = _table(list(_samples(paths)), paths)
    features = _features(table)
    return dataset_of(table.cast(features.arrow_schema), features)


def _known_rows(known: Sequence[Sequence[Any]], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for row in _samples([Path(path) for path, _, _ in known]):
        yield {name: row.get(name) for name in columns}


def _table(rows: Sequence[dict[str, Any]], paths: Sequence[Path]) -> Any:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        raise BadInputError(
            f"'{paths[0]}' holds no samples; give shards with files such as 000.jpg and 000.cls."
        )
    columns = {}
    for name in names:
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, TypeError) as error:
            raise BadInputError(
                f"The samples of '{paths[0].parent}' do not agree on what '{name}' is; give them one type."
            ) from error
    return pa.table(columns)


def _features(table: Any) -> Any:
    features = datasets.Features.from_arrow_schema(table.schema)
    if "image" in features and pa.types.is_struct(table.schema.field("image").type):
        features["image"] = datasets.Image()
    return features


def _samples(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The rows of shards, one after another."""
    for path in paths:
        try:
            with tarfile.open(path, "r|*") as archive:
                for _, members in groupby(_members(archive), key=lambda member: member[0]):
                    yield _row({suffix: content for _, suffix, content in members}, path)
        except (tarfile.TarError, OSError, EOFError) as error:
            reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
            raise BadInputError(
                f"'{path}' cannot be read as a tar archive: {reason}; check the file."
            ) from error


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    """Key, suffix and content of each file; the key is the name up to the first dot of its last part."""
    for member in archive:
        name = PurePosixPath(member.name)
        if not member.isfile() or name.name.startswith((".", "__")) or "." not in name.name:
            continue
        file = archive.extractfile(member)
        assert file is not None
        stem, suffix = name.name.split(".", 1)
        yield str(name.with_name(stem)), suffix.lower(), file.read()


def _row(members: dict[str, bytes], path: Path) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if "json" in members:
        try:
            about = json.loads(members["json"])
        except ValueError as error:
            raise BadInputError(f"A .json of '{path}' cannot be read: {error}; mend it.") from error
        row.update(about if isinstance(about, dict) else {"label": about})
    for suffix, content in members.items():
        if f".{suffix}" in IMAGE_SUFFIXES:
            row["image"] = {"bytes": content, "path": None}
        elif suffix in ("txt", "text"):
            row["text"] = _text(content, path)
        elif suffix == "npy":
            row["features"] = _vector(content, path)
        elif suffix in ("cls", "cls2", "index", "inx") and "label" not in row:
            label = content.decode("utf-8", "replace").strip()
            row["label"] = int(label) if label.lstrip("-").isdigit() else label
    return row


def _text(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"A .txt of '{path}' is not UTF-8 ({error.reason}); convert its texts."
        ) from error


def _vector(content: bytes, path: Path) -> list[float]:
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
    except ValueError as error:
        raise BadInputError(f"An .npy of '{path}' cannot be read: {error}; mend it.") from error
    return list(np.asarray(found, dtype=np.float64).reshape(-1).tolist())
