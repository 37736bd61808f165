"""`datadiet report` writes the page of a finished run again, from its folder and its data alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from small_sources import MODEL, TINY, write_vectors


def test_the_page_comes_back_without_the_workspace(datadiet: Callable[..., str], tmp_path: Path) -> None:
    points = write_vectors(tmp_path / "points.parquet")
    work, out = tmp_path / "work", tmp_path / "out"
    flags = ("--keep", "0.5", "--seeds", "2", "--workspace", work, "--out", out)
    datadiet("run", points, *flags, *TINY, *MODEL["vectors"])
    first = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    shutil.rmtree(work)
    moved = points.rename(tmp_path / "moved.parquet")
    assert datadiet("report", out, "--source", moved).strip() == str(out / "report.html")
    assert (out / "report.html").read_bytes().replace(b"moved", b"points") == first
    assert not work.exists()
