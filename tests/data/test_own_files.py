"""What datadiet wrote into a folder of data is no data: the same data as before it was there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import datadiet as dd
from datadiet.foundation.outputs import Question, ResultsFolder


def pictures(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in ("disc", "ring"):
        (folder / name).mkdir(parents=True)
        for index in range(6):
            Image.fromarray(generator.integers(0, 255, (8, 8)).astype(np.uint8)).save(
                folder / name / f"{index}.png"
            )
    return folder


def tables(folder: Path) -> Path:
    folder.mkdir()
    for part in range(2):
        values = np.random.default_rng(part).normal(size=20)
        pq.write_table(pa.table({"x": values, "label": np.arange(20) % 2}), folder / f"part{part}.parquet")
    return folder


def results(folder: Path) -> None:
    with ResultsFolder(folder).written(Question("run", {})) as new:
        (new / "figures").mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(new / "figures" / "figure.png")
        pq.write_table(pa.table({"x": [1.0], "label": [1]}), new / "results.parquet")


def workspace(folder: Path, marked: bool, more: bool = True) -> None:
    run = folder / "trainings" / ("0" * 20)
    run.mkdir(parents=True)
    (run / "description.json").write_text("{}")
    (folder / "machine.json").write_text(json.dumps({"a": 1}))
    if more:
        (folder / "old" / "figures").mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "old" / "figures" / "figure.png")
    if marked:
        (folder / "datadiet-workspace.json").write_text("{}")
        shutil.rmtree(folder / "trainings")


def files(folder: Path) -> None:
    table = dd.ScoreTable.from_seeds([0, 1], [0, 1], [{"el2n": [0.1, 0.2]}])
    table.write(folder / "scores.parquet")
    dd.Kept(np.array([0])).write(folder / "kept.parquet")
    dd.Decisions({0: "drop"}).write(folder / "decisions.json")


@pytest.mark.parametrize("make", [pictures, tables])
@pytest.mark.parametrize(
    ("add", "named"),
    [
        (lambda folder: workspace(folder / "runs", False), "runs"),
        (lambda folder: workspace(folder / "runs", True), "runs"),
        (lambda folder: workspace(folder, False, more=False), "trainings"),
        (lambda folder: results(folder / "digits"), "digits"),
        (lambda folder: results(folder / "deep" / "digits"), "digits"),
        (files, "scores.parquet"),
    ],
    ids=["workspace", "marked", "is the workspace", "results", "results below", "files"],
)
def test_data_with_own_files_in_it_is_the_same_data(tmp_path: Path, make, add, named: str) -> None:
    folder = make(tmp_path / "data")
    before = dd.load(folder)
    add(folder)
    after = dd.load(folder)
    assert after.fingerprint == before.fingerprint and after.class_names == before.class_names
    (note,) = [note for note in after.notes if "datadiet wrote" in note]
    assert named in note
    assert not [note for note in before.notes if "datadiet wrote" in note]


def test_what_only_looks_like_it_is_data(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "data")
    for name in ("trainings", "runs"):
        (folder / name).mkdir()
        for index in range(2):
            shutil.copy(folder / "disc" / f"{index}.png", folder / name / f"{index}.png")
    (folder / "runs" / "manifest.json").write_text('{"format": "mine"}')
    assert set(dd.load(folder).class_names) == {"disc", "ring", "trainings", "runs"}


def test_one_of_them_that_is_named_itself_is_read(tmp_path: Path) -> None:
    results(tmp_path / "made")
    pq.write_table(
        pa.table({"x": np.arange(8.0), "label": [0, 1] * 4}), tmp_path / "made" / "results.parquet"
    )
    assert len(dd.load(tmp_path / "made" / "results.parquet").train) == 6


@pytest.mark.parametrize(("number", "error"), [(28, dd.RunFailedError), (13, dd.BadInputError)])
def test_a_cache_that_cannot_be_written_is_said_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"word {row},{row % 2}\n" for row in range(20)))
    before = dd.load(tmp_path / "a.csv").fingerprint
    monkeypatch.setattr("datadiet.data.sources.tables.too_large", lambda paths: True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def refuse(schema_or_file: object, *more: object) -> object:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("datadiet.data.sources.tables.pa.ipc.new_stream", refuse)
        with pytest.raises(error, match=r"cannot be written"):
            dd.load(tmp_path / "a.csv")
    assert not list((tmp_path / "cache").rglob("*.*"))
    assert dd.load(tmp_path / "a.csv").fingerprint == before
