"""`datadiet export`: what it writes, says and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import TINY, Datadiet, assert_refused, contents, write_images

import datadiet as dd
from datadiet.jobs.decisions import Decisions


@pytest.fixture
def kept(here: Path, points: Path) -> Path:
    examples = dd.load(points)
    dd.Kept(examples.train.ids[::2], {"fingerprint": examples.fingerprint}).write(here / "kept.parquet")
    return here / "kept.parquet"


def test_it_says_what_was_saved_and_the_export_loads(datadiet: Datadiet, points: Path, kept: Path) -> None:
    outcome = datadiet("export", points, "--kept", kept, "--to", "out")
    assert outcome.code == 0, outcome
    assert outcome.stdout.startswith("24 of 48 training examples stay, and 12 test examples whole: ")
    assert "Saved: 24 examples, 768 bytes of 1.5 kB (50%)." in outcome.stdout
    again = dd.load("out")
    assert (len(again.train), len(again.test)) == (24, 12)


def test_json_is_one_object(datadiet: Datadiet, here: Path, points: Path, kept: Path) -> None:
    outcome = datadiet(
        "export", points, "--kept", kept, "--to", "out", "--format", "csv", "--no-test", "--json"
    )
    found = json.loads(outcome.stdout)
    assert (found["kept"], found["dropped"], found["test"], found["format"]) == (24, 24, 0, "csv")
    assert Path(found["folder"]) == here / "out"
    assert sorted(p.name for p in (here / "out").iterdir()) == [
        "manifest.json",
        "manifest.parquet",
        "train.csv",
    ]


def test_decisions_are_applied(datadiet: Datadiet, here: Path, points: Path) -> None:
    examples = dd.load(points)
    first, second = examples.train.ids[:2].tolist()
    old = examples.class_names[examples.train.labels[1]]
    new = next(name for name in examples.class_names if name != old)
    choices = {first: "drop", second: "relabel"}
    Decisions(choices, {second: new}, examples.class_names, examples.fingerprint).write(here / "d.json")
    outcome = datadiet("export", points, "--decisions", "d.json", "--to", "out")
    assert "47 of 48 training examples stay, 1 of them relabelled" in outcome.stdout
    again = dd.load("out")
    assert again.class_names[again.train.labels[0]] == new


def test_an_image_folder_is_exported_with_its_files(datadiet: Datadiet, here: Path) -> None:
    source = write_images(here / "shapes", train=4, test=2)
    (here / "kept.txt").write_text("0\n2\n4\n7\n")
    assert datadiet("export", source, "--kept", "kept.txt", "--to", "out").code == 0
    before, after = contents(source), contents(here / "out")
    files = {name for name, content in after.items() if content is not None and "/" in name}
    every = sorted(n for n, content in before.items() if content is not None and n.startswith("train"))
    tests = {n for n, content in before.items() if content is not None and n.startswith("test")}
    assert files == {every[0], every[2], every[4], every[7]} | tests
    assert all(after[name] == before[name] for name in files)


def test_cleanlab_gets_probabilities_of_a_scored_source(datadiet: Datadiet, here: Path, points: Path) -> None:
    assert datadiet("score", points, *TINY, "--seeds", 1, "--out", "scores.parquet").code == 0
    outcome = datadiet(
        "export",
        points,
        "--format",
        "cleanlab",
        "--scores",
        "scores.parquet",
        "--device",
        "cpu",
        "--to",
        "out",
    )
    assert outcome.code == 0, outcome
    probabilities = np.load(here / "out/pred_probs.npy")
    assert probabilities.shape == (48, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    examples = dd.load(points)
    np.testing.assert_array_equal(np.load(here / "out/labels.npy"), examples.train.labels)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("--kept", "--decisions")),
        (("--kept", "none.parquet"), ("no kept file",)),
        (("--decisions", "none.json"), ("no decisions file",)),
        (("--kept", "kept.parquet", "--format", "zip"), ("zip", "imagefolder")),
        (("--kept", "kept.parquet", "--format", "cleanlab"), ("--scores",)),
        (("--kept", "kept.parquet", "--shard-size", "many"), ("size",)),
        (("--kept", "twice.txt"), ("more than once",)),
        (("--kept", "unknown.txt"), ("not in the train part",)),
        (("--kept", "kept.parquet", "--holdout-seed", 5), ("other data",)),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    datadiet: Datadiet,
    here: Path,
    points: Path,
    kept: Path,
    arguments: tuple[object, ...],
    words: tuple[str, ...],
) -> None:
    first = int(dd.load(points).train.ids[0])
    (here / "twice.txt").write_text(f"{first}\n{first}\n")
    (here / "unknown.txt").write_text("1000\n")
    before = contents(here)
    assert_refused(datadiet("export", points, "--to", "out", *arguments), *words)
    assert contents(here) == before


def test_an_earlier_export_needs_overwrite_and_nothing_else_is_replaced(
    datadiet: Datadiet, here: Path, points: Path, kept: Path
) -> None:
    (here / "out").mkdir()
    (here / "out/old.txt").write_text("old")
    before = contents(here)
    arguments = ("export", points, "--kept", kept, "--to", "out", "--format", "ids")
    assert_refused(datadiet(*arguments), "--overwrite")
    assert_refused(datadiet(*arguments, "--overwrite"), "no export wrote")
    assert contents(here) == before
    (here / "out/old.txt").unlink()
    assert datadiet(*arguments).code == 0
    assert_refused(datadiet(*arguments), "--overwrite")
    (here / "out/added.txt").write_text("added")
    assert datadiet(*arguments, "--overwrite").code == 0
    assert not (here / "out/added.txt").exists()
