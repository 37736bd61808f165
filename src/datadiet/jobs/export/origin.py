"""The files that a source consists of, found again as they were when it was loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datadiet.data import Examples
from datadiet.data.sources.files import TEST_WORDS, find_parts, find_shards, is_shard, table_format
from datadiet.data.sources.folders import image_files, part_folders
from datadiet.foundation.errors import BadInputError

Form = Literal["parquet", "csv", "json", "imagefolder", "datasets", "memory", "webdataset"]


@dataclass(frozen=True)
class Origin:
    """Where the rows of a data set lie.

    Args:
        form: of the source: which format "same" is.
        paths: files and folders that were read.
        files: part -> its table files in order, or the images in the order of their ids. The test part is
            missing where it was held out of the train part; all are where they cannot be told any more.
        roots: part -> the folder that the class folders of an image folder lie in.
    """

    form: Form
    paths: tuple[Path, ...] = ()
    files: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    roots: dict[str, Path] = field(default_factory=dict)

    def files_of(self, part: str) -> tuple[Path, ...]:
        """The files with the rows of a part; a held-out part lies in those of the train part."""
        return self.files.get(part, self.files.get("train", ()))


def origin_of(examples: Examples, test: Any = None) -> Origin:
    """The files of a source.

    Args:
        examples: the data.
        test: the second source that its test part was loaded from, if one was given.
    """
    path = Path(examples.source).expanduser()
    if examples.source == "digits" or not path.exists():
        return Origin("memory", _existing(test))
    found = _of_path(path)
    if test is not None:
        other = _of_path(Path(test).expanduser()) if isinstance(test, str | Path) else Origin("memory")
        paths = (*found.paths, *_existing(test))
        files, roots = dict(found.files), dict(found.roots)
        if other.form == found.form and "train" in other.files:
            files["test"] = other.files["train"]
            roots |= {"test": other.roots["train"]} if "train" in other.roots else {}
            return Origin(found.form, paths, files, roots)
        return Origin(found.form, paths)
    if examples.holdout_seed is None and found.files and "test" not in found.files:
        return Origin(found.form, found.paths)  # the test part came from somewhere that is not known here
    return found


def _of_path(path: Path) -> Origin:
    if path.is_file() and is_shard(path):
        return Origin("webdataset", (path,), {"train": (path,)})
    if path.is_file():
        return _tables(path, {"train": [path]})
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return Origin("datasets", (path,))
    parts = find_parts(path)
    if parts:
        test = next((parts[word] for word in TEST_WORDS if word in parts), None)
        return _tables(path, {"train": parts["train"]} | ({"test": test} if test else {}))
    shards = find_shards(path)
    if shards:
        test = next((shards[word] for word in TEST_WORDS if word in shards), None)
        found = {"train": shards["train"]} | ({"test": test} if test else {})
        return Origin("webdataset", (path,), {part: tuple(files) for part, files in found.items()})
    train, held = part_folders(path)
    roots = {"train": train} | ({"test": held} if held is not None else {})
    images = {part: tuple(image_files(root)) for part, root in roots.items()}
    return Origin("imagefolder", (path,), images, roots)


def _tables(path: Path, parts: dict[str, list[Path]]) -> Origin:
    forms = {table_format(file) for files in parts.values() for file in files}
    files = {part: tuple(found) for part, found in parts.items()}
    if len(forms) > 1:
        raise BadInputError(f"'{path}' holds tables of several formats; say which to write with --format.")
    form = forms.pop()
    return Origin("parquet" if form == "parquet" else "csv" if form == "csv" else "json", (path,), files)


def _existing(test: Any) -> tuple[Path, ...]:
    if isinstance(test, str | Path) and Path(test).expanduser().exists():
        return (Path(test).expanduser(),)
    return ()
