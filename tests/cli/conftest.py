"""Runs commands in this process, in an empty current folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Datadiet, invoke, write_vectors


@pytest.fixture
def datadiet(monkeypatch: pytest.MonkeyPatch) -> Datadiet:
    """Run a command: `datadiet("run", "digits")`."""
    monkeypatch.delenv("DATADIET_WORKSPACE", raising=False)
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


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """No report is drawn, which takes most of the time of a tiny run."""
    monkeypatch.setattr(
        "datadiet.jobs.run_folder.write_report", lambda contents, folder: folder / "report.html"
    )
