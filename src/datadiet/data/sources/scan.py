"""What lies in a folder: one walk through it, links followed, hidden and system things left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datadiet.data.columns.roles import IMAGE_SUFFIXES
from datadiet.data.sources.own import own_names
from datadiet.data.sources.shards import is_shard
from datadiet.data.sources.tables import table_format
from datadiet.foundation.errors import BadInputError

# What operating systems, file managers and notebooks leave behind, beside all that begins with a dot.
_SYSTEM = frozenset({
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information", "__pycache__",
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "_success", "_metadata", "_common_metadata",
})  # fmt: skip
# Tables by their suffix that say something about data.
_ABOUT_DATA = frozenset({
    "dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "croissant.json",
    "dataset-metadata.json", "package.json", "package-lock.json", "config.json", "tsconfig.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "classes.json", "class_names.json",
    "class_to_idx.json", "idx_to_class.json", "class_indices.json", "class_index.json", "id2label.json",
    "label2id.json", "label_map.json", "cat_to_name.json", "sizes.json", "__len__.json",
})  # fmt: skip
_NAMED = 3  # so many other files are named, more are counted by their suffix
_ARCHIVES = (".zip", ".7z", ".rar")


@dataclass(eq=False)
class Folder:
    """A folder of a tree, with the names of what lies directly in it and how much lies below.

    Args:
        path: as it was reached from the folder that was given.
        real: its path without links.
        parent: the folder that it lies in; None for the one that was given.
        files: names of all files, those of images, tables, shards and Arrow files among them.
        links: names of those files that are links.
        folders: its sub-folders by name.
        all_files: how many files lie in it and below; `all_images` and `all_tables` likewise, the latter with shards.
        used: names of the files that became rows or said something about them.
    """

    path: Path
    real: str
    parent: Folder | None = None
    files: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    arrows: list[str] = field(default_factory=list)
    links: set[str] = field(default_factory=set)
    folders: dict[str, Folder] = field(default_factory=dict)
    all_files: int = 0
    all_images: int = 0
    all_tables: int = 0
    used: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name

    def with_images(self) -> list[Folder]:
        """Sub-folders with images in them or below."""
        return [folder for folder in self.folders.values() if folder.all_images]

    def with_tables(self) -> list[Folder]:
        """Sub-folders with tables, shards or Arrow files in them or below."""
        return [folder for folder in self.folders.values() if folder.all_tables]

    def walk(self) -> Iterator[Folder]:
        """The folder and all below it."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting.extend(folder.folders.values())

    def at(self, relative: str) -> tuple[Folder, str] | None:
        """Folder and name of a file below it, by a path with slashes; None if there is no such file."""
        folder = self
        *above, name = [part for part in relative.split("/") if part not in ("", ".")] or [""]
        for part in above:
            found = folder.parent if part == ".." else folder.folders.get(part)
            if found is None:
                return None
            folder = found
        return (folder, name) if name in folder.names else None

    def real_images(self) -> Iterator[tuple[str, str]]:
        """Name of each image in it, and its path without links."""
        start = _inside(self.real, "")
        for name in self.images:
            path = start + name
            yield name, os.path.realpath(path) if name in self.links else path

    @property
    def names(self) -> frozenset[str]:
        """`files`, for looking up."""
        if self._names is None:
            self._names = frozenset(self.files)
        return self._names

    _names: frozenset[str] | None = None


