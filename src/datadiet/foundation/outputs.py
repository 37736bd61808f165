"""Where results may go: never over what is read, nor over what was not written for the same question."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from datadiet.foundation.atomic import (
    atomic_path,
    checksum,
    disk_error,
    held,
    move,
    new_folder,
    remove,
    write_json,
)
from datadiet.foundation.errors import BadInputError

RESULTS_JSON = "manifest.json"
RESULTS_FORMAT = "datadiet-results"
WORKSPACE_MARK = "datadiet-workspace.json"
_OF_WORKSPACE = ("trainings", "tokens", "embeddings", "machine.json", "machine.json.lock", WORKSPACE_MARK)
_READY = ".ready"  # the new files of a folder, from the moment that they count
_LOCK = ".lock"
_SHORT = 60


@dataclass(frozen=True)
class Question:
    """What was asked: the command and all that its answer depends on, as plain data.

    Args:
        command: such as "run".
        facts: options by name, the fingerprint of the data, the recipe.

    Example:
        >>> one, other = Question("run", {"seeds": 2, "keep": (0.5,)}), Question("run", {"seeds": 3, "keep": [0.5]})
        >>> one == other, other.difference(one)
        (False, 'seeds: 2 there, 3 now')
    """

    command: str
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", json.loads(json.dumps(dict(self.facts), default=str)))

    @property
    def address(self) -> str:
        """SHA-256 of the question, 64 hexadecimal digits."""
        canonical = json.dumps([self.command, self.facts], sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"command": self.command, "facts": dict(self.facts)}

    def difference(self, earlier: Question) -> str:
        """What an earlier question had otherwise, in words; empty where it is the same."""
        if earlier.command != self.command:
            return f"it is of datadiet {earlier.command}"
        lacks = object()
        for name in dict.fromkeys([*earlier.facts, *self.facts]):
            before, now = earlier.facts.get(name, lacks), self.facts.get(name, lacks)
            if before == now:
                continue
            if isinstance(before, Mapping) and isinstance(now, Mapping):
                return f"{name}, {Question('', now).difference(Question('', before))}"
            shown = ["not said" if value is lacks else _shown(value) for value in (before, now)]
            return f"{name}: {shown[0]} there, {shown[1]} now"
        return ""


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."


def refuse_reads(
    outputs: Iterable[str | Path], reads: Iterable[str | Path] = (), sources: Iterable[str | Path] = ()
) -> None:
    """Refuse outputs that are read, by whatever name, or that would lie in the data.

    Args:
        outputs: files and folders that are to be written.
        reads: files and folders that are read; no output may be one of them.
        sources: files and folders of the data; no output may be one of them, or lie in one.

    Raises:
        BadInputError: an output is read, or lies in the data.
    """
    folders = [Path(source).expanduser() for source in sources]
    files = [*(Path(read).expanduser() for read in reads), *folders]
    for output in (Path(given).expanduser() for given in outputs):
        real = output.resolve()
        for read in files:
            if not read.exists():
                continue
            if real == read.resolve() or (real.exists() and real.samefile(read)):
                raise BadInputError(
                    f"'{output}' is read here, so nothing is written there; give another place with --out."
                )
        for source in folders:
            if source.is_dir() and real.is_relative_to(source.resolve()):
                raise BadInputError(
                    f"'{output}' lies in the data '{source}', where nothing is written; give another place with --out."
                )


@contextmanager
def new_file(
    path: str | Path,
    what: str,
    *,
    overwrite: bool = False,
    same: Callable[[Path], bool] | None = None,
) -> Iterator[Path]:
    """A temporary path that becomes the file at the end.

    Args:
        path: of the file.
        what: it is, for messages.
        overwrite: whether another file may be replaced. One of the same content always may.
        same: whether the file that is there answers the same question, so that it may be replaced.

    Raises:
        BadInputError: the file cannot be written, or another is there.
        RunFailedError: the disk is full.
    """
    path = Path(path)

    def replaces(there: Path, new: Path) -> bool:
        return (
            overwrite
            or (there.is_file() and checksum(there) == checksum(new))
            or (same is not None and same(there))
        )

    try:
        with atomic_path(path, replaces) as temporary:
            yield temporary
    except OSError as error:
        if isinstance(error, FileExistsError) and str(path) in (error.filename, error.filename2):
            raise _other_file(path, what) from None
        raise BadInputError(
            f"The {what} {str(path)!r} cannot be written: {error.strerror or error}."
        ) from error


def check_file(
    path: str | Path,
    what: str,
    *,
    overwrite: bool = False,
    same: Callable[[Path], bool] | None = None,
) -> None:
    """Refuse, before any work, a file that `new_file` would refuse at the end; nothing is made yet.

    Args:
        path: of the file.
        what: it is, for messages.
        overwrite: as for `new_file`.
        same: as for `new_file`; None where only the content will tell, which is then not refused yet.

    Raises:
        BadInputError: it cannot be written there, or another file is there.
    """
    path = Path(path)
    if path.is_dir():
        raise BadInputError(f"{str(path)!r} is a folder; give the name of a file with --out.")
    check_folder(path.parent)
    if path.exists() and not overwrite and same is not None and not same(path):
        raise _other_file(path, what)


def _other_file(path: Path, what: str) -> BadInputError:
    return BadInputError(
        f"'{path}' is there and holds something else than the {what} asked for now; give another place with --out, or "
        "--overwrite to replace it."
    )


def check_folder(folder: Path) -> None:
    """Raise `BadInputError` unless the folder can be written to, or be made; nothing is made yet."""
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        fine = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    except (OSError, StopIteration):  # a name that is too long, a current folder that is gone
        fine = False
    if not fine:
        raise BadInputError(
            f"Nothing can be written to the folder {str(folder)!r}; give another place with --out."
        )


def check_target(target: str | Path, overwrite: bool, sources: Sequence[Path]) -> Path:
    """The target folder, made absolute, when an export may go there.

    Args:
        target: where the export is to appear.
        overwrite: whether a folder that is there may be replaced.
        sources: files and folders that are read; none of them may be the target, lie in it or hold it.

    Raises:
        BadInputError: it may not.
    """
    path = Path(target).expanduser()
    if path.is_symlink():
        raise BadInputError(f"The target '{path}' is a link; give the folder itself.")
    path = path.resolve()
    for source in sources:
        real = source.resolve()
        if real == path or (real.is_dir() and path.is_relative_to(real)):
            raise BadInputError(
                f"The target '{path}' is the source or lies in it; nothing is ever written there. Give another."
            )
        if real.is_relative_to(path):
            raise BadInputError(f"The target '{path}' holds '{source}', which is read; give another folder.")
    if path.exists() and not path.is_dir():
        raise BadInputError(f"The target '{path}' is a file; give a folder.")
    if not path.exists() or not any(path.iterdir()):
        return path
    if not overwrite:
        raise BadInputError(
            f"The target '{path}' is not empty; give a new folder, or --overwrite to replace it."
        )
    if (holds := results_in(path)) is not None:
        raise BadInputError(
            f"The target '{path}' holds {holds}, which is never replaced; give another folder."
        )
    guarded = (Path.cwd().resolve(), Path.home().resolve())
    if os.path.ismount(path) or any(folder.is_relative_to(path) for folder in guarded):
        raise BadInputError(
            f"The target '{path}' holds the current or the home folder, or is a whole disk; it is not replaced. "
            "Give another folder."
        )
    return path


def usable_name(path: str | Path) -> Path:
    """A place for results by its name alone: not empty, UTF-8, and none that the file system does not take.

    Raises:
        BadInputError: there can be no such place.

    Example:
        >>> usable_name("runs/digits").name
        'digits'
    """
    shown = ascii(str(path))
    if not str(path).strip():
        raise BadInputError("--out is empty; give the name of a file or folder.")
    try:
        str(path).encode()
        found = Path(path).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):
            found.lstat()
        return found
    except UnicodeError as error:
        raise BadInputError(f"{shown} is no name in UTF-8; give another place with --out.") from error
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        short = shown if len(shown) <= _SHORT else f"{shown[:_SHORT]}...'"
        raise BadInputError(
            f"Nothing can be written at {short} ({reason}); give another place with --out."
        ) from error


def is_workspace(folder: str | Path) -> bool:
    """Whether a folder is one that trainings live in: by its mark, or by trainings in it."""
    folder = Path(folder)
    if (folder / WORKSPACE_MARK).is_file():
        return True
    try:
        trainings = [entry.name for entry in (folder / "trainings").iterdir() if entry.name[:1] != "."]
    except OSError:
        return False
    if not trainings:
        return (folder / "machine.json").is_file()
    return all(re.fullmatch(r"[0-9a-f]{20}(\.replaced-\d+)?", name) for name in trainings)


def is_of_workspace(path: Path, workspace: str | Path | None = None) -> bool:
    """Whether a path is, or lies in, what a workspace keeps for itself: trainings, caches, what it measured.

    Args:
        path: to look at.
        workspace: that is used; others are found by what is in them.
    """
    real = path.resolve()
    used = None if workspace is None else Path(workspace).expanduser().resolve()
    return any(
        place.name in _OF_WORKSPACE and (place.parent == used or is_workspace(place.parent))
        for place in (real, *real.parents)
    )


def is_results(folder: str | Path) -> bool:
    """Whether a folder holds results, by its manifest."""
    return ResultsFolder(folder).manifest() is not None


def results_in(folder: Path) -> str | None:
    """What of datadiet's own work is in a folder, in words; None where there is none."""
    for place, folders, files in os.walk(folder):
        if WORKSPACE_MARK in files or ("trainings" in folders and is_workspace(place)):
            return f"the workspace '{place}'"
        if RESULTS_JSON in files and ResultsFolder(place).manifest() is not None:
            return f"the results '{place}'"
        folders.sort()
    return None


