"""A file is whole or absent."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from datadiet.foundation import atomic
from datadiet.foundation.atomic import (
    atomic_path,
    checksum,
    exchange,
    held,
    mend_folder,
    move_new,
    remove,
    whole_folder,
)
from datadiet.foundation.errors import BadInputError, RunFailedError


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "new"


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "old"


def test_two_writers_of_one_file_do_not_share_their_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_path(target) as first, atomic_path(target) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"  # the outer block ends last


def test_a_file_that_is_there_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(FileExistsError), atomic_path(target, lambda there, new: False) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "old"
    with atomic_path(target, lambda there, new: there.read_text() == "old") as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_a_file_that_somebody_puts_there_in_the_last_moment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.txt"

    def meanwhile(change: str, path: Path) -> None:
        if change == "rename":
            target.write_text("theirs")

    monkeypatch.setattr(atomic, "touching", meanwhile)
    with pytest.raises(FileExistsError), atomic_path(target, lambda there, new: False) as temporary:
        temporary.write_text("mine")
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"] and target.read_text() == "theirs"


def test_without_hard_links_a_new_file_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*args: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    (tmp_path / "a").write_text("a")
    move_new(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "a" and not (tmp_path / "a").exists()
    (tmp_path / "a").write_text("other")
    with pytest.raises(FileExistsError):
        move_new(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "a"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path: Path, number: int) -> None:
    said = r"a.txt' cannot be written: .*make room"
    with pytest.raises(RunFailedError, match=said), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    assert not list(tmp_path.iterdir())


def test_checksums_are_of_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 10_000_000)
    (tmp_path / "b").write_bytes(b"x" * 9_999_999 + b"y")
    assert checksum(tmp_path / "a") != checksum(tmp_path / "b")


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("a")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    remove(tmp_path / "link")
    assert (tmp_path / "folder" / "a").exists() and not (tmp_path / "link").is_symlink()
    remove(tmp_path / "folder")
    remove(tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_a_lock_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot be taken"), held(tmp_path / "file" / ".lock"):
        pass


def folder_of(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


@pytest.mark.parametrize("swap", [True, False])
def test_a_folder_is_replaced_only_when_it_is_the_one_that_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: bool
) -> None:
    if not swap:
        monkeypatch.setattr(atomic, "exchange", lambda one, other: False)
    target = folder_of(tmp_path / "out", a="old")
    for replaces in (None, lambda there: (there / "a").read_text() != "old"):
        said = "filled by something else"
        with pytest.raises(BadInputError, match=said), whole_folder(target, replaces) as new:
            (new / "b").write_text("new")
        assert [f.name for f in target.iterdir()] == ["a"] and [f.name for f in tmp_path.iterdir()] == ["out"]
    with whole_folder(target, lambda there: (there / "a").read_text() == "old") as new:
        (new / "b").write_text("new")
    assert [f.name for f in target.iterdir()] == ["b"] and [f.name for f in tmp_path.iterdir()] == ["out"]


def test_what_is_exchanged_is_all_there_at_any_moment(tmp_path: Path) -> None:
    one, other = folder_of(tmp_path / "one", a="1"), folder_of(tmp_path / "other", b="2")
    assert exchange(one, other)
    assert (one / "b").read_text() == "2" and (other / "a").read_text() == "1"
    assert not exchange(one, tmp_path / "missing") and (one / "b").exists()


def test_what_killed_writers_left_is_mended_and_what_living_ones_have_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "out"
    folder_of(tmp_path / ".out.1-ab.old", a="old")
    folder_of(tmp_path / ".out.2-cd.tmp", b="half")
    folder_of(tmp_path / ".out.more.3-ef.tmp", b="of another target")
    assert "what it held is back" in str(mend_folder(target)) and (target / "a").read_text() == "old"
    assert sorted(f.name for f in tmp_path.iterdir()) == [".out.more.3-ef.tmp", "out"]
    folder_of(tmp_path / ".out.1-ab.old", a="older")
    assert "was removed" in str(mend_folder(target)) and (target / "a").read_text() == "old"
    assert mend_folder(target) is None
    program = (
        "import sys\nfrom pathlib import Path\nfrom datadiet.foundation.atomic import whole_folder\n"
        "with whole_folder(Path(sys.argv[1])):\n    print('in', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "other")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as alive:
        assert alive.stdout is not None and alive.stdout.readline() == b"in\n"
        assert mend_folder(tmp_path / "other") is None
        alive.kill()
        alive.wait()
        assert "was removed" in str(mend_folder(tmp_path / "other"))


def test_what_killed_writers_of_a_file_left_goes_with_the_next_writer(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    program = (
        "import os, signal, sys\nfrom datadiet.foundation.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as outer, atomic_path(outer) as new:\n"
        "    new.write_text('half')\n    print('in', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as alive:
        assert alive.stdout is not None and alive.stdout.readline() == b"in\n"
        atomic.write_json(target, 1)
        assert len(list(tmp_path.glob(".*.tmp"))) == 1, "that of the living one is left alone"
        alive.kill()
        alive.wait()
    (tmp_path / ".a.txt.00000000-1-ab.tmp").write_text("of another machine")
    atomic.write_json(target, 2)
    assert sorted(f.name for f in tmp_path.iterdir()) == [".a.txt.00000000-1-ab.tmp", "a.txt"]
