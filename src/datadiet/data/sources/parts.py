"""Which files of a folder are data, and of which part, by their names and those of the folders they lie in."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from datadiet.data.sources.scan import Folder, listed, shown
from datadiet.foundation.errors import BadInputError

TRAIN_WORDS = ("train", "training")
# In the order of preference: a test part with hidden labels gives way to a validation part.
TEST_WORDS = (
    "test", "testing", "validation", "valid", "val", "dev", "eval", "evaluation", "holdout"
)  # fmt: skip
_TEST_FILES = TEST_WORDS[:7]  # `model_evaluation.csv` alone is not the test part of something
# Words beside that of a part that tell nothing: `test_set`, `train_images`.
_PLAIN = "set|sets|split|part|data|dataset|images|image|imgs|img|pictures|photos|jpg|jpeg|png|folder|files"
_PART = "|".join(sorted((*TRAIN_WORDS, *TEST_WORDS), key=len, reverse=True))
_JOINED = re.compile(rf"({_PART})(?:{_PLAIN})?")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")
# What tools put into the names of shards to make them unique.
_UNIQUE = re.compile(
    r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?<![a-z0-9])(?=[a-f]*\d)[0-9a-f]{8,}(?![a-z0-9])"
)
# A folder that says a value of all rows below it.
PARTITION = re.compile(r"([^=]+)=(.*)")
_Named = TypeVar("_Named")


@dataclass(frozen=True)
class File:
    """A file with rows, and what the folders above it say of them (`year=2024`)."""

    folder: Folder
    name: str
    keys: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.folder.path / self.name


@dataclass
class Tables:
    """The files of each part of a data set in tables, shards or Arrow files.

    Args:
        kind: "table", "shard" or "arrow".
        parts: part -> its files in order.
        bases: part -> the folder that paths in its columns are relative to.
        notes: sentences for people.
        called: part -> the name that told it.
    """

    kind: str
    parts: dict[str, list[File]]
    bases: dict[str, Path]
    notes: list[str] = field(default_factory=list)
    called: dict[str, str] = field(default_factory=dict)


def part_of_folder(name: str) -> tuple[str | None, str]:
    """The part that a folder's name tells ("train", "test", "val", ...), and what else the name says.

    >>> part_of_folder("training_set"), part_of_folder("seg_train"), part_of_folder("TestImages")
    (('train', ''), ('train', 'seg'), ('test', ''))
    >>> part_of_folder("cat"), part_of_folder("train_val")
    ((None, 'cat'), (None, 'train val'))
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    found = [(place, match[1]) for place, word in enumerate(words) if (match := _JOINED.fullmatch(word))]
    if len(found) != 1:
        return None, " ".join(words)
    [(place, part)] = found
    rest = [word for word in words[:place] + words[place + 1 :] if not re.fullmatch(_PLAIN, word)]
    return ("train" if part in TRAIN_WORDS else part), " ".join(rest)


def parts_of_folders(names: Sequence[str], sure: Mapping[str, bool]) -> dict[str, str]:
    """Name -> part, of the folders beside each other that are parts by their names.

    `seg_train` is one only if `sure` says that it looks like a part, and if there is a `seg_test` of which it says
    so, or nothing but parts: else it is as good a class as `bullet_train`.

    >>> parts_of_folders(["seg_train", "seg_test", "bullet_train"], dict.fromkeys(["seg_train", "seg_test"], True))
    {'seg_train': 'train', 'seg_test': 'test'}
    """
    told = {name: part_of_folder(name) for name in names}
    sure_of = {rest: {part for name, (part, also) in told.items() if also == rest and sure.get(name)} - {None}
               for _, rest in told.values()}  # fmt: skip
    found: dict[str, str] = {}
    all_parts = len(names) > 1 and all(part is not None for part, _ in told.values())
    for name, (part, rest) in told.items():
        paired = sure.get(name, False) and (
            all_parts or ("train" in sure_of[rest] and len(sure_of[rest]) > 1)
        )
        if part is not None and (not rest or paired):
            found[name] = part
    return found


def best_named(candidates: Sequence[_Named], names: Sequence[str], part: str, where: Path) -> _Named:
    """The one of several folders of a part that is called just so.

    Raises:
        BadInputError: there are several, and none is.
    """
    for word in TRAIN_WORDS if part == "train" else (part,):
        for spelt in (names, [name.lower() for name in names]):
            found = [one for one, name in zip(candidates, spelt, strict=True) if name == word]
            if len(found) == 1:
                return found[0]
    if len(candidates) == 1:
        return candidates[0]
    raise BadInputError(
        f"Each of the folders {listed(names)} in {shown(where)} could be the {part} part; give the folder of one."
    )


