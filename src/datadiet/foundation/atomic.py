"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from datadiet.foundation.errors import BadInputError, RunFailedError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`; renamed to it at the end, deleted if anything goes wrong.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own each time: two writers of one file never share an unfinished one.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[IO[bytes]]:
    """An open binary file whose content is on disk, under its own name, only when all of it is."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def write_json(path: str | Path, data: Any) -> None:
    """Write JSON that appears whole or not at all."""
    with atomic_file(path) as file:
        file.write((json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


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
    guarded = (Path.cwd().resolve(), Path.home().resolve())
    if os.path.ismount(path) or any(folder.is_relative_to(path) for folder in guarded):
        raise BadInputError(
            f"The target '{path}' holds the current or the home folder, or is a whole disk; it is not replaced. "
            "Give another folder."
        )
    return path


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` that becomes `target` at the end; it is deleted if anything goes wrong.

    What was there before is moved aside, and comes back if the new folder cannot take its place.

    Raises:
        RunFailedError: the disk is full, or something else cannot be written; nothing is left of it.
    """
    made: list[Path] = []
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary = target.with_name(f".{target.name[:100]}.{token}.tmp")
    try:
        made += [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
        temporary.mkdir(parents=True)
        yield temporary
        _swap(temporary, target, target.with_name(f".{target.name[:100]}.{token}.old"))
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


def _swap(new: Path, target: Path, aside: Path) -> None:
    """Put `new` in the place of `target`, or leave `target` as it was."""
    if not target.exists():
        new.rename(target)
        return
    target.rename(aside)
    try:
        new.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)
