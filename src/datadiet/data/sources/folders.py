"""Images in folders -> rows: one sub-folder a class, or a `metadata.csv` that names the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

import datasets
import numpy as np
import pyarrow as pa

from datadiet.data.arrow import dataset_of, is_text, rows_with, whole_column
from datadiet.data.columns.images import image_structs
from datadiet.data.columns.roles import IMAGE_SUFFIXES, conventional_label
from datadiet.data.origin import Origin
from datadiet.data.sources.exported import ExportedClasses
from datadiet.data.sources.parts import TEST_WORDS, best_named, part_of_folder, parts_of_folders
from datadiet.data.sources.scan import Folder, counted, listed, shown
from datadiet.data.sources.tables import Reading, read_tables, table_format
from datadiet.foundation.errors import BadInputError

METADATA_FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"  # the column of the Hugging Face image-folder convention
# Folders of these names hold images of all classes; a folder called like one of these beside parts is left over.
_NO_CLASSES = frozenset({
    "image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "jpg", "jpeg", "jpegs", "png", "plot",
    "plots", "figure", "figures", "fig", "figs", "mask", "masks", "screenshots", "assets", "doc", "docs",
})  # fmt: skip
_LEFT_OVER = frozenset({
    "unlabeled", "unlabelled", "unsup", "unsupervised", "extra", "sample", "samples", "pred", "predict", "prediction",
    "raw",
})  # fmt: skip


@dataclass
class Rows:
    """The rows of a folder, and what is to be said of them.

    Args:
        train: rows of the train part; `test` those of the test part, if there is one.
        base: the folder that paths in the train part's columns are relative to; `test_base` likewise.
        notes: sentences for people.
        origin: which files were read.
    """

    train: datasets.Dataset
    test: datasets.Dataset | None = None
    base: Path | None = None
    test_base: Path | None = None
    notes: list[str] = field(default_factory=list)
    origin: Origin = field(default_factory=Origin)


@dataclass
class ClassFolders:
    """Where the class folders of an image folder lie.

    Args:
        train: the folder that those of the train part lie in, and the folders themselves.
        test: likewise of the test part, if there is one.
        notes: sentences for people.
    """

    train: tuple[Folder, list[Folder]]
    test: tuple[Folder, list[Folder]] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def parts(self) -> dict[str, tuple[Folder, list[Folder]]]:
        """Those of each part."""
        return {"train": self.train} | ({"test": self.test} if self.test is not None else {})

    def proper(self) -> list[str]:
        """Names of the train part's class folders that are not called like folders for images of all classes."""
        return [folder.name for folder in self.train[1] if not _NO_CLASSES & set(_words(folder.name))]


def find_class_folders(folder: Folder) -> ClassFolders | BadInputError | None:
    """The class folders of a folder's parts; None if it has none, an error if two readings fit equally well.

    A part is a folder that is called so and holds class folders. A folder that is called so, but holds images
    directly, as the class folders beside it do, is a class.
    """
    try:
        return _find_class_folders(folder)
    except BadInputError as error:
        return error