def parts_of_files(files: Sequence[Path], folder: Path, what: str) -> dict[str, list[Path]]:
    """Files by the part that their names tell: "train", "test", ....

    Files that name no part are the train part if no others are, else they are left out. The files of a part are in
    the order of their names; where these are the same but for numbers, in that of the numbers.

    Args:
        files: tables or shards.
        folder: where they lie, for messages.
        what: "file" or "shard", likewise.

    Raises:
        BadInputError: the files belong to several data sets, or there is no train part.
    """
    groups = _grouped(files, freely=False)
    if "all" in groups and (len(groups["all"]) > 1 or "train" in groups):
        freely = _grouped(files, freely=True)
        groups = freely if "train" in freely and not freely.keys() <= {"train", "all"} else groups
    stems = sorted({rest for part in groups.values() for rest in part})
    if len(stems) > 1 and any(len(part) > 1 for part in groups.values()):
        raise BadInputError(
            f"{shown(folder)} holds several data sets ({listed([f.name for f in sorted(files)], 6)}); give the file of "
            "one, or a folder with one train and one test file."
        )
    parts = {part: in_order(next(iter(group.values())), folder) for part, group in groups.items()}
    unnamed = parts.pop("all", None)
    if unnamed is not None:
        parts.setdefault("train", unnamed)
    if files and "train" not in parts:
        names = listed([file.name for file in sorted(files)], 6)
        raise BadInputError(
            f"{shown(folder)} has no train {what} among {names}; give the file to train on itself."
        )
    return parts


def names_train(files: Sequence[Path]) -> bool:
    """Whether the name of one of the files says that it is the train part."""
    return any(_part_of_name(file, freely=False)[0] == "train" for file in files)


def names_part(file: Path) -> bool:
    """Whether the name of a file says that it is a part."""
    return _part_of_name(file, freely=False)[0] != "all"


def in_order(files: Sequence[Path], folder: Path, *, numbered: bool = False) -> list[Path]:
    """Files in the order of their names; where these are the same but for numbers, in that of the numbers.

    With `numbered`, numbers count as such in any case.

    >>> [f.name for f in in_order([Path(f"part.{n}.csv") for n in (10, 9, 1)], Path("."))]
    ['part.1.csv', 'part.9.csv', 'part.10.csv']
    """
    names = {file: re.split(r"(\d+)", file.relative_to(folder).as_posix()) for file in files}
    if not numbered and len({tuple(name[::2]) for name in names.values()}) > 1:
        return sorted(files)
    keys = {
        file: [int(part) if place % 2 else part for place, part in enumerate(name)]
        for file, name in names.items()
    }
    return sorted(files, key=lambda file: (keys[file], file))


def _grouped(files: Sequence[Path], *, freely: bool) -> dict[str, dict[str, list[Path]]]:
    """Part -> the rest of the names -> files."""
    groups: dict[str, dict[str, list[Path]]] = {}
    for file in sorted(files):
        part, rest = _part_of_name(file, freely=freely)
        groups.setdefault(part, {}).setdefault(rest, []).append(file)
    return groups


def _part_of_name(file: Path, *, freely: bool) -> tuple[str, str]:
    """The part that a file name tells, and the rest of the name without its shard numbers.

    With `freely`, `TrainData.csv`, `testset.csv` and `evaluation.csv` tell theirs, too.
    """
    name = _UNIQUE.sub("", file.name)
    if freely:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    words = [word for word in re.split(r"[^A-Za-z0-9]+", name.lower()) if word]
    part = "all"
    for word in words:
        plain = re.sub(r"\d+k?$", "", word)
        match = _JOINED.fullmatch(plain) if freely else None
        plain = match[1] if match else plain
        if plain in (*TRAIN_WORDS, *(TEST_WORDS if freely else _TEST_FILES)):
            part = "train" if plain in TRAIN_WORDS else plain
            words.remove(word)
            break
    rest = [re.sub(r"\d+$", "", word) for word in words if not word.isdigit() and word not in ("of", "gz")]
    return part, " ".join(rest)


def find_tables(folder: Folder) -> Tables | None:
    """The tables, shards or Arrow files of a folder by part; None if there are none.

    Raises:
        BadInputError: they belong to several data sets, or there is no train part.
    """
    if (own := _own_files(folder)) is not None:
        return own
    children = folder.with_tables()
    if not children:
        return None
    if all(PARTITION.fullmatch(child.name) for child in children):
        return _partitions(folder)
    inner = [child for child in children if child.name == "data"]
    parts = parts_of_folders([child.name for child in children], dict.fromkeys(folder.folders, True))
    if not parts and (inner or len(children) == 1):
        [child, *_] = inner or children
        found = find_tables(child)
        if found is not None:
            found.notes.append(f"The rows are those of its folder {shown(child.name)}.")
        return found
    if not parts:
        raise _several(folder, children)
    if "train" not in parts.values():
        raise BadInputError(
            f"{shown(folder.path)} has no train folder among {listed(list(parts), 8)}; give the folder to train on "
            "itself."
        )
    found = Tables("table", {}, {})
    kinds: dict[str, str] = {}
    for part in dict.fromkeys(parts.values()):
        names = [name for name, told in parts.items() if told == part]
        name = best_named(names, names, part, folder.path)
        kinds[part], files = _files_below(folder.folders[name])
        found.parts[part], found.called[part] = files, name
        found.bases[part] = folder.folders[name].path if files[0].keys else files[0].folder.path
    found.kind = kinds["train"]
    for part in [part for part in found.parts if kinds[part] != found.kind]:
        del found.parts[part]
        found.notes.append(f"{shown(found.called[part])} holds files of another kind and is not used.")
    return found


