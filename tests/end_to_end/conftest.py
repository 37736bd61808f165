"""Runs commands in this process and tells what they left on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from datadiet.cli import app


@pytest.fixture(scope="session")
def datadiet() -> Callable[..., str]:
    """Run a command that must succeed, and return what it printed."""

    def invoke(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stdout

    return invoke


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing of the report, which takes longest and is not what is tested."""
    monkeypatch.setattr(
        "datadiet.jobs.run_folder.write_report", lambda contents, folder: folder / "report.html"
    )


def times(folder: Path) -> dict[str, int]:
    """Every file below a folder with the time it was last written; locks are left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files if path.name != ".lock"}


@pytest.fixture(scope="session")
def file_times() -> Callable[[Path], dict[str, int]]:
    """`times`."""
    return times