def _find_class_folders(folder: Folder) -> ClassFolders | None:
    children = {child.name: child for child in folder.with_images()}
    inner = {name: _class_root(child) for name, child in children.items()}
    holds_classes = {name: bool(root.with_images()) for name, root in inner.items()}
    parts = parts_of_folders(
        list(children), {n: holds_classes[n] and not children[n].images for n in children}
    )
    trains = [name for name, part in parts.items() if part == "train" and holds_classes[name]]
    tests = [name for name, part in parts.items() if part != "train" and holds_classes[name]]
    flat = [name for name in parts if not holds_classes[name]]
    others = [name for name in children if name not in parts]
    if trains:
        train = children[best_named(trains, trains, "train", folder.path)]
        siblings = [n for n in others if children[n].images and not _LEFT_OVER & set(_words(n))]
        if siblings and not tests and not flat:
            raise BadInputError(
                f"The folder {shown(train.name)} in {shown(folder.path)} can be the train part, with "
                f"{listed(_names(inner[train.name].with_images()))} as classes, or a class beside "
                f"{listed(siblings)}; give {shown(inner[train.name].path)} itself, or rename it."
            )
        root = inner[train.name]
        return _with_test(ClassFolders((root, root.with_images())), folder, parts, inner)
    if tests:
        classes = [children[name] for name in children if name not in tests]
        known = {child.name for child in classes}
        if not any(known & set(_names(inner[name].with_images())) for name in tests):
            beside = f", whose classes differ from {listed(sorted(known))}" if known else ""
            raise BadInputError(
                f"{shown(folder.path)} has no train folder beside {listed(tests)}{beside}; give "
                f"{shown(children[tests[0]].path)} itself if that is the data, or call the train part's folder 'train'."
            )
        found = ClassFolders((folder, classes))
        found.notes.append(f"The train part is what lies in {shown(folder.path)} beside {listed(tests)}.")
        return _with_test(found, folder, {name: parts[name] for name in tests}, inner)
    if flat and (not others or len({part_of_folder(name)[0] == "train" for name in flat}) > 1):
        beside = f", beside {listed(others)}" if others else ""
        raise BadInputError(
            f"The folders {listed(flat)} in {shown(folder.path)} are called like parts, but hold images and no class "
            f"folders{beside}; sort their images into folders named after the classes, add a table (such as "
            "train.csv) that names the images and their labels, or rename folders that are classes."
        )
    if not children:
        return None
    found = ClassFolders((folder, list(children.values())))
    for name in flat:
        found.notes.append(
            f"The folder {shown(name)} is read as a class, for it holds images directly as {listed(others)} "
            "beside it; move it elsewhere if it is none."
        )
    _refuse_parts_in_classes(folder, found.train[1])
    return found


def _refuse_parts_in_classes(folder: Folder, classes: Sequence[Folder]) -> None:
    for child in classes:
        below = {part_of_folder(sub.name) for sub in child.with_images()}
        if ("train", "") in below and len(below) > 1 and any(part for part, _ in below - {("train", "")}):
            raise BadInputError(
                f"The folders {listed(_names(classes))} in {shown(folder.path)} can be classes that are parted into "
                f"{listed(_names(child.with_images()))} each, or several data sets; arrange classes as "
                "train/<class>/* and test/<class>/*, or give the folder of one data set."
            )


def _class_root(folder: Folder, known: frozenset[str] = frozenset()) -> Folder:
    """The folder that class folders lie in: a lone sub-folder that only repeats a name (`train/train`) is followed."""
    while not folder.images and len(folder.folders) == 1:
        [child] = folder.folders.values()
        if child.name in known or child.images or len(child.with_images()) == 0:
            break
        folder = child
    return folder


def _with_test(
    found: ClassFolders, folder: Folder, parts: dict[str, str], inner: dict[str, Folder]
) -> ClassFolders:
    """With the first of the test parts that has labels, in the order of `TEST_WORDS`."""
    known = frozenset(_names(found.train[1]))
    for word in TEST_WORDS:
        candidates = [folder.folders[name] for name, part in parts.items() if part == word]
        if not candidates:
            continue
        test = best_named(candidates, _names(candidates), word, folder.path)
        root = _class_root(test, known)
        classes = root.with_images()
        if not classes or (len(classes) == 1 and classes[0].name not in known):
            found.notes.append(
                f"The folder {shown(test.name)} ({counted(test.all_images, 'image')}) has no class folders, so no "
                "labels, and is not used."
            )
            continue
        found.test = (root, classes)
        if test.name.lower() != "test":
            found.notes.append(f"The test part is the folder {shown(test.name)}.")
        break
    return found


def read_class_folders(folder: Folder, found: ClassFolders, classes: ExportedClasses) -> Rows:
    """Rows (image, label) of images in class folders, sorted by path.

    Raises:
        BadInputError: a name is no text.
    """
    notes = [*found.notes]
    files: dict[str, tuple[Path, ...]] = {}
    rows: dict[str, datasets.Dataset] = {}
    for part, (root, class_folders) in found.parts.items():
        named = sorted(_images_of(root, class_folders))
        files[part] = tuple(root.path / name for name, _, _ in named)
        rows[part] = _rows(root, named, classes)
        notes += _notes_on(root, class_folders, found)
    roots = {part: root.path for part, (root, _) in found.parts.items()}
    origin = Origin("imagefolder", (folder.path,), files, roots)
    return Rows(rows["train"], rows.get("test"), notes=notes, origin=origin)