def _several(folder: Folder, children: Sequence[Folder]) -> BadInputError:
    names = listed([child.name for child in children], 8)
    return BadInputError(
        f"{shown(folder.path)} holds several data sets, in the folders {names}; give the folder of one."
    )


def _own_files(folder: Folder) -> Tables | None:
    """The files with rows that lie directly in a folder, by part."""
    kinds = {"table": folder.tables, "shard": folder.shards, "arrow": folder.arrows}
    kinds = {kind: names for kind, names in kinds.items() if set(names) - folder.used}
    if not kinds:
        return None
    told = [kind for kind, names in kinds.items() if names_train([folder.path / name for name in names])]
    if len(kinds) > 1 and len(told) != 1:
        first = [names[0] for names in kinds.values()]
        raise BadInputError(
            f"{shown(folder.path)} holds data in files of several kinds ({listed(first)}), and any could be meant; "
            "give the file itself, or a folder with files of one kind."
        )
    kind = told[0] if told else next(iter(kinds))
    files = [folder.path / name for name in kinds[kind] if name not in folder.used]
    if not names_train(files):
        _refuse_parts_below(folder, files)
    parts = parts_of_files(files, folder.path, "shard" if kind == "shard" else "file")
    named = {part: [File(folder, path.name) for path in paths] for part, paths in parts.items()}
    return Tables(
        kind, named, dict.fromkeys(named, folder.path), called={p: f[0].name for p, f in named.items()}
    )


def _refuse_parts_below(folder: Folder, files: Sequence[Path]) -> None:
    """Refuse tables beside folders that hold tables for train, by the folder's name or the tables'."""
    for child in folder.with_tables():
        inner = [child.path / name for name in (*child.tables, *child.shards, *child.arrows)]
        if part_of_folder(child.name) == ("train", "") or (child.name == "data" and names_train(inner)):
            raise BadInputError(
                f"{shown(folder.path)} holds {listed([f.name for f in files])} and, in {shown(child.name)}, other "
                f"tables, and either could be the data; give the file itself, or {shown(child.path)}."
            )


def _partitions(folder: Folder) -> Tables:
    """Files in folders that are called `key=value`, in the part that a key tells."""
    kind, files = _files_below(folder)
    keys = [dict(file.keys) for file in files]
    bases = {"train": folder.path}
    for key in keys[0]:
        told = [part_of_folder(values.get(key, "")) for values in keys]
        if ("train", "") in told and all(part is not None and not rest for part, rest in told):
            found = Tables(kind, {}, {}, called={})
            for file, (part, _) in zip(files, told, strict=True):
                rest = tuple(pair for pair in file.keys if pair[0] != key)
                found.parts.setdefault(str(part), []).append(dataclasses.replace(file, keys=rest))
                found.called.setdefault(str(part), f"{key}={dict(file.keys)[key]}")
            found.bases = dict.fromkeys(found.parts, folder.path)
            return found
    return Tables(kind, {"train": files}, bases)


def _files_below(folder: Folder) -> tuple[str, list[File]]:
    """The kind and the files of one part, with what the names of the folders above them say."""
    while not (folder.tables or folder.shards or folder.arrows):
        children = folder.with_tables()
        if all(PARTITION.fullmatch(child.name) for child in children):
            found = [_files_below(child) for child in children]
            kind = found[0][0]
            files = []
            for child, (other, below) in zip(children, found, strict=True):
                if other != kind:
                    raise BadInputError(
                        f"The folders in {shown(folder.path)} hold files of several kinds; give one of them."
                    )
                match = PARTITION.fullmatch(child.name)
                assert match is not None
                pair = (match[1], unquote(match[2]))
                files += [dataclasses.replace(file, keys=(pair, *file.keys)) for file in below]
            paths = in_order([file.path for file in files], folder.path, numbered=True)
            by_path = {file.path: file for file in files}
            return kind, [by_path[path] for path in paths]
        if len(children) > 1:
            raise _several(folder, children)
        [folder] = children
    kinds = {"table": folder.tables, "shard": folder.shards, "arrow": folder.arrows}
    [*present] = [kind for kind, names in kinds.items() if names]
    if len(present) > 1:
        first = [kinds[kind][0] for kind in present]
        raise BadInputError(
            f"{shown(folder.path)} holds data in files of several kinds ({listed(first)}); keep one kind."
        )
    paths = [folder.path / name for name in kinds[present[0]]]
    # The folder tells the part, so that those which the names of its files may tell are no parts of it.
    whole = any(names_part(path) for path in paths)
    ordered = in_order(paths, folder.path) if whole else parts_of_files(paths, folder.path, "file")["train"]
    return present[0], [File(folder, path.name) for path in ordered]