@dataclass
class Scan:
    """The tree below a folder; links that lead nowhere or to folders that are in it already; what datadiet wrote."""

    root: Folder
    broken: list[Path] = field(default_factory=list)
    repeated: list[Path] = field(default_factory=list)
    own: list[Path] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Sentences on links that were not followed, and on what datadiet wrote there itself."""
        notes = []
        if self.own:
            own = [path.relative_to(self.root.path) for path in sorted(self.own)]
            notes.append(
                f"Not read in {shown(self.root.path)}, as datadiet wrote {'it' if len(own) == 1 else 'them'}: "
                f"{listed(own)}."
            )
        if self.broken:
            notes.append(
                f"{counted(len(self.broken), 'link')} in {shown(self.root.path)} "
                f"{'leads' if len(self.broken) == 1 else 'lead'} nowhere and "
                f"{'is' if len(self.broken) == 1 else 'are'} not used ({listed(self.broken)})."
            )
        if self.repeated:
            one = len(self.repeated) == 1
            notes.append(
                f"{counted(len(self.repeated), 'link')} in {shown(self.root.path)} "
                f"{'leads' if one else 'lead'} to {'a folder that is' if one else 'folders that are'} read "
                f"already or that {'holds' if one else 'hold'} this one, and {'is' if one else 'are'} not "
                f"followed ({listed(self.repeated)})."
            )
        return notes


def scan(path: Path) -> Scan:
    """Look at everything in a folder once; each real folder is read once, however many links lead to it.

    Raises:
        BadInputError: a folder cannot be read.
    """
    root = Folder(path, os.path.realpath(path))
    scanned, every, seen = Scan(root), [root], {root.real}
    waiting, linked = [root], list[tuple[Folder, str, str]]()
    while waiting or linked:
        if not waiting:
            # Links wait until all that is reached without them is known: a link to it is no second copy.
            above, name, real = linked.pop(0)
            if real in seen or root.real.startswith(_inside(real, "")):
                scanned.repeated.append(above.path / name)
                continue
            waiting.append(_sub_folder(above, name, real, seen, every))
        folder = waiting.pop()
        links = []
        entries = list(_entries(folder.path))
        own = own_names(folder.path, [name for name, _, _ in entries], is_root=folder is root)
        if own is None:
            scanned.own.append(folder.path)
            every.remove(folder)
            assert folder.parent is not None
            del folder.parent.folders[folder.name]
            continue
        scanned.own += [folder.path / name for name in own]
        for entry, kind, is_link in entries:
            if entry in own:
                continue
            if kind == "folder" and not is_link:
                if (real := _inside(folder.real, entry)) in seen:
                    scanned.repeated.append(folder.path / entry)
                else:
                    waiting.append(_sub_folder(folder, entry, real, seen, every))
            elif kind == "folder":
                links.append((folder, entry, os.path.realpath(folder.path / entry)))
            elif kind == "file":
                _add_file(folder, entry, is_link)
            elif is_link:
                scanned.broken.append(folder.path / entry)
            else:  # a pipe or a socket
                folder.files.append(entry)
        linked += links
    for folder in reversed(every):
        folder.folders = dict(sorted(folder.folders.items()))
        for names in (folder.files, folder.images, folder.tables, folder.shards, folder.arrows):
            names.sort()
        folder.all_files += len(folder.files)
        folder.all_images += len(folder.images)
        folder.all_tables += len(folder.tables) + len(folder.shards) + len(folder.arrows)
        if folder.parent is not None:
            folder.parent.all_files += folder.all_files
            folder.parent.all_images += folder.all_images
            folder.parent.all_tables += folder.all_tables
    return scanned


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's data, by its name.

    >>> [is_hidden(name) for name in (".ipynb_checkpoints", "._cat.png", "__MACOSX", "Thumbs.db", "cat")]
    [True, True, True, True, False]
    """
    return name.startswith(".") or name.lower() in _SYSTEM


def is_data_table(name: str) -> bool:
    """Whether a file is a table by its name, and none that is known to be about data.

    >>> [is_data_table(name) for name in ("train.csv", "dataset_infos.json", "sample_submission.csv", "_metadata")]
    [True, False, False, False]
    """
    lowered = name.lower()
    if lowered in _ABOUT_DATA or lowered.startswith(("_", "readme", "license", "licence")):
        return False
    return table_format(Path(name)) is not None and "submission" not in lowered


def is_arrow(name: str) -> bool:
    """Whether a file is an Arrow file as `datasets` writes them, by its name; what it caches itself is none."""
    return name.lower().endswith(".arrow") and not name.startswith(("cache-", "tmp"))


def is_archive(name: str) -> bool:
    """Whether a file is an archive that is to be unpacked first, by its name."""
    return name.lower().endswith(_ARCHIVES)


