"""Where runs live: content-addressed folders that appear atomically, resume, and are shared safely."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from datadiet.foundation.atomic import write_json
from datadiet.foundation.errors import BadInputError

ADDRESS_DIGITS = 20


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

    def folder(self, description: dict[str, Any]) -> RunFolder:
        """The folder of the run of that description; not made before `RunFolder.locked`."""
        return RunFolder(self.path / "trainings" / content_address(description), description)

    def remember(self, question: dict[str, Any], answer: Callable[[], Any]) -> Any:
        """The answer to a question about this machine, asked once a workspace.

        Used for choices that are measured and must not change between two runs, such as precision.
        """
        path = self.path / "machine.json"
        key = content_address(question)
        with filelock.FileLock(str(path) + ".lock"):
            known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            if key not in known:
                known[key] = {"question": question, "answer": answer()}
                write_json(path, known)
        return known[key]["answer"]


class RunFolder:
    """One run on disk: `description.json`, the latest state, weights, trace, measurements, `result.json`.

    Attributes:
        path: the folder.
        description: what its address was made of.
        state_path: the latest training state of an unfinished run.
        trace_path: the folder of the trace.
        test_path: predictions on the test part, by id.
    """

    def __init__(self, path: Path, description: dict[str, Any]) -> None:
        self.path, self.description = path, description
        self.state_path = path / "state.safetensors"
        self.trace_path = path / "trace"
        self.test_path = path / "test.safetensors"

    @contextmanager
    def locked(self, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the run for this process; the lock goes with the process, however it ends."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(str(self.path / ".lock"))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if on_wait is not None:
                on_wait()
            lock.acquire()
        try:
            for leftover in self.path.rglob("*.tmp"):  # what a killed process was writing
                leftover.unlink(missing_ok=True)
            if not (self.path / "description.json").exists():
                write_json(self.path / "description.json", self.description)
            yield
        finally:
            lock.release()

    def weights_path(self, step: int) -> Path:
        """The model's state after `step` steps."""
        return self.path / "weights" / f"step-{step:08d}.safetensors"

    def points_path(self, step: int, kind: str = "outputs") -> Path:
        """What was measured of every training example with the weights of that step."""
        return self.path / "points" / f"step-{step:08d}-{kind}.safetensors"

    def result(self) -> dict[str, Any] | None:
        """The result, or None while the run is not finished."""
        path = self.path / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result and drop what only an unfinished run needs."""
        write_json(self.path / "result.json", result)
        self.state_path.unlink(missing_ok=True)

    def start_over(self) -> None:
        """Forget everything but the lock."""
        for child in self.path.iterdir():
            if child.is_dir():
                shutil.rmtree(child)
            elif child.name not in (".lock", "description.json"):
                child.unlink()
