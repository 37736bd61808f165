"""A run never replaces another silently: refused, put beside it, or replaced whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import datadiet as dd
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.progress import ProgressDisplay
from datadiet.jobs import run_folder
from tiny_models import small_recipe

RECIPE = small_recipe(model_options={"hidden": (6,)}, epochs=2)
Run = Callable[..., dd.Verdict]


@pytest.fixture
def run(vectors: dd.Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    # The pictures of the page take longer than all else.
    monkeypatch.setattr(
        run_folder, "write_report", lambda contents, to: (to / "report.html").write_text("page")
    )

    def asked(**options: Any) -> dd.Verdict:
        fixed = {"recipe": RECIPE, "device": "cpu", "workspace": tmp_path / "runs", "seeds": 1, "keep": [0.5]}
        return dd.run(vectors, **{**fixed, **options})

    return asked


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name, but for locks."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def trainings(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "runs" / "trainings").iterdir()}


def kept_as_in_verdict(folder: Path) -> None:
    """The kept files are those of the subsets of the verdict beside them, and of no other."""
    verdict = json.loads((folder / "verdict.json").read_text())
    subsets = {(row["score"], row["rule"], row["keep"], row["n"]) for row in verdict["subsets"]}
    kept = set()
    for path in (folder / "kept").iterdir():
        found = dd.Kept.read(path)
        kept.add((found.about["score"], found.about["rule"], found.about["keep"], len(found.ids)))
    assert kept == subsets


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"keep": [0.3]}, "keep: [0.5] there, [0.3] now"),
        ({"seeds": 2}, "seeds: 1 there, 2 now"),
        ({"tolerance": 1.0}, "tolerance: 0.5 there, 1.0 now"),
        ({"scores": ["margin"]}, "scores"),
        ({"recipe": RECIPE.replace(lr=0.2)}, "recipe, lr: 0.1 there, 0.2 now"),
    ],
)
def test_another_question_is_refused_before_anything_is_trained(
    run: Run, tmp_path: Path, other: dict[str, Any], said: str
) -> None:
    run(out=tmp_path / "out")
    before, trained = files_of(tmp_path / "out"), trainings(tmp_path)
    with pytest.raises(BadInputError) as refusal:
        run(out=tmp_path / "out", **other)
    message = str(refusal.value)
    assert f"'{tmp_path / 'out'}' holds the answer to another question" in message
    assert said in message
    assert "give another folder with --out, or --overwrite" in message, "the way out"
    assert files_of(tmp_path / "out") == before
    assert trainings(tmp_path) == trained


def test_without_out_another_answer_goes_to_a_free_folder_and_that_is_said(run: Run, tmp_path: Path) -> None:
    first = run()
    assert first.folder == tmp_path / "runs" / "vectors"
    before = files_of(first.folder)
    with ProgressDisplay(enabled=False) as display:
        second = run(keep=[0.3], display=display)
    assert second.folder == tmp_path / "runs" / "vectors-2"
    assert f"'{first.folder}' holds something else; results go to '{second.folder}'." in display.said
    assert files_of(first.folder) == before
    assert run(keep=[0.3]).folder == second.folder, "which is found again"
    assert run(tolerance=2.0).folder == tmp_path / "runs" / "vectors-3"
    assert files_of(first.folder) == before


def test_kept_files_never_stand_beside_the_verdict_of_another_run(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out=out, keep=[0.7, 0.5])
    kept_as_in_verdict(out)
    (out / "notes.txt").write_text("mine")
    run(out=out, keep=[0.3], scores=["margin"], overwrite=True)
    kept_as_in_verdict(out)
    assert len(list((out / "kept").iterdir())) == 2, "one by the score and one at random"
    assert (out / "notes.txt").read_text() == "mine"


def test_a_run_that_breaks_off_leaves_the_earlier_answer_whole(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(out=tmp_path / "out")
    before = files_of(tmp_path / "out")

    def breaks(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_folder, "write_report", breaks)
    with pytest.raises(KeyboardInterrupt):
        run(out=tmp_path / "out", keep=[0.3], overwrite=True)
    assert files_of(tmp_path / "out") == before


def test_the_same_again_comes_to_the_same_files(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out=out)
    before, trained = files_of(out), trainings(tmp_path)
    run(out=out)
    assert files_of(out) == before, "to the byte"
    assert trainings(tmp_path) == trained


@pytest.mark.parametrize("name", ["verdict.json", "kept/mean_el2n*", "report.html"])
def test_what_was_changed_is_not_replaced_by_the_same_again(run: Run, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    run(out=out)
    changed = next(out.glob(name))
    changed.write_bytes(changed.read_bytes() + b" ")
    before, trained = files_of(out), trainings(tmp_path)
    with pytest.raises(
        BadInputError, match="was changed since it was written; give another folder with --out, or"
    ):
        run(out=out)
    assert files_of(out) == before
    assert trainings(tmp_path) == trained
    run(out=out, overwrite=True)
    assert changed.read_bytes() != before[changed.relative_to(out).as_posix()]