def _images_of(root: Folder, classes: Sequence[Folder]) -> list[tuple[str, str, str]]:
    """Path inside the root, real path and class of each image."""
    found: list[tuple[str, str, str]] = []
    skip = len(str(root.path / "x")) - 1
    for class_folder in classes:
        label = class_folder.name
        for folder in class_folder.walk():
            if not folder.images:
                continue
            # By code point of the path inside the folder: the same order, so the same ids, on every machine.
            inside = (folder.path / "x").as_posix()[skip:-1]
            found += [(inside + name, real, label) for name, real in folder.real_images()]
            folder.used.update(folder.images)
    return found


def _rows(root: Folder, named: Sequence[tuple[str, str, str]], classes: ExportedClasses) -> datasets.Dataset:
    try:
        paths = pa.array([real for _, real, _ in named], pa.string())
        labels = pa.array([label for _, _, label in named], pa.string())
    except UnicodeEncodeError as error:
        odd = next(name for name, real, _ in named if not _is_text(real + name))
        raise BadInputError(
            f"The name of {shown(odd)} in {shown(root.path)} is not UTF-8, so no text; rename it."
        ) from error
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    table = pa.Table.from_arrays([image_structs(None, paths), labels], schema=features.arrow_schema)
    return classes.named(dataset_of(table))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _notes_on(root: Folder, classes: Sequence[Folder], found: ClassFolders) -> list[str]:
    """What there is to say on the class folders of a part."""
    notes = []
    parts = [folder for folder, _ in found.parts.values()]
    empty = [
        child.name
        for child in root.folders.values()
        if not child.all_images and not any(part.path.is_relative_to(child.path) for part in parts)
    ]
    if empty:
        one = len(empty) == 1
        notes.append(
            f"The class folder{'' if one else 's'} {listed(empty)} in {shown(root.path)} "
            f"{'holds' if one else 'hold'} no images."
        )
    below = sum(child.all_images - len(child.images) for child in classes)
    if below:
        notes.append(
            f"{counted(below, 'image')} in sub-folders of class folders of {shown(root.path)} "
            f"{'counts' if below == 1 else 'count'} for the class."
        )
    return notes


def read_metadata(folder: Folder, found: ClassFolders | None, reading: Reading) -> Rows | None:
    """Rows of the Hugging Face image-folder convention; None where a folder does not follow it.

    `metadata.csv`, `.jsonl` or `.parquet`, in the folder or in each of its parts, has a row for each image and its
    path, relative to the table, in the column `file_name`.

    Args:
        folder: where to look.
        found: its class folders: they say what the labels are where the metadata does not.
        reading: how tables are read.

    Raises:
        BadInputError: there are two such files, or none of the images is there.
    """
    if not folder.all_images:
        return None
    lone = _metadata_file(folder)
    if lone is not None:
        rows, notes = read_tables([folder.path / lone], reading)
        if not _follows(rows) or (found is not None and label_of(rows, reading) is None):
            return None
        notes = [*notes, *_claim(folder, lone, rows)]
        return _by_part(folder, rows, notes, folder.path / lone)
    tables = {c.name: (c, file) for c in folder.with_images() if (file := _metadata_file(c)) is not None}
    parts = parts_of_folders(list(tables), {})
    trains = [name for name, part in parts.items() if part == "train"]
    if not trains:
        return None
    train, file = tables[best_named(trains, trains, "train", folder.path)]
    rows, notes = read_tables([train.path / file], reading)
    label = label_of(rows, reading)
    if not _follows(rows) or (found is not None and label is None):
        return None
    result = Rows(rows, base=train.path, notes=[*notes, *_claim(train, file, rows)])
    files = {"train": (train.path / file,)}
    for word in TEST_WORDS:
        names = [name for name, part in parts.items() if part == word]
        if not names:
            continue
        test, file = tables[best_named(names, names, word, folder.path)]
        held, notes = read_tables([test.path / file], replace(reading, like=rows.data.schema))
        if not _follows(held) or (label is not None and label not in held.column_names):
            result.notes.append(f"The folder {shown(test.name)} has no labels in its {file} and is not used.")
            continue
        result.test, result.test_base = held, test.path
        files["test"] = (test.path / file,)
        result.notes += [*notes, *_claim(test, file, held)]
        if test.name.lower() != "test":
            result.notes.append(f"The test part is the folder {shown(test.name)}.")
        break
    forms = {_form_of(path) for paths in files.values() for path in paths}
    result.origin = Origin(forms.pop() if len(forms) == 1 else "mixed", (folder.path,), files)
    return result


