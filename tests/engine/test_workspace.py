"""Workspaces: addresses, locks, leftovers, refusals."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import datadiet as dd
from datadiet.engine.workspace import Workspace, content_address, ids_digest


def test_an_address_depends_on_content_not_on_order_of_keys() -> None:
    assert content_address({"a": 1, "b": [1, 2]}) == content_address({"b": [1, 2], "a": 1})
    assert content_address({"a": 1}) != content_address({"a": 2})
    assert content_address({"a": 1}) != content_address({"a": "1"})


def test_the_digest_of_ids_is_that_of_the_set() -> None:
    ids = np.array([3, 1, 2])
    assert ids_digest(ids) == ids_digest(np.array([1, 2, 3], dtype=np.int32))
    assert ids_digest(ids) != ids_digest(np.array([1, 2]))
    assert ids_digest(None) == "all"


def test_a_measured_choice_is_made_once(tmp_path) -> None:
    answers = iter(["float32", "bfloat16"])
    first = Workspace(tmp_path).remember({"q": 1}, lambda: next(answers))
    assert first == Workspace(tmp_path).remember({"q": 1}, lambda: next(answers)) == "float32"
    assert Workspace(tmp_path).remember({"q": 2}, lambda: next(answers)) == "bfloat16"


def test_half_written_files_of_a_killed_process_are_swept_away(tmp_path) -> None:
    folder = Workspace(tmp_path).folder({"seed": 0})
    with folder.locked():
        (folder.path / "weights").mkdir()
        (folder.path / "weights" / "step-1.safetensors.99-1.tmp").write_bytes(b"half")
    with folder.locked():
        assert not list(folder.path.rglob("*.tmp"))


def test_a_second_process_waits_for_the_first(tmp_path) -> None:
    folder = Workspace(tmp_path).folder({"seed": 0})
    script = textwrap.dedent(
        """
        import sys
        from datadiet.engine.workspace import Workspace
        with Workspace(sys.argv[1]).folder({"seed": 0}).locked(lambda: print("waiting", flush=True)):
            print("entered", flush=True)
        """
    )
    with folder.locked():
        other = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert other.stdout.readline().strip() == "waiting"
        assert other.poll() is None
    assert other.stdout.read().strip() == "entered"
    other.stdout.close()
    assert other.wait() == 0


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path) -> None:
    folder = Workspace(tmp_path).folder({"seed": 0})
    script = textwrap.dedent(
        """
        import os, signal, sys
        from datadiet.engine.workspace import Workspace
        with Workspace(sys.argv[1]).folder({"seed": 0}).locked():
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9
    waited: list[int] = []
    with folder.locked(lambda: waited.append(1)):
        assert not waited


def test_a_workspace_that_cannot_be_written_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(dd.BadInputError, match="--workspace"):
        Workspace(tmp_path / "file" / "runs")
