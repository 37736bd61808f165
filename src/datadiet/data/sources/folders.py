"""A folder of images, one sub-folder a class -> its rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import datasets
import pyarrow as pa

from datadiet.data.arrow import dataset_of
from datadiet.data.columns.images import image_structs
from datadiet.data.columns.roles import IMAGE_SUFFIXES
from datadiet.data.origin import Origin
from datadiet.data.sources.exported import ExportedClasses, exported_classes
from datadiet.foundation.errors import BadInputError

_TEST_FOLDERS = ("test", "testing", "val", "validation", "valid", "dev")


def read_image_folder(folder: Path) -> tuple[datasets.Dataset, datasets.Dataset | None, list[str], Origin]:
    """Rows (image, label) of `train/<class>/*` and `test/<class>/*`, or of `<class>/*`, sorted by path.

    Raises:
        BadInputError: there are no class folders with images.
    """
    notes: list[str] = []
    classes = exported_classes(folder)
    train_folder, test_folder = part_folders(folder)
    if test_folder is not None and test_folder.name.lower() != "test":
        notes.append(f"The test part is the folder '{test_folder.name}'.")
    roots = {"train": train_folder} | ({"test": test_folder} if test_folder is not None else {})
    files = {part: tuple(image_files(root, notes)) for part, root in roots.items()}
    rows = {part: _rows(root, files[part], classes) for part, root in roots.items()}
    return rows["train"], rows.get("test"), notes, Origin("imagefolder", (folder,), files, roots)


def part_folders(folder: Path) -> tuple[Path, Path | None]:
    """The folders that the class folders of the train and of the test part lie in."""
    children = {child.name.lower(): child for child in sorted(folder.iterdir()) if child.is_dir()}
    train_folder = next((children[name] for name in ("train", "training") if name in children), None)
    if train_folder is None:
        return folder, None
    return train_folder, next((children[name] for name in _TEST_FOLDERS if name in children), None)


def image_files(folder: Path, notes: list[str] | None = None) -> list[Path]:
    """The images in class folders in the order of their ids.

    Raises:
        BadInputError: there are none.
    """
    notes = [] if notes is None else notes
    files: list[Path] = []
    others = 0
    for class_folder in sorted(c for c in folder.iterdir() if c.is_dir() and not c.name.startswith(".")):
        found = [f for f in class_folder.rglob("*") if f.is_file() and not f.name.startswith(".")]
        images = [f for f in found if f.suffix.lower() in IMAGE_SUFFIXES]
        others += len(found) - len(images)
        if not images:
            notes.append(f"The class folder '{class_folder.name}' in '{folder}' holds no images.")
        files += images
    if not files:
        raise BadInputError(
            f"'{folder}' holds neither table files nor images in class folders; give a folder with "
            "train/<class>/* or <class>/*, or one with .parquet, .csv or .jsonl files."
        )
    if others:
        notes.append(f"{others} files in '{folder}' are no images and are not used.")
    # By code point of the path inside the folder: the same order, so the same ids, on every machine.
    files.sort(key=lambda file: file.relative_to(folder).as_posix())
    return files


def _rows(folder: Path, files: Sequence[Path], classes: ExportedClasses) -> datasets.Dataset:
    paths = [str(file.resolve()) for file in files]
    labels = [file.relative_to(folder).parts[0] for file in files]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    arrays = [image_structs(None, pa.array(paths, pa.string())), pa.array(labels, pa.string())]
    return classes.named(dataset_of(pa.Table.from_arrays(arrays, schema=features.arrow_schema)))
