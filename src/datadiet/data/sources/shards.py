"""WebDataset shards (tar) -> `datasets.Dataset`."""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from datadiet.data.arrow import dataset_of
from datadiet.data.columns.roles import IMAGE_SUFFIXES
from datadiet.data.sources.tables import too_large
from datadiet.foundation.arrays import read_array
from datadiet.foundation.atomic import checksum
from datadiet.foundation.errors import BadInputError

_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")


class _Class(str):
    """A label as it stands in a `.cls`: a number only if all of them are, so that `07` is not taken for `7`."""

    @property
    def is_number(self) -> bool:
        return _WHOLE_NUMBER.fullmatch(self) is not None and self != "-0"


def is_shard(path: Path) -> bool:
    """Whether a file is a tar archive, by its name.

    >>> is_shard(Path("train-000000.tar")), is_shard(Path("train.parquet"))
    (True, False)
    """
    return path.name.lower().endswith(_SUFFIXES)


def read_shards(paths: Sequence[Path], *, notes: list[str] | None = None) -> datasets.Dataset:
    """One data set from shards in the order given: a row for each run of files of one key.

    `image` is the encoded image, `text` a `.txt`, `features` a `.npy`; `label` is the label of the `.json`,
    or else the `.cls`; other values of the `.json` are further columns.

    Args:
        paths: the shards.
        notes: where to say which files of the shards are not used.

    Raises:
        BadInputError: a shard cannot be read, a sample has two files for one column, or the samples do not have
            the same columns.
    """
    unused: Counter[str] = Counter()
    if too_large(paths):
        # The contents name the cache: changed shards are read again.
        known = tuple((str(path), checksum(path)) for path in paths)
        features = _features(_table(list(islice(_samples(paths, unused), 1000)), paths))
        given = {"known": known, "columns": {name: str(feature) for name, feature in features.items()}}
        try:
            rows = datasets.Dataset.from_generator(_known_rows, gen_kwargs=given, features=features)
        except datasets.exceptions.DatasetGenerationError as error:
            reason = error.__cause__ or error
            raise BadInputError(
                f"The samples of '{paths[0].parent}' cannot be read: {' '.join(str(reason).split()).rstrip('.')}."
            ) from error
    else:
        table = _table(list(_samples(paths, unused)), paths)
        features = _features(table)
        rows = dataset_of(table.cast(features.arrow_schema), features)
    if unused and notes is not None:
        shown = ", ".join(f".{suffix}" for suffix, _ in unused.most_common(5))
        notes.append(f"{unused.total():,} files in the shards are of types that are not used ({shown}).")
    return rows


def read_abouts(contents: Sequence[bytes], path: Path) -> Any:
    """The columns that samples have from their `.json` alone, as `read_shards` reads them from a shard.

    >>> read_abouts([b'{"label": "a", "n": 1}', b'{"label": "b", "n": null}'], Path("a.tar")).to_pydict()
    {'label': ['a', 'b'], 'n': [1, None]}
    """
    return _table([_row("", [("json", content)], path, Counter()) for content in contents], [path])


def _known_rows(known: Sequence[Sequence[Any]], columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    numbered = "int" in columns.get("label", "")
    for row in _samples([Path(path) for path, _ in known], Counter()):
        label = row.get("label")
        if isinstance(label, _Class):
            if numbered and not label.is_number:
                raise BadInputError(f"the label '{label}' is no number, as those of the first samples are")
            row["label"] = int(label) if numbered else str(label)
        yield {name: row.get(name) for name in columns}


def _labels(values: list[Any]) -> list[Any]:
    """Labels of `.cls` files as numbers where all of them are, else as they are written."""
    if not any(isinstance(value, _Class) for value in values):
        return values
    if all(
        value is None or (value.is_number if isinstance(value, _Class) else type(value) is int)
        for value in values
    ):
        return [None if value is None else int(value) for value in values]
    return [str(value) if isinstance(value, _Class) else value for value in values]


def _table(rows: Sequence[dict[str, Any]], paths: Sequence[Path]) -> Any:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        raise BadInputError(
            f"'{paths[0]}' holds no samples; give shards with files such as 000.jpg and 000.cls."
        )
    columns = {}
    for name in names:
        try:
            values = [row.get(name) for row in rows]
            columns[name] = _array(_labels(values) if name == "label" else values)
        except (pa.ArrowException, TypeError, OverflowError, UnicodeError) as error:
            raise BadInputError(
                f"The samples of '{paths[0].parent}' do not agree on what '{name}' is; give them one type."
            ) from error
    return pa.table(columns)


def _array(values: list[Any]) -> Any:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, OverflowError):
        # Arrow tries no wider type by itself than the one of the first numbers.
        if all(value is None or (type(value) is int and value >= 0) for value in values):
            return pa.array(values, pa.uint64())
        raise


def _features(table: Any) -> Any:
    features = datasets.Features.from_arrow_schema(table.schema)
    image = table.schema.field("image").type if "image" in features else pa.null()
    if pa.types.is_struct(image) and {field.name for field in image} == {"bytes", "path"}:
        features["image"] = datasets.Image()
    return features


def _samples(paths: Sequence[Path], unused: Counter[str]) -> Iterator[dict[str, Any]]:
    """The rows of shards, one after another; suffixes without a use are counted."""
    for path in paths:
        try:
            with tarfile.open(path, "r|*") as archive:
                for key, members in groupby(_members(archive), key=lambda member: member[0]):
                    yield _row(key, [(suffix, content) for _, suffix, content in members], path, unused)
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


def _row(key: str, members: Sequence[tuple[str, bytes]], path: Path, unused: Counter[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    came_from: dict[str, str] = {}
    for suffix, content in members:
        if suffix == "json":
            try:
                about = json.loads(content)
            except RecursionError as error:
                raise BadInputError(
                    f"A .json of '{path}' cannot be read: it is nested too deeply; mend it."
                ) from error
            except ValueError as error:
                raise BadInputError(f"A .json of '{path}' cannot be read: {error}; mend it.") from error
            row = about if isinstance(about, dict) else {"label": about}
    for suffix, content in members:
        value: Any
        if f".{suffix}" in IMAGE_SUFFIXES:
            column, value = "image", {"bytes": content, "path": None}
        elif suffix in ("txt", "text"):
            column, value = "text", _text(content, path)
        elif suffix == "npy":
            column, value = "features", _vector(content, path)
        elif suffix in ("cls", "cls2", "index", "inx"):
            if "label" not in row:
                row["label"] = _Class(content.decode("utf-8", "replace").strip())
            continue
        else:
            unused.update([suffix] if suffix != "json" else [])
            continue
        if column in came_from:
            raise BadInputError(
                f"The sample '{key}' of '{path}' has two files for '{column}', .{came_from[column]} and .{suffix}; "
                "leave it one of them."
            )
        came_from[column] = suffix
        row[column] = value
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
        found = np.asarray(read_array(content, "It"), dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise BadInputError(
            f"An .npy of '{path}' cannot be read: {str(error).rstrip('.')}; mend it."
        ) from error
    return list(found.reshape(-1).tolist())
