"""How commands end where the machine does not do its part: one sentence, and an exit status that is not 0."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from command_line import invoke

import datadiet.jobs.keep
from datadiet.cli.endings import as_sentence

COMMAND = [sys.executable, "-c", "from datadiet.cli import main; main()"]


def ended(*arguments, cwd=None, redirect="", **variables):
    shell = f'exec "$0" "$@" {redirect}'
    return subprocess.run(
        ["/bin/bash", "-c", shell, *COMMAND, *arguments],
        capture_output=True, timeout=60, cwd=cwd, env={**os.environ, **variables}, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "redirect"),
    [
        (("study", "--list"), ">/dev/full"),
        (("study", "--list", "--json"), ">/dev/full"),
        (("study", "--list"), ">&-"),
        (("keep", "--help"), ">/dev/full"),
        (("study", "--list"), "> >(exec true)"),
    ],
)
def test_standard_output_that_takes_no_more(arguments, redirect):
    found = ended(*arguments, redirect=redirect)
    lines = found.stderr.decode().splitlines()
    if redirect.startswith("> >"):  # it may all have gone into the pipe before that was closed
        assert found.returncode in (0, 1) and len(lines) == found.returncode
        return
    assert found.returncode == 1 and len(lines) == 1
    assert lines[0].startswith("datadiet: Standard output takes no more")


@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full", "2>&- >&-"])
def test_standard_error_that_takes_no_more_changes_no_exit_status(redirect):
    assert ended("keep", "nothing.parquet", redirect=redirect).returncode == 2


def test_a_current_folder_that_is_gone(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    found = subprocess.run(
        ["/bin/bash", "-c", 'rmdir "$PWD"; exec "$0" "$@"', *COMMAND, "study", "--list"],
        cwd=inside, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (found.returncode, found.stderr.decode().strip()) == (
        2,
        "datadiet: The current folder is gone; go to another one and give the same command again.",
    )


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_names_that_the_terminal_cannot_write(variables):
    for name in ("nö-😀.parquet".encode(), b"a\xff.parquet"):
        found = ended("keep", name, **variables)
        assert found.returncode == 2 and found.stderr.startswith(b"datadiet: there is no score table at ")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "not enough memory"),
        (RecursionError(), "nested too deeply"),
        (
            PermissionError(13, "Permission denied", "a.parquet"),
            "'a.parquet' cannot be used: Permission denied",
        ),
        (OSError(28, "No space left on device", "b"), "'b' cannot be written"),
    ],
)
def test_errors_that_nobody_turned_into_a_sentence(monkeypatch, error, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(datadiet.jobs.keep, "keep_from", fail)
    found = invoke("keep", "scores.parquet", "--keep", "0.5", "--out", "kept.parquet")
    assert found.code == 1 and words in found.stderr and len(found.stderr.splitlines()) == 1


def test_a_mistake_in_the_code_is_seen():
    assert as_sentence(KeyError("a")) is None and as_sentence(ValueError("a")) is None
