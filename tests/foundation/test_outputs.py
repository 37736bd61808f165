"""Results never go over what is read, nor over what answers another question; they appear together."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest

from datadiet.foundation import atomic
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.outputs import Question, ResultsFolder, check_file, new_file, refuse_reads

ONE, OTHER = Question("run", {"seeds": 1}), Question("run", {"seeds": 2})


def write(
    folder: Path, question: Question | None, overwrite: bool = False, keeps: bool = False, **files: str
) -> None:
    with ResultsFolder(folder).written(question, overwrite=overwrite, keeps=keeps) as new:
        for name, text in files.items():
            path = new / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)


def content(folder: Path) -> dict[str, str]:
    skip = ("manifest.json", ".lock")
    return {
        f.relative_to(folder).as_posix(): f.read_text()
        for f in sorted(folder.rglob("*"))
        if f.is_file() and f.name not in skip
    }


@pytest.mark.parametrize("name", ["a.csv", "./a.csv", "link.csv", "hard.csv", "sub/../a.csv"])
def test_what_is_read_is_not_written_by_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.csv").write_text("mine")
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    os.link(tmp_path / "a.csv", tmp_path / "hard.csv")
    with pytest.raises(BadInputError, match="is read here"):
        refuse_reads([tmp_path / name], [tmp_path / "a.csv"])
    refuse_reads([tmp_path / "b.csv", tmp_path / "sub"], [tmp_path / "a.csv", tmp_path / "missing"])


def test_nothing_goes_into_the_data(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    for place in ("pets", "pets/new", "pets/deep/er"):
        with pytest.raises(BadInputError, match=r"read here|lies in the data"):
            refuse_reads([tmp_path / place], sources=[tmp_path / "pets"])
    refuse_reads([tmp_path, tmp_path / "pets-2"], sources=[tmp_path / "pets"])
    refuse_reads([tmp_path / "pets" / "new"], [tmp_path / "pets"])


def test_a_file_is_replaced_by_its_equal_by_the_same_answer_or_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def put(text: str, **how: object) -> None:
        with new_file(path, "kept file", **how) as new:
            new.write_text(text)

    put("one")
    put("one")
    with pytest.raises(BadInputError, match="something else than the kept file"):
        put("two")
    with pytest.raises(BadInputError, match="something else"):
        put("two", same=lambda there: there.read_text() == "two")
    assert path.read_text() == "one" and len(list(tmp_path.iterdir())) == 1
    put("two", same=lambda there: there.read_text() == "one")
    put("three", overwrite=True)
    assert path.read_text() == "three"
    check_file(path, "kept file")
    check_file(path, "kept file", overwrite=True, same=lambda there: False)
    with pytest.raises(BadInputError, match="something else"):
        check_file(path, "kept file", same=lambda there: False)
    with pytest.raises(BadInputError, match="is a folder"):
        check_file(tmp_path, "kept file")


def test_a_folder_answers_one_question(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(folder, ONE, verdict="1", kept__a="1", kept__b="1")
    (folder / "mine.txt").write_text("mine")
    write(folder, ONE, verdict="1 again", kept__a="1", kept__b="1")
    with pytest.raises(BadInputError, match=r"another question .seeds: 1 there, 2 now"):
        write(folder, OTHER, verdict="2")
    with pytest.raises(BadInputError, match="it is of datadiet run"):
        ResultsFolder(folder).check(Question("tune", {}))
    expected = {"verdict": "1 again", "kept/a": "1", "kept/b": "1", "mine.txt": "mine"}
    assert content(folder) == expected
    write(folder, OTHER, overwrite=True, verdict="2", kept__c="2")
    assert content(folder) == {"verdict": "2", "kept/c": "2", "mine.txt": "mine"}
    assert ResultsFolder(folder).question() == OTHER and ResultsFolder(folder).damaged() is None
    write(folder, None, keeps=True, page="3")
    assert content(folder) == {"verdict": "2", "kept/c": "2", "mine.txt": "mine", "page": "3"}
    assert ResultsFolder(folder).question() == OTHER
    (folder / "verdict").write_text("0")
    assert ResultsFolder(folder).damaged() == "verdict"


def test_files_of_others_and_changed_ones_are_not_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "verdict").write_text("mine")
    with pytest.raises(BadInputError, match="was not written by this command"):
        write(folder, ONE, verdict="1")
    assert content(folder) == {"verdict": "mine"}
    write(folder, ONE, overwrite=True, verdict="1")
    (folder / "verdict").write_text("mine again")
    with pytest.raises(BadInputError, match="was changed since"):
        ResultsFolder(folder).check(ONE, ["verdict"])
    # And one that nobody writes any more stays, as it is somebody's now.
    write(folder, OTHER, overwrite=True, other="2")
    assert content(folder) == {"verdict": "mine again", "other": "2"}


def test_the_default_folder_of_another_question_has_another_name(tmp_path: Path) -> None:
    first = ResultsFolder(tmp_path / "digits")
    assert first.free_beside(ONE).path == first.path
    write(first.path, ONE, a="1")
    assert first.free_beside(ONE).path == first.path
    second = first.free_beside(OTHER)
    assert second.path.name == "digits-2"
    write(second.path, OTHER, a="2")
    assert first.free_beside(OTHER).path == second.path and first.free_beside(ONE).path == first.path
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a").write_text("of an earlier version")
    assert ResultsFolder(tmp_path / "old").free_beside(ONE, ["b"]).path.name == "old"
    assert ResultsFolder(tmp_path / "old").free_beside(ONE, ["a"]).path.name == "old-2"
    (tmp_path / "digits-3").mkdir()
    assert first.free_beside(Question("run", {"seeds": 3})).path.name == "digits-4"


def test_a_block_that_fails_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(folder, ONE, a="1")
    with pytest.raises(KeyboardInterrupt), ResultsFolder(folder).written(ONE) as new:
        (new / "a").write_text("2")
        raise KeyboardInterrupt
    assert content(folder) == {"a": "1"} and not list(folder.glob(".new*"))


def test_at_every_change_a_kill_leaves_one_answer_and_the_next_look_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    outcomes = set()
    for at in range(1, 100):
        folder, seen = tmp_path / str(at), 0
        write(folder, ONE, a="1", kept__b="1", same="0")
        (folder / "mine").write_text("mine")

        def kill(change: str, path: Path, at: int = at) -> None:
            nonlocal seen
            seen += 1
            if seen >= at:  # and everything after: a dead process tidies nothing
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(atomic, "touching", kill)
            with contextlib.suppress(Killed):
                write(folder, OTHER, overwrite=True, a="2", kept__c="2", same="0")
        results = ResultsFolder(folder)
        results.mend()
        with results.written(None, keeps=True):  # any later command
            pass
        answer = results.question()
        expected = {"mine": "mine", "same": "0"} | (
            {"a": "1", "kept/b": "1"} if answer == ONE else {"a": "2", "kept/c": "2"}
        )
        assert content(folder) == expected, at
        assert results.damaged() is None and json.loads((folder / "manifest.json").read_text())["files"]
        outcomes.add(str(answer))
        if seen < at:
            break
    assert len(outcomes) == 2 and at > 6


def test_questions_are_compared_as_plain_data() -> None:
    nested = Question("run", {"recipe": {"lr": 0.1, "model": "mlp"}})
    assert Question("run", {"recipe": {"lr": 0.2, "model": "mlp"}}).difference(nested) == (
        "recipe, lr: 0.1 there, 0.2 now"
    )
    assert Question("run", {"a": 1}).difference(Question("run", {})) == "a: not said there, 1 now"
    assert nested.address != ONE.address and nested.difference(nested) == ""
