"""Data that cannot be used is refused by every command that reads it, in one sentence, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import TINY, Datadiet, assert_refused, contents, write_images, write_vectors

import datadiet as dd

Case = tuple[Callable[[Path], list[str]], tuple[str, ...]]


def labels(*values: str) -> list[str]:
    return [values[row % len(values)] for row in range(60)]


def missing_path(folder: Path) -> list[str]:
    return ["nowhere.parquet"]


def missing_folder(folder: Path) -> list[str]:
    return ["./nowhere/at/all"]


def missing_test_part(folder: Path) -> list[str]:
    return [str(write_vectors(folder / "a.parquet")), "--test", "nowhere.parquet"]


def unknown_label(folder: Path) -> list[str]:
    return [str(write_vectors(folder / "a.parquet")), "--label", "colour"]


def misspelt_input(folder: Path) -> list[str]:
    return [str(write_vectors(folder / "a.parquet")), "--input", "x0,xx1"]


def no_label(folder: Path) -> list[str]:
    pq.write_table(pa.table({"height": [1.0, 2.0, 3.0], "width": [3.0, 2.0, 1.0]}), folder / "a.parquet")
    return ["a.parquet"]


def real_labels(folder: Path) -> list[str]:
    return [str(write_vectors(folder / "a.parquet", label=np.linspace(0, 1, 60)))]


def single_example(folder: Path) -> list[str]:
    return [str(write_vectors(folder / "a.parquet", label=[*labels("ash", "elm")[:59], "yew"]))]


def one_class(folder: Path) -> list[str]:
    return [str(write_vectors(folder / "a.parquet", label=["ash"] * 60))]


def no_rows(folder: Path) -> list[str]:
    table = pq.read_table(write_vectors(folder / "full.parquet"))
    pq.write_table(table.slice(0, 0), folder / "a.parquet")
    return ["a.parquet"]


def empty_train(folder: Path) -> list[str]:
    (folder / "data").mkdir()
    table = pq.read_table(write_vectors(folder / "full.parquet"))
    pq.write_table(table.slice(0, 0), folder / "data" / "train.parquet")
    pq.write_table(table, folder / "data" / "test.parquet")
    return ["data"]


def unseen_label(folder: Path) -> list[str]:
    (folder / "data").mkdir()
    write_vectors(folder / "data" / "train.parquet")
    write_vectors(folder / "data" / "test.parquet", rows=9, label=["ash", "elm", "yew"] * 3)
    return ["data"]


def not_a_number(folder: Path) -> list[str]:
    return [str(write_vectors(folder / "a.parquet", x2=[*range(7), float("nan"), *range(52)]))]


def infinite(folder: Path) -> list[str]:
    return [str(write_vectors(folder / "a.parquet", x2=[*map(float, range(9)), float("inf"), *range(50)]))]


def corrupt_image(folder: Path) -> list[str]:
    write_images(folder / "pictures", train=4, test=2)
    victim = folder / "pictures" / "train" / "ring" / "1.png"
    victim.write_bytes(victim.read_bytes()[:40])
    return ["pictures"]


def no_table(folder: Path) -> list[str]:
    (folder / "a.parquet").write_bytes(b"PAR1 is not all it takes")
    return ["a.parquet"]


def no_images(folder: Path) -> list[str]:
    (folder / "pictures" / "ring").mkdir(parents=True)
    return ["pictures"]


def no_such_choice(folder: Path) -> list[str]:
    return [str(write_vectors(folder / "a.parquet")), "--on-bad-example", "ignore"]


def no_such_share(folder: Path) -> list[str]:
    return [str(write_vectors(folder / "a.parquet")), "--test-fraction", "1.5"]


CASES: list[Case] = [
    (missing_path, ("nowhere.parquet",)),
    (missing_folder, ("nowhere/at/all",)),
    (missing_test_part, ("nowhere.parquet",)),
    (unknown_label, ("colour", "label")),
    (misspelt_input, ("xx1",)),
    (no_label, ("label", "height")),
    (real_labels, ("label", "real")),
    (single_example, ("yew", "one example")),
    (one_class, ("only one class", "ash")),
    (no_rows, ("empty",)),
    (empty_train, ("train", "empty")),
    (unseen_label, ("Row 2", "yew", "never seen")),
    (not_a_number, ("Row 7", "NaN", "x2")),
    (infinite, ("Row 9", "infinite", "x2")),
    (corrupt_image, ("Row 5", "decoded")),
    (no_table, ("a.parquet", "parquet")),
    (no_images, ("pictures", "image")),
    (no_such_choice, ("ignore", "skip")),
    (no_such_share, ("1.5",)),
]
named = pytest.mark.parametrize(("make", "words"), CASES, ids=[make.__name__ for make, _ in CASES])


@pytest.mark.parametrize("command", ["run", "score", "compare"])
@named
def test_a_training_command_refuses_bad_data(
    make: Callable[[Path], list[str]], words: tuple[str, ...], command: str, here: Path, datadiet: Datadiet
) -> None:
    arguments = make(here)
    if command == "compare":
        (here / "kept.txt").write_text("0\n1\n2\n3\n")
        arguments += ["--kept", "kept.txt"]
    before = contents(here)
    assert_refused(datadiet(command, *arguments, "--out", here / "out", *TINY), *words)
    assert contents(here) == before


@named
def test_keep_refuses_bad_data_that_its_table_is_held_against(
    make: Callable[[Path], list[str]], words: tuple[str, ...], here: Path, datadiet: Datadiet
) -> None:
    table = dd.ScoreTable.from_seeds(
        [0, 1], [0, 1], [{"el2n": [0.1, 0.2]}], provenance={"fingerprint": "abc"}
    )
    table.write(here / "scores.parquet")
    source, *more = make(here)
    before = contents(here)
    assert_refused(datadiet("keep", "scores.parquet", "--source", source, *more), *words)
    assert contents(here) == before


def test_a_corrupt_image_that_is_skipped_is_recorded_and_the_rest_is_scored(
    here: Path, datadiet: Datadiet
) -> None:
    source, *_ = corrupt_image(here)
    command = (
        "score",
        source,
        "--on-bad-example",
        "skip",
        "--seeds",
        "1",
        "--scores",
        "el2n",
        *TINY,
        "--json",
    )
    outcome = datadiet(*command)
    assert outcome.code == 0, outcome
    table = dd.ScoreTable.read(here / "scores.parquet")
    assert table.ids.tolist() == [0, 1, 2, 3, 4, 6, 7]  # ring/1.png is row 5 of disc/0..3, ring/0..3
    assert table.provenance["left_out"] == [5]
