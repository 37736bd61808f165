"""The package's one way to disk: files and folders appear whole or not at all, and only here is anything changed."""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

import filelock
import xxhash

from datadiet.foundation.errors import BadInputError, RunFailedError

Change = Literal["write", "rename", "delete", "lock"]
#: What a disk says that takes no more, whoever may write to it.
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_BLOCK = 1 << 22  # bytes read at once for a checksum


def touching(change: Change, path: Path) -> None:
    """Called before every change that the package makes on disk; does nothing. Tests put faults here."""


def checksum(path: str | Path) -> str:
    """XXH3 of a file's bytes, 32 hexadecimal digits: finds damage, not malice, at the speed of memory.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.txt"
        >>> _ = path.write_text("whole")
        >>> checksum(path) == checksum(path), len(checksum(path))
        (True, 32)
    """
    digest = xxhash.xxh3_128()
    with Path(path).open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def disk_error(path: str | Path, error: OSError) -> RunFailedError | None:
    """The sentence for a disk that is full or broken; None for any other error."""
    if error.errno not in _DISK_ERRORS:
        return None
    return RunFailedError(
        f"'{path}' cannot be written: {os.strerror(error.errno or 0)}. What was finished before is kept; make room and "
        "give the same command again."
    )


@contextmanager
def atomic_path(path: str | Path, replaces: Callable[[Path, Path], bool] | None = None) -> Iterator[Path]:
    """A temporary path beside `path`; renamed to it at the end, deleted if anything goes wrong.

    Args:
        path: of the file.
        replaces: of `path` and the temporary path, whether a file that is there at the end is replaced; None for any.

    Raises:
        FileExistsError: a file is there that is not replaced.
        RunFailedError: the disk is full or broken; what was there before still is.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    temporary = _beside(path, "tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _tidy(path)
        touching("write", path)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        if replaces is None:
            move(temporary, path)
        elif not path.exists():
            move_new(temporary, path)
        elif replaces(path, temporary):
            move(temporary, path)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    except OSError as error:
        if (said := disk_error(path, error)) is not None:
            raise said from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[IO[bytes]]:
    """An open binary file whose content is on disk, under its own name, only when all of it is."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def write_json(path: str | Path, data: Any) -> None:
    """Write JSON that appears whole or not at all; text that is no Unicode, as in names of files, is escaped."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        text = json.dumps(data, indent=2)
    with atomic_file(path) as file:
        file.write((text + "\n").encode())


def new_folder(path: str | Path) -> None:
    """Make a folder in one that is there."""
    touching("write", Path(path))
    Path(path).mkdir()


def remove(path: str | Path) -> None:
    """Delete a file, or a folder with all that is in it; nothing happens where there is none."""
    path = Path(path)
    if not path.is_symlink() and path.is_dir():
        touching("delete", path)
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        touching("delete", path)
        path.unlink(missing_ok=True)


def move(source: str | Path, target: str | Path) -> None:
    """Rename a file, also over one that is there, or a folder."""
    touching("rename", Path(target))
    Path(source).replace(target)


def move_new(source: str | Path, target: str | Path) -> None:
    """Rename a file where there is none of that name.

    Raises:
        FileExistsError: there is one; neither has changed.
    """
    source, target = Path(source), Path(target)
    touching("rename", target)
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists() or target.is_symlink():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        source.rename(target)
    else:
        source.unlink()


@contextmanager
def held(path: str | Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file for this process; the lock goes with the process, however it ends.

    Args:
        path: of the lock file, which is made and stays.
        on_wait: called once, where another process holds it.

    Raises:
        BadInputError: the lock file belongs to somebody else, or cannot be made.
    """
    path = Path(path)
    lock = filelock.FileLock(str(path))
    try:
        touching("lock", path)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if on_wait is not None:
                on_wait()
            lock.acquire()
    except OSError as error:
        if (said := disk_error(path, error)) is not None:
            raise said from error
        raise BadInputError(
            f"The lock '{path}' cannot be taken ({error.strerror or error}); it may belong to another user. Give "
            "another folder, or have its owner let you write to it."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def whole_folder(target: Path, replaces: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """An empty folder beside `target` that becomes `target` at the end, by one rename; deleted if anything goes wrong.

    Args:
        target: where the folder goes.
        replaces: whether a folder that stands there at the end may be replaced; None for none but an empty one.

    Raises:
        BadInputError: a folder stands there that may not be replaced; it is as it was.
        RunFailedError: the disk is full, or something else cannot be written; nothing is left of it.
    """
    made: list[Path] = []
    temporary = _beside(target, "tmp")
    try:
        made += [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
        touching("write", target)
        temporary.mkdir(parents=True)
        with in_use(temporary):
            yield temporary
            touching("rename", target)
            _put(temporary, target, replaces)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise RunFailedError(
                f"'{target}' cannot be written: {error.strerror or error}; nothing of it is left there."
            ) from error
        raise


def _put(new: Path, target: Path, replaces: Callable[[Path], bool] | None) -> None:
    """Put `new` in the place of `target`, or leave `target` as it was."""
    with suppress(OSError):
        target.rmdir()  # an empty one
    if replaces is not None and target.exists():
        old = _swap(new, target)
        if not replaces(old):
            _swap(old, target)
            raise _filled(target)
        touching("delete", old)
        shutil.rmtree(old, ignore_errors=True)
        return
    try:
        new.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise _filled(target) from error
        raise


def _swap(new: Path, target: Path) -> Path:
    """Put `new` in the place of `target`, which is there; returns where `target` is now."""
    if exchange(new, target):
        return new
    aside = new.with_suffix(".old" if new.suffix == ".tmp" else ".tmp")
    target.rename(aside)
    try:
        new.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    return aside


def _filled(target: Path) -> BadInputError:
    return BadInputError(
        f"The target '{target}' was filled by something else while this ran, which was left as it is; give another "
        "folder."
    )


def mend_folder(target: Path) -> str | None:
    """Put right what killed writers of `target` left beside it: `whole_folder`'s unfinished and replaced folders.

    Returns:
        A sentence of what was found; None for nothing.
    """
    if not target.parent.is_dir():
        return None
    start, found = f".{target.name[:100]}.", []
    for entry in sorted(target.parent.iterdir()):
        if not (entry.name.startswith(start) and entry.suffix in (".tmp", ".old") and entry.is_dir()):
            continue
        if entry.name[len(start) : -4].count(".") or entry.is_symlink():
            continue
        with in_use(entry) as unused:
            if not unused:
                continue
            if entry.suffix == ".old" and not target.exists():
                move(entry, target)
                found.append(f"'{target}' was being replaced when that was stopped; what it held is back")
            else:
                remove(entry)
                found.append(
                    f"'{entry.name}', left beside '{target}' by a command that was stopped, was removed"
                )
    return "; ".join(found) + "." if found else None


@contextmanager
def in_use(folder: Path) -> Iterator[bool]:
    """Mark a folder as this process's own meanwhile; the mark goes with the process, however it ends.

    Yields:
        False where another process has it, and where there are no such marks.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = True
        except OSError:
            taken = False
        yield taken
    finally:
        os.close(number)


def exchange(one: Path, other: Path) -> bool:
    """Swap two files or folders of one file system by one rename; False where the system cannot do so."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        swap = library.renamex_np if sys.platform == "darwin" else library.renameat2
    except (OSError, AttributeError, TypeError):
        return False
    paths = os.fsencode(one), os.fsencode(other)
    here, both = -100, 2  # AT_FDCWD; RENAME_EXCHANGE and RENAME_SWAP are the same number
    arguments = (*paths, both) if sys.platform == "darwin" else (here, paths[0], here, paths[1], both)
    return bool(swap(*arguments) == 0)


def _beside(path: Path, suffix: str) -> Path:
    """A name of its own each time, so that two writers of one path never share an unfinished one."""
    return path.with_name(f".{path.name[:100]}.{_home()}-{os.getpid()}-{secrets.token_hex(4)}.{suffix}")


@functools.cache
def _home() -> str:
    """Where this machine's process numbers count, 8 hexadecimal digits."""
    try:
        numbers = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        numbers = ""
    return xxhash.xxh32_hexdigest(f"{socket.gethostname()} {numbers}".encode())


def _tidy(path: Path) -> None:
    """Delete what writers of a file left beside it that were killed."""
    start = f".{path.name[:100]}.{_home()}-"
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            # Also what was written on its way to an unfinished file, under a name with one more dot.
            name = entry.name[1:] if entry.name.startswith("..") else entry.name
            number = name.removeprefix(start).partition("-")[0]
            if not (name.startswith(start) and name.endswith(".tmp") and number.isdecimal()):
                continue
            if not _lives(int(number)) and entry.is_file(follow_symlinks=False):
                touching("delete", Path(entry.path))
                Path(entry.path).unlink(missing_ok=True)


def _lives(number: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