class ResultsFolder:
    """A folder whose files answer one question and appear together.

    `manifest.json` in it says the question and the checksum of each file. New files are collected in a folder inside
    and count from the one rename that calls it `.ready`; whoever opens the folder next finishes a move that was cut
    off. Files of others in the folder are left alone.

    Args:
        path: of the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def mend(self) -> None:
        """Finish what a command that was stopped had begun to put into place."""
        if (self.path / _READY).is_dir():
            with self._held():
                self._settle()

    def manifest(self) -> dict[str, Any] | None:
        """What the manifest says; None where there is none of results."""
        try:
            found = json.loads((self.path / RESULTS_JSON).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        fits = isinstance(found, dict) and found.get("format") == RESULTS_FORMAT
        return found if fits and isinstance(found.get("files"), dict) else None

    def question(self) -> Question | None:
        """What its files answer; None where nothing is known of it."""
        asked = (self.manifest() or {}).get("question")
        if not isinstance(asked, dict) or not isinstance(asked.get("facts"), dict):
            return None
        return Question(str(asked.get("command")), asked["facts"])

    def damaged(self, names: Iterable[str] = ("*",)) -> str | None:
        """The first of its files that is not as it was written; None where all are, or nothing is known.

        Args:
            names: of the files that are looked at, with * for anything.
        """
        files = (self.manifest() or {}).get("files", {})
        asked = list(names)
        return next(
            (
                name
                for name, found in files.items()
                if any(fnmatchcase(name, one) for one in asked) and not self._as_written(name, found)
            ),
            None,
        )

    def check(self, question: Question | None, names: Iterable[str] = (), *, overwrite: bool = False) -> None:
        """Refuse, before any work, to write over what is there; nothing is made yet.

        Args:
            question: what its files will answer; None where any will do, as for files that are added.
            names: of the files that will be written; those of others are not written over.
            overwrite: whether what is there may be replaced.

        Raises:
            BadInputError: it cannot be written to, or holds an answer to another question, or files of others under
                these names.
        """
        check_folder(self.path)
        self.mend()
        if overwrite or not self.path.is_dir():
            return
        manifest, earlier = self.manifest(), self.question()
        ours = {} if manifest is None else manifest["files"]
        if question is not None and earlier is not None and (other := question.difference(earlier)):
            raise BadInputError(
                f"'{self.path}' holds the answer to another question ({other}); give another folder with --out, or "
                "--overwrite to replace it."
            )
        for name in names:
            if (self.path / name).exists() and not self._as_written(name, ours.get(name)):
                said = (
                    "was changed since it was written" if name in ours else "was not written by this command"
                )
                raise BadInputError(
                    f"'{self.path / name}' {said}; give another folder with --out, or --overwrite to replace it."
                )

    def free_beside(self, question: Question, names: Iterable[str] = ()) -> ResultsFolder:
        """This folder, or the first of `NAME-2`, `NAME-3`, ... that holds neither another answer nor files of others.

        Args:
            question: that is asked now.
            names: of the files that will be written.
        """
        names = list(names)
        number, found = 1, self
        while True:
            found.mend()
            earlier = found.question()
            free = earlier is None and not any((found.path / name).exists() for name in names)
            if earlier == question or (free and (number == 1 or not found.path.exists())):
                return found
            number += 1
            found = ResultsFolder(self.path.with_name(f"{self.path.name}-{number}"))

    @contextmanager
    def written(
        self, question: Question | None, *, overwrite: bool = False, keeps: bool = False
    ) -> Iterator[Path]:
        """A folder for new files, which become this folder's at the end, all or none.

        Args:
            question: what the files answer; None for that of those that are there, or none.
            overwrite: whether what is there may be replaced.
            keeps: whether its earlier files stay beside the new ones; else they go, but for those of others.

        Raises:
            BadInputError: as `check`, also of what came into the folder meanwhile.
            RunFailedError: the disk is full or broken; the folder is as it was.
        """
        with _said(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with self._held():
                self._settle()
                staging = self.path / f".new-{os.getpid()}.tmp"
                for left in self.path.glob(".new-*.tmp"):  # of killed processes: this one holds the lock
                    remove(left)
                new_folder(staging)
                try:
                    yield staging
                    files = {
                        file.relative_to(staging).as_posix(): {
                            "bytes": file.stat().st_size,
                            "xxh3": checksum(file),
                        }
                        for file in sorted(staging.rglob("*"))
                        if file.is_file()
                    }
                    self.check(question, files, overwrite=overwrite)
                    earlier = self.manifest() or {}
                    asked = earlier.get("question") if question is None else question.as_dict()
                    if keeps:
                        files = {**earlier.get("files", {}), **files}
                    about = {"format": RESULTS_FORMAT, "question": asked, "files": files}
                    write_json(staging / RESULTS_JSON, about)
                    move(staging, self.path / _READY)
                finally:
                    if staging.exists():
                        with suppress(OSError):
                            remove(staging)
                self._settle()

    def _held(self) -> Any:
        return held(self.path / _LOCK)

    def _settle(self) -> None:
        """Put the new files in their places, and drop those that belonged to the earlier answer; may be repeated."""
        ready = self.path / _READY
        if not ready.is_dir():
            return
        new = _read_manifest(ready / RESULTS_JSON)
        if new is None:  # cut off after its last move
            remove(ready)
            return
        for name, about in ((self.manifest() or {}).get("files", {})).items():
            if name not in new["files"] and self._as_written(name, about):
                remove(self.path / name)
                with suppress(OSError):
                    (self.path / name).parent.rmdir()
        for name in new["files"]:
            if (ready / name).exists():
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                move(ready / name, self.path / name)
        move(ready / RESULTS_JSON, self.path / RESULTS_JSON)
        remove(ready)

    def _as_written(self, name: str, about: Any) -> bool:
        path = self.path / name
        if not isinstance(about, Mapping) or not path.is_file():
            return False
        return path.stat().st_size == about.get("bytes") and checksum(path) == about.get("xxh3")


def _read_manifest(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("files"), dict) else None


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if (said := disk_error(folder, error)) is not None:
            raise said from error
        raise BadInputError(
            f"The folder {str(folder)!r} cannot be written to: {error.strerror or error}."
        ) from error
