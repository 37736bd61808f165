"""Where runs live: content-addressed folders that appear atomically, resume, and are shared safely."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from datadiet.foundation.atomic import atomic_file, checksum, disk_error, held, move, remove, write_json
from datadiet.foundation.errors import BadInputError, RunFailedError
from datadiet.foundation.outputs import WORKSPACE_MARK

ADDRESS_DIGITS = 20
MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1
WORKSPACE_FORMAT = 1  # raise it when an earlier version would misread a workspace of this one


def content_address(description: Any) -> str:
    """The name of a run's folder: the first 20 hexadecimal digits of the SHA-256 of its description.

    Example:
        >>> content_address({"seed": 0, "lr": 0.1}) == content_address({"lr": 0.1, "seed": 0})
        True
    """
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:ADDRESS_DIGITS]


def ids_digest(ids: np.ndarray | None) -> str:
    """SHA-256 of a set of ids (int64, sorted), or "all" for None."""
    if ids is None:
        return "all"
    return hashlib.sha256(np.ascontiguousarray(np.sort(ids), dtype="<i8").tobytes()).hexdigest()


class Workspace:
    """A folder of runs. Same description, same folder: nothing is ever trained twice.

    Args:
        path: the folder; made when it is not there.
        read_only: make nothing, and keep nothing in it.

    Raises:
        BadInputError: the folder cannot be written to.
    """

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path, self.read_only = Path(path), read_only
        if read_only:
            return
        try:
            (self.path / "trainings").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInputError(
                f"The workspace {str(path)!r} cannot be made: {error.strerror}. Give another with --workspace."
            ) from error
        if not os.access(self.path / "trainings", os.W_OK | os.X_OK):
            raise BadInputError(
                f"The workspace {str(path)!r} cannot be written to; give another with --workspace."
            )
        self._mark()

    def _mark(self) -> None:
        """Say in the folder that it is a workspace, and of which format.

        Raises:
            BadInputError: the workspace is of a later version.
        """
        mark = self.path / WORKSPACE_MARK
        found = _json(mark)
        number = found.get("format") if isinstance(found, dict) else None
        if isinstance(number, int) and number > WORKSPACE_FORMAT:
            raise BadInputError(
                f"The workspace {str(self.path)!r} was made by a later version of datadiet (format {number}; this "
                f"one knows {WORKSPACE_FORMAT}); use that version, or give another with --workspace."
            )
        if number != WORKSPACE_FORMAT:
            write_json(mark, {"format": WORKSPACE_FORMAT})

    def folder(self, description: dict[str, Any]) -> RunFolder:
        """The folder of the run of that description; not made before `RunFolder.locked`."""
        return RunFolder(self.path / "trainings" / content_address(description), description)

    def remember(self, question: dict[str, Any], answer: Callable[[], Any]) -> Any:
        """The answer to a question about this machine, asked once a workspace.

        Used for choices that are measured and must not change between two runs, such as precision.
        """
        path = self.path / "machine.json"
        key = content_address(question)
        with held(path.with_name(path.name + ".lock")):
            found = _json(path)
            known = found if isinstance(found, dict) else {}
            there = known.get(key)
            if not isinstance(there, dict) or there.get("xxh3") != _answer_checksum(question, there):
                asked = {"question": question, "answer": answer()}
                known[key] = {**asked, "xxh3": _answer_checksum(question, asked)}
                write_json(path, known)
        return known[key]["answer"]


def _answer_checksum(question: dict[str, Any], there: dict[str, Any]) -> str:
    return checksum_of(json.dumps([question, there.get("answer")], sort_keys=True).encode())


def checksum_of(data: bytes) -> str:
    """XXH3 of bytes, as `checksum` of a file of them."""
    return xxhash.xxh3_128(data).hexdigest()


class RunFolder:
    """One run on disk: its description, the latest state, weights, trace, measurements, result, and a manifest of them.

    `manifest.json` holds the description and the size and checksum of every file. A file that is not in it, or is not
    as it says, is no part of the run: it is made again. The manifest is written before a file is replaced and then
    has the checksums of both, so that a process killed between the two leaves nothing that is wrong.

    Attributes:
        path: the folder.
        description: what its address was made of.
        state_path: the latest training state of an unfinished run.
        trace_path: the folder of the trace.
        test_path: predictions on the test part, by id.
        result_path: accuracy and cost of a finished run.
        catch_up_path: the folder of a training that makes again what a run lacks that stands further already.
    """

    def __init__(self, path: Path, description: dict[str, Any]) -> None:
        self.path, self.description = path, description
        self._plain = json.loads(json.dumps(description))
        self.state_path = path / "state.safetensors"
        self.trace_path = path / "trace"
        self.test_path = path / "test.safetensors"
        self.result_path = path / "result.json"
        self.catch_up_path = path / "catch-up"

    @contextmanager
    def locked(
        self, on_wait: Callable[[], None] | None = None, say: Callable[[str], None] | None = None
    ) -> Iterator[None]:
        """Hold the run for this process; the lock goes with the process, however it ends.

        Args:
            on_wait: called once, where another process holds it.
            say: told in one sentence that what lay here was moved aside, as it was of another run or of an earlier
                version.
        """
        make_folder(self.path)
        with held(self.path / ".lock", on_wait):
            for leftover in self.path.rglob("*.tmp"):  # what a killed process was writing
                remove(leftover)
            if not self._is_mine():
                self._set_all_aside(say)
            if _json(self.path / "description.json") != self._plain:
                write_json(self.path / "description.json", self.description)
            yield

    def is_mine(self) -> bool:
        """Whether what lies here is of this description, and has a manifest."""
        return self._manifest() is not None

    def _is_mine(self) -> bool:
        there = _json(self.path / "description.json")
        strangers = isinstance(there, dict) and there != self._plain
        return self.is_mine() and not strangers

    def _set_all_aside(self, say: Callable[[str], None] | None) -> None:
        found = [child.name for child in sorted(self.path.iterdir()) if child.name != ".lock"]
        if set(found) - {"description.json"}:
            aside = self.set_aside(*found)
            if say is not None:
                say(
                    f"'{self.path}' held another run, or one without its manifest; it was moved to '{aside.name}' "
                    "beside it, and this run is trained anew."
                )
        self._write_manifest({})

    def set_aside(self, *names: str) -> Path:
        """Move files or folders of the run to a new folder beside it; returns that folder."""
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.replaced-{number}")).exists():
            number += 1
        make_folder(aside)
        for name in names:
            if (self.path / name).exists():
                move(self.path / name, aside / name)
        self.forget(*names)
        return aside

    def weights_path(self, step: int) -> Path:
        """The model's state after `step` steps."""
        return self.path / "weights" / f"step-{step:08d}.safetensors"

    def points_path(self, step: int, kind: str = "outputs") -> Path:
        """What was measured of every training example with the weights of that step."""
        return self.path / "points" / f"step-{step:08d}-{kind}.safetensors"

    def names(self, under: str) -> tuple[str, ...]:
        """The files of the manifest in a folder of the run, by their names in it."""
        listed = sorted((self._manifest() or {}).items())
        return tuple(name.removeprefix(f"{under}/") for name, _ in listed if name.startswith(f"{under}/"))

    def holds(self, path: Path) -> bool:
        """Whether a file of the run is there and as it was written."""
        for _ in range(2):  # another process may have written both between the two looks
            about = (self._manifest() or {}).get(self._name(path))
            if about is None:
                return False
            if path.is_file() and checksum_once(path) in (about["xxh3"], about.get("was")):
                return True
        return False

    def listed(self, path: Path) -> bool:
        """Whether a file of the run was written, whatever has become of it."""
        return self._name(path) in (self._manifest() or {})

    def lacks(self, path: Path) -> bool:
        """Whether there is a trace of a file of the run, but not the file as it was written."""
        return (self.listed(path) or path.exists()) and not self.holds(path)

    def write(self, path: Path, data: bytes) -> None:
        """Write a file of the run, which this process holds."""
        files = self._manifest() or {}
        about: dict[str, Any] = {"bytes": len(data), "xxh3": checksum_of(data)}
        if self.holds(path):
            about["was"] = files[self._name(path)]["xxh3"]
        self._write_manifest({**files, self._name(path): about})
        with atomic_file(path) as file:
            file.write(data)

    def note(self, path: Path) -> None:
        """Take a file that was written into the manifest."""
        about = {"bytes": path.stat().st_size, "xxh3": checksum(path)}
        files = self._manifest() or {}
        if files.get(self._name(path)) != about:
            self._write_manifest({**files, self._name(path): about})

    def forget(self, *names: str) -> None:
        """Drop files, and what lies in folders, from the manifest."""
        files = self._manifest() or {}
        kept = {
            name: about
            for name, about in files.items()
            if not any(name == gone or name.startswith(f"{gone}/") for gone in names)
        }
        if kept != files:
            self._write_manifest(kept)

    def discard(self, path: Path) -> None:
        """Delete what only an unfinished run needs."""
        self.forget(self._name(path))
        remove(path)

    def result(self) -> dict[str, Any] | None:
        """The result, or None while the run is not finished."""
        return _json(self.result_path) if self.holds(self.result_path) else None

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result and drop what only an unfinished run needs."""
        self.write(self.result_path, (json.dumps(result, indent=2, ensure_ascii=False) + "\n").encode())
        self.discard(self.state_path)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _manifest(self) -> dict[str, Any] | None:
        found = _json(self.path / MANIFEST)
        if not isinstance(found, dict) or found.get("format") != MANIFEST_FORMAT:
            return None
        files = found.get("files")
        if found.get("description") != self._plain or not isinstance(files, dict):
            return None
        return {name: about for name, about in files.items() if isinstance(about, dict) and "xxh3" in about}

    def _write_manifest(self, files: dict[str, Any]) -> None:
        about = {"format": MANIFEST_FORMAT, "description": self._plain, "files": files}
        write_json(self.path / MANIFEST, about)


_checksums: dict[tuple[str, int, int, int], str] = {}


def checksum_once(path: Path) -> str:
    """The checksum of a file, taken once a process as long as neither size nor times nor place of it change."""
    try:
        found = path.stat()
    except OSError:
        return ""
    key = (str(path), found.st_ino, found.st_size, found.st_mtime_ns)
    if key not in _checksums:
        try:
            _checksums[key] = checksum(path)
        except OSError:
            return ""
    return _checksums[key]


def make_folder(path: Path) -> None:
    """Make a folder of the workspace.

    Raises:
        RunFailedError: the disk is full or broken.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(path, error) or RunFailedError(
            f"'{path}' cannot be made: {error.strerror or error}. Give another --workspace."
        ) from error


def _json(path: Path) -> Any:
    """What a JSON file holds; None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