def shown(path: Path | str) -> str:
    """A path in quotes, fit for one line of any terminal, whatever bytes its name has.

    >>> print(shown("a\\nb.png"))
    'a\\nb.png'
    """
    text = str(path)
    return f"'{text if text.isprintable() else ascii(text)[1:-1]}'"


def counted(number: int, what: str) -> str:
    """A number and a noun in singular or plural.

    >>> counted(1, "image"), counted(2, "image")
    ('1 image', '2 images')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def listed(paths: Sequence[Path | str], most: int = 4) -> str:
    """The first of several paths or names in quotes, and how many more there are."""
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(shown(path) for path in paths[:most]) + more


def leftover_note(root: Folder) -> str | None:
    """A sentence that counts every file below a folder that was not used; None if all were."""
    images: Counter[str] = Counter()
    others: Counter[str] = Counter()
    named: list[str] = []
    tables: list[str] = []
    lively = _with_used(root)
    for folder in root.walk():
        unused = [name for name in folder.files if name not in folder.used] if folder.used else folder.files
        if not unused:
            continue
        pictures = set(folder.images)
        data = {*folder.tables, *folder.shards, *folder.arrows}
        below = folder.path.relative_to(root.path)
        place = folder
        while place not in lively and place.parent is not None and place.parent not in lively:
            place = place.parent
        where = str(place.path.relative_to(root.path))
        for name in unused:
            if name in pictures:
                images[where] += 1
            elif name in data:
                tables.append(str(below / name))
            else:
                others[Path(name).suffix.lower()] += 1
                named += [str(below / name)] if len(named) < _NAMED else []
    left = images.total() + len(tables) + others.total()
    if not left:
        return None
    places = images.most_common()
    said = [counted(n, "image") + ("" if place == "." else f" in {shown(place)}") for place, n in places[:6]]
    if len(places) > 6:
        said.append(f"{sum(n for _, n in places[6:])} images in {len(places) - 6} other folders")
    if tables:
        said.append(listed(sorted(tables)))
    if others.total() <= _NAMED:
        said += [listed(sorted(named))] if named else []
    else:
        kinds = others.most_common()
        for suffix, n in kinds[:6]:
            said.append(
                counted(n, f"{shown(suffix)[1:-1]} file")
                if suffix
                else f"{counted(n, 'file')} without a suffix"
            )
        if len(kinds) > 6:
            said.append(f"{sum(n for _, n in kinds[6:])} files with {len(kinds) - 6} other suffixes")
    verb = "is" if left == 1 else "are"
    return f"{left} of {counted(root.all_files, 'file')} in {shown(root.path)} {verb} not used: {', '.join(said)}."


def _with_used(root: Folder) -> set[Folder]:
    """The folders that have something in them or below that was used, and the root."""
    found = {root}
    for folder in root.walk():
        above = folder if folder.used else None
        while above is not None and above not in found:
            found.add(above)
            above = above.parent
    return found


def _inside(real: str, name: str) -> str:
    return f"{real.rstrip(os.sep)}{os.sep}{name}"


def _entries(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Name, kind ("file", "folder" or "other") and whether it is a link, of all in a folder that is not hidden."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                is_link = entry.is_symlink()
                try:
                    kind = "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
                except OSError:  # a link in a circle
                    kind = "other"
                yield entry.name, kind, is_link
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInputError(
            f"The folder {shown(path)} cannot be read ({reason}); change its permissions, or move it out of the data."
        ) from error


def _sub_folder(above: Folder, name: str, real: str, seen: set[str], every: list[Folder]) -> Folder:
    folder = Folder(above.path / name, real, above)
    above.folders[name] = folder
    seen.add(real)
    every.append(folder)
    return folder


def _add_file(folder: Folder, name: str, is_link: bool) -> None:
    folder.files.append(name)
    if is_link:
        folder.links.add(name)
    if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 (a path for each of a million names is slow)
        folder.images.append(name)
    elif is_data_table(name):
        folder.tables.append(name)
    elif is_arrow(name):
        folder.arrows.append(name)
    elif is_shard(Path(name)):
        folder.shards.append(name)
