"""The target appears whole or not at all, and the source is never touched."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exported_data import everything_below, image_folder, image_parquet

import datadiet as dd
from datadiet.foundation import atomic as folder_swap
from datadiet.foundation.outputs import Question, ResultsFolder
from datadiet.foundation.progress import ProgressDisplay
from datadiet.jobs.export import FORMATS, export, text_files
from datadiet.jobs.export import image_folder as images

pytestmark = pytest.mark.usefixtures("few_threads")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return image_folder(tmp_path / "pets")


def test_a_target_that_is_not_empty_is_refused_and_left_alone(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "precious.txt").write_text("mine")
    with pytest.raises(dd.BadInputError, match=r"not empty.*--overwrite"):
        export(source, target, kept=[0, 1, 4, 5, 8, 9])
    assert everything_below(target) == {"precious.txt": b"mine"}


def test_an_empty_target_is_taken(tmp_path: Path, source: Path) -> None:
    (tmp_path / "out").mkdir()
    export(source, tmp_path / "out", kept=[0, 4, 8], format="ids")
    assert (tmp_path / "out" / "ids.txt").read_text() == "0\n4\n8\n"


def test_overwrite_replaces_the_whole_folder_and_leaves_nothing_beside_it(
    tmp_path: Path, source: Path
) -> None:
    target = tmp_path / "out"
    export(source, target, kept=[0, 4, 8], format="ids")
    (target / "old.txt").write_text("old")
    export(source, target, kept=[1, 5, 9], format="ids", overwrite=True)
    assert sorted(everything_below(target)) == ["ids.txt", "manifest.json", "manifest.parquet"]
    assert (target / "ids.txt").read_text() == "1\n5\n9\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "pets"]


def test_what_was_there_comes_back_if_the_new_folder_cannot_take_its_place(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    export(source, target, kept=[0, 4, 8], format="ids")
    before = everything_below(target)
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, to)

    monkeypatch.setattr(folder_swap.Path, "rename", failing)
    monkeypatch.setattr(folder_swap, "exchange", lambda one, other: False)  # as where the system cannot
    with pytest.raises(dd.RunFailedError, match="cannot be written"):
        export(source, target, kept=[1], format="ids", overwrite=True)
    assert everything_below(target) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "pets"]


@pytest.mark.parametrize("format", [f for f in FORMATS if f not in ("cleanlab", "files")])
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest comes last: when it does not fit any more, everything else was written already."""
    import sys

    module = sys.modules["datadiet.jobs.export.job"]
    source = image_parquet(tmp_path / "a.parquet")

    def full(*args: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "write_manifest", full)
    ids = dd.load(source).train.ids
    with pytest.raises(dd.RunFailedError, match="No space left on device; nothing of it is left"):
        export(source, tmp_path / "new" / "deep" / "out", kept=ids, format=format)
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize("after", [0, 3])
def test_a_disk_that_fills_up_between_two_images_leaves_nothing_behind(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    written = 0

    def filling(source_file: object, target_file: object, length: int) -> None:
        nonlocal written
        written += 1
        if written > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(images.shutil, "copyfileobj", filling)
    before = everything_below(source)
    with pytest.raises(dd.RunFailedError, match="No space left"):
        export(source, tmp_path / "out", kept=[0, 1, 4, 5, 8])
    assert [p.name for p in tmp_path.iterdir()] == ["pets"]
    assert everything_below(source) == before


def test_an_interruption_leaves_nothing_behind(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(text_files, "json_line", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(source, tmp_path / "out", kept=[0, 4], format="jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["pets"]


@pytest.mark.parametrize("place", ["pets", "pets/new", "pets/train", "."])
@pytest.mark.parametrize("overwrite", [False, True])
def test_the_target_is_never_the_source_nor_in_it_nor_around_it(
    tmp_path: Path, source: Path, place: str, overwrite: bool
) -> None:
    before = everything_below(tmp_path)
    with pytest.raises(dd.BadInputError, match=r"source|which is read"):
        export(source, tmp_path / place, kept=[0, 4, 8], overwrite=overwrite)
    assert everything_below(tmp_path) == before


def test_a_link_to_the_source_does_not_hide_it(tmp_path: Path, source: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(dd.BadInputError, match="is a link"):
        export(source, tmp_path / "link", kept=[0, 4], overwrite=True)
    with pytest.raises(dd.BadInputError, match="lies in it"):
        export(tmp_path / "link", source / "new", kept=[0, 4])


def test_the_kept_file_is_not_replaced_with_its_folder(tmp_path: Path, source: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept.txt").write_text("0\n4\n8\n")
    with pytest.raises(dd.BadInputError, match="which is read"):
        export(source, tmp_path / "out", kept=tmp_path / "out" / "kept.txt", overwrite=True)


def test_the_current_folder_is_never_replaced(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "work" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    for place in (tmp_path / "work", Path("..")):
        with pytest.raises(dd.BadInputError, match="current"):
            export(source, place, kept=[0, 4], overwrite=True)


def test_a_target_that_is_a_file_is_refused(tmp_path: Path, source: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(dd.BadInputError, match="is a file"):
        export(source, tmp_path / "out", kept=[0, 4], overwrite=True)


def test_the_folder_has_the_rights_that_any_new_folder_has(tmp_path: Path, source: Path) -> None:
    (tmp_path / "plain").mkdir()
    export(source, tmp_path / "out", kept=np.array([0, 4]), format="ids")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


ONE_EXPORT = """
import os, signal, sys
import datadiet as dd
from datadiet.foundation import atomic
stop, seen = int(sys.argv[1]), 0
def touching(change, path):
    global seen
    seen += 1
    if seen == stop:
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "no exchange":
    atomic.exchange = lambda one, other: False
    rename = type(atomic.Path()).rename
    def counted(self, target):
        touching("rename", target)
        return rename(self, target)
    atomic.Path.rename = counted
atomic.touching = touching
dd.export(sys.argv[3], sys.argv[4], kept=[1, 5, 9], format="ids", overwrite=True)
"""


def written(folder: Path) -> dict[str, object]:
    """An export but for its manifest, which has the time of day."""
    return {name: data for name, data in everything_below(folder).items() if name != "manifest.json"}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["exchange", "no exchange"])
def test_a_kill_at_any_change_leaves_one_whole_export_that_the_next_command_finds(
    tmp_path: Path, source: Path, how: str
) -> None:
    target, said = tmp_path / "out", []
    export(source, tmp_path / "new", kept=[1, 5, 9], format="ids")
    new = written(tmp_path / "new")
    for stop in range(1, 20):
        export(source, target, kept=[0, 4, 8], format="ids", overwrite=True)
        before = written(target)
        arguments = [sys.executable, "-c", ONE_EXPORT, str(stop), how, str(source), str(target)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
        assert done.returncode in (0, -9), done.stderr
        display = ProgressDisplay(enabled=False)
        with pytest.raises(dd.BadInputError, match="not empty"):
            export(source, target, kept=[0, 4, 8], format="ids", display=display)
        assert written(target) in (before, new), stop
        export(source, target, kept=[0, 4, 8], format="ids", overwrite=True, display=display)
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == [], stop
        said += display.said
        if done.returncode == 0:
            break
    assert stop > 2 and any("removed" in sentence or "is back" in sentence for sentence in said)


def test_overwrite_replaces_only_the_export_that_was_there_at_the_start(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    export(source, target, kept=[0, 4, 8], format="ids")

    def meanwhile(change: str, path: Path) -> None:
        if change == "rename":
            (target / "manifest.json").write_text('{"format": "datadiet-export", "of": "somebody"}')

    monkeypatch.setattr("datadiet.foundation.atomic.touching", meanwhile)
    with pytest.raises(dd.BadInputError, match="filled by something else"):
        export(source, target, kept=[1, 5], format="ids", overwrite=True)
    assert "somebody" in (target / "manifest.json").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_no_export_goes_over_a_workspace_or_results(tmp_path: Path, source: Path) -> None:
    for name, marks in {"runs": "trainings/0123456789abcdef0123", "marked": "points"}.items():
        (tmp_path / name / marks).mkdir(parents=True)
        (tmp_path / name / marks / "weights").write_text("long trained")
        (tmp_path / name / "manifest.json").write_text('{"format": "datadiet-export"}')
    (tmp_path / "marked" / "datadiet-workspace.json").write_text("{}")
    with ResultsFolder(tmp_path / "digits").written(Question("run", {})) as new:
        (new / "verdict.json").write_text("{}")
    before = everything_below(tmp_path)
    for name in ("runs", "marked", "digits", "runs/trainings", "."):
        with pytest.raises(dd.BadInputError):
            export(source, tmp_path / name, kept=[0, 4, 8], format="ids", overwrite=True)
    assert everything_below(tmp_path) == before
