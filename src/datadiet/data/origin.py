"""Where the rows of a data set lie: what was read, so that it need not be found a second time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Origin:
    """Where the rows of a data set lie.

    Args:
        form: the format of the source, by the name that it is exported by: "parquet", "csv", "jsonl", "webdataset",
            "imagefolder", or "datasets" for all that is in memory or was saved by `datasets`; "mixed" where tables
            are of several formats.
        paths: files and folders that were read.
        files: part -> its table files in order, or the images in the order of their ids. The test part is
            missing where it was held out of the train part; all are where they cannot be told.
        roots: part -> the folder that the class folders of an image folder lie in.
        columns: column -> what its files call it, of those that are called otherwise there.

    >>> Origin("csv", files={"train": (Path("a.csv"),)}).files_of("test")
    (PosixPath('a.csv'),)
    """

    form: str = "datasets"
    paths: tuple[Path, ...] = ()
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    roots: Mapping[str, Path] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    def files_of(self, part: str) -> tuple[Path, ...]:
        """The files with the rows of a part; a held-out part lies in those of the train part."""
        return self.files.get(part, self.files.get("train", ()))

    def with_test(self, other: Origin) -> Origin:
        """That of this train part with the train part of another origin as its test part."""
        paths = (*self.paths, *other.paths)
        if other.form != self.form or "train" not in other.files or "train" not in self.files:
            return Origin(self.form, paths)
        roots = {
            part: origin.roots["train"] for part, origin in (("train", self), ("test", other)) if origin.roots
        }
        return Origin(self.form, paths, {"train": self.files["train"], "test": other.files["train"]}, roots)
