"""Runs commands in this process, in an empty current folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Datadiet, Outcome, write_vectors
from typer.testing import CliRunner

from datadiet.cli import app


@pytest.fixture
def datadiet(monkeypatch: pytest.MonkeyPatch) -> Datadiet:
    """Run a command: `datadiet("run", "digits")`."""
    monkeypatch.delenv("DATADIET_WORKSPACE", raising=False)

    def invoke(*arguments: object) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return invoke


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, so that every default path lies in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def points(here: Path) -> Path:
    """Sixty points of three classes, as `points.parquet` in the current folder."""
    return write_vectors(here / "points.parquet")