def _metadata_file(folder: Folder) -> str | None:
    names = [name for name in folder.tables if name.lower() in METADATA_FILES]
    if len(names) > 1:
        raise BadInputError(f"{shown(folder.path)} holds {listed(names)}; leave one of them.")
    return names[0] if names else None


def _follows(rows: datasets.Dataset) -> bool:
    """Whether rows follow the convention: they name files."""
    return FILE_NAME in rows.column_names and is_text(rows.data.schema.field(FILE_NAME).type)


def _claim(folder: Folder, name: str, rows: datasets.Dataset) -> list[str]:
    """Mark a metadata file and the images that it names as used; what there is to say of those that are not there."""
    missing, others = mark_named(folder, whole_column(rows, FILE_NAME).to_pylist())
    where = shown(folder.path / name)
    if rows and len(missing) == len(rows):
        raise BadInputError(
            f"None of the {counted(len(rows), 'file')} that {where} names is there ({listed(missing)}); its column "
            f"'{FILE_NAME}' must hold paths relative to {shown(folder.path)}."
        )
    if others:
        one = len(others) == 1
        raise BadInputError(
            f"{counted(len(others), 'file')} that {where} names {'is no image' if one else 'are no images'} that the "
            f"installed Pillow can read ({listed(others)}); convert {'it' if one else 'them'} to PNG."
        )
    folder.used.add(name)
    if not missing:
        return []
    verb = "is" if len(missing) == 1 else "are"
    return [
        f"{len(missing)} of {counted(len(rows), 'file')} that {where} names {verb} not there ({listed(missing)})."
    ]


def mark_named(folder: Folder, values: Sequence[str | None]) -> tuple[list[str], list[str]]:
    """Mark the files that rows name as used; returns the names of files that are not there, and of no images."""
    missing, others = [], []
    for value in values:
        if not value:
            continue
        found = folder.at(value.removeprefix(f"{folder.real}/"))
        if found is None:
            if not (folder.path / value).is_file():
                missing.append(value)
            continue
        found[0].used.add(found[1])
        if PurePath(value).suffix.lower() not in IMAGE_SUFFIXES:
            others.append(value)
    return missing, others


def label_of(rows: datasets.Dataset, reading: Reading) -> str | None:
    """The column that the label would be read from, if it is named or called as label columns are."""
    if reading.label is not None:
        return reading.label if reading.label in rows.column_names else None
    named = [column for column, feature in rows.features.items() if hasattr(feature, "names")]
    return conventional_label(rows.column_names) or (named[0] if len(named) == 1 else None)


def _by_part(folder: Folder, rows: datasets.Dataset, notes: list[str], file: Path) -> Rows:
    """Rows by the part that their paths tell, where those of all rows do; else all as the train part."""
    told = [_part_of_path(value) for value in whole_column(rows, FILE_NAME).to_pylist()]
    test = next((word for word in TEST_WORDS if word in told), None)
    origin = Origin(_form_of(file), (folder.path,), {"train": (file,)})
    if "train" not in told or test is None:
        return Rows(rows, base=folder.path, notes=notes, origin=origin)
    part = np.array(["" if word is None else word for word in told])
    held = rows_with(rows, np.flatnonzero(part == test))
    notes = [*notes, f"The parts are those that the paths in {shown(file)} tell; the test part is '{test}'."]
    left = int(np.count_nonzero((part != "train") & (part != test)))
    if left:
        verb = "is" if left == 1 else "are"
        notes.append(f"{counted(left, 'row')} of {shown(file)} of other parts or of none {verb} not used.")
    train = rows_with(rows, np.flatnonzero(part == "train"))
    # A part's rows are not those of the file, so they cannot be copied from it by their ids.
    origin = Origin(_form_of(file), (folder.path,))
    return Rows(train, held, folder.path, folder.path, notes, origin)


def _part_of_path(value: str | None) -> str | None:
    """The part that the first folder of a path that is called like one tells."""
    for name in PurePath(value or "").parts[:-1]:
        part, rest = part_of_folder(name)
        if part is not None and not rest:
            return part
    return None


def _form_of(file: Path) -> str:
    return {"parquet": "parquet", "csv": "csv", "json": "jsonl"}[str(table_format(file))]


def _names(folders: Sequence[Folder]) -> list[str]:
    return [folder.name for folder in folders]


def _words(name: str) -> list[str]:
    return part_of_folder(name)[1].split()
