"""A table, a kept file or logits that belong to other data are refused, and so is a table that was changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import TINY, Datadiet, assert_refused, contents, invoke, of_first_format, write_vectors

import datadiet as dd

WORKSPACE = ("--workspace", "work")


@pytest.fixture
def scored(here: Path, points: Path, datadiet: Datadiet) -> Path:
    """`scores.parquet` of `points.parquet`, and `other.parquet` beside it with other points."""
    write_vectors(here / "other.parquet", seed=1)
    outcome = datadiet("score", points, "--scores", "el2n,aum", "--seeds", "2", *WORKSPACE, *TINY)
    assert outcome.code == 0, outcome
    return here / "scores.parquet"


def test_keep_refuses_a_table_of_other_data(here: Path, scored: Path, datadiet: Datadiet) -> None:
    before = contents(here)
    assert_refused(datadiet("keep", scored, "--by", "el2n", "--source", "other.parquet"), "other data")
    assert contents(here) == before


def test_keep_takes_the_table_with_its_own_data(here: Path, scored: Path, datadiet: Datadiet) -> None:
    flags = ("--keep", "0.25", "--source", "points.parquet", "--allow-empty-class")
    outcome = datadiet("keep", scored, "--by", "el2n", *flags)
    assert outcome.code == 0, outcome
    assert len(dd.Kept.read("kept.parquet").ids) == 12


def test_compare_refuses_kept_ids_of_other_data(here: Path, scored: Path, datadiet: Datadiet) -> None:
    assert datadiet("keep", scored, "--by", "el2n").code == 0
    before = contents(here)
    assert_refused(datadiet("compare", "other.parquet", "--kept", "kept.parquet", *TINY), "other data")
    assert contents(here) == before


def test_verify_refuses_other_data(here: Path, scored: Path, datadiet: Datadiet) -> None:
    before = contents(here)
    assert_refused(datadiet("verify", scored, "--source", "other.parquet"), "other data")
    assert contents(here) == before


def test_verify_refuses_data_that_changed_under_its_name(
    here: Path, scored: Path, datadiet: Datadiet
) -> None:
    write_vectors(here / "points.parquet", seed=2)
    assert_refused(datadiet("verify", scored), "other data")


def test_verify_agrees_with_its_own_table(scored: Path, datadiet: Datadiet) -> None:
    outcome = datadiet("verify", scored, "--sample", "20")
    assert outcome.code == 0
    assert "20 examples, 2 seeds" in outcome.stdout


@pytest.mark.parametrize("column", ["el2n.seed0", "el2n.seed1", "el2n"])
def test_verify_finds_one_changed_number(column: str, scored: Path, datadiet: Datadiet) -> None:
    table = pq.read_table(scored)
    values = table.column(column).to_numpy().copy()
    values[17] *= 1.01
    place = table.column_names.index(column)
    pq.write_table(of_first_format(table.set_column(place, column, [values])), scored)
    outcome = datadiet("verify", scored, "--sample", "48")
    assert outcome.code == 1
    assert "el2n" in outcome.stdout


def test_verify_refuses_a_table_whose_weights_are_not_those_of_the_workspace(
    here: Path, scored: Path, datadiet: Datadiet
) -> None:
    table = pq.read_table(scored)
    about = table.schema.metadata[b"datadiet.scores"]
    weights = dd.ScoreTable.read(scored).provenance["scores"]["el2n"]["weights"][0].encode()
    changed = {b"datadiet.scores": about.replace(weights, weights[::-1])}
    pq.write_table(of_first_format(table.replace_schema_metadata(changed)), scored)
    assert_refused(datadiet("verify", scored), "other weights")


@pytest.mark.parametrize("command", ["verify", "report"])
def test_the_data_is_loaded_again_the_way_it_was(
    command: str, here: Path, datadiet: Datadiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The page takes longest to draw and is not what is tested here.
    for module in ("jobs.run_folder", "jobs.report"):
        monkeypatch.setattr(
            f"datadiet.{module}.write_report", lambda contents, folder: folder / "report.html"
        )
    write_vectors(here / "points.parquet", kind=["round", "long"] * 30)
    flags = ("--label", "kind", "--input", "x0,x3", "--test-fraction", "0.3", "--holdout-seed", "5")
    if command == "verify":
        assert datadiet("score", "points.parquet", "--seeds", "1", *flags, *WORKSPACE, *TINY).code == 0
        outcome = datadiet("verify", "scores.parquet", "--sample", "9")
    else:
        more = ("--seeds", "1", "--keep", "0.5", "--out", "out", *WORKSPACE, *TINY)
        assert datadiet("run", "points.parquet", *flags, *more).code == 0
        outcome = datadiet("report", "out")
    assert outcome.code == 0, outcome


def test_verify_without_checkpoints_trains_nothing_behind_the_back(
    here: Path, scored: Path, datadiet: Datadiet
) -> None:
    (here / "work").rename(here / "gone")
    before = {path for path in contents(here) if not path.startswith("work")}
    outcome = datadiet("verify", scored)
    assert_refused(outcome, "work")
    assert {path for path in contents(here) if not path.startswith("work")} == before
    assert not list(here.glob("work/trainings/*"))


def test_verify_in_a_workspace_without_the_run_says_so(here: Path, scored: Path, datadiet: Datadiet) -> None:
    (here / "empty").mkdir()
    assert_refused(datadiet("verify", scored, "--workspace", "empty"), "empty", "no checkpoint")
    assert not list(here.glob("empty/trainings/*"))


@pytest.mark.parametrize(
    ("rows", "labels", "words"),
    [
        (6, np.zeros(5, dtype=np.int64), ("6 rows", "5 labels")),
        (6, np.array([0, 1, 2, 3, 0, 1]), ("label 3", "row 3", "3 classes")),
        (6, np.array([0, 1, -1, 2, 0, 1]), ("label -1", "row 2")),
        (6, np.linspace(0, 1, 6), ("integers",)),
        (6, np.zeros((6, 3), dtype=np.int64), ("labels",)),
    ],
)
def test_logits_that_do_not_match_their_labels_are_refused(
    rows: int, labels: np.ndarray, words: tuple[str, ...], here: Path, datadiet: Datadiet
) -> None:
    np.save("logits.npy", np.random.default_rng(0).normal(size=(rows, 3)))
    np.save("labels.npy", labels)
    before = contents(here)
    assert_refused(datadiet("score", "--from-logits", "logits.npy", "--labels", "labels.npy"), *words)
    assert contents(here) == before


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        (np.array([[1.0, 2.0], [np.nan, 0.0], [0.0, 1.0]]), ("rows 1", "finite")),
        (np.array([[1.0, 2.0], [1.0, 0.0], [0.0, np.inf]]), ("rows 2", "finite")),
        (np.zeros((3, 1)), ("two classes",)),
        (np.zeros(3), ("shape (3,)",)),
        (np.zeros((3, 2), dtype=np.int64), ("floating point",)),
        (np.array([[None, 1]] * 3, dtype=object), ("logits.npy",)),
    ],
)
def test_logits_that_cannot_be_scored_are_refused(
    logits: np.ndarray, words: tuple[str, ...], here: Path, datadiet: Datadiet
) -> None:
    np.save("logits.npy", logits)
    np.save("labels.npy", np.array([0, 1, 0]) if logits.shape[1:] != (1,) else np.zeros(3, dtype=np.int64))
    before = contents(here)
    assert_refused(datadiet("score", "--from-logits", "logits.npy", "--labels", "labels.npy"), *words)
    assert contents(here) == before


@pytest.mark.parametrize("epoch", ["0", "3", "1.5"])
def test_an_epoch_that_the_logits_do_not_have_is_refused(epoch: str, here: Path, datadiet: Datadiet) -> None:
    np.save("logits.npy", np.zeros((2, 3, 2)))
    np.save("labels.npy", np.array([0, 1, 0]))
    flags = ("--from-logits", "logits.npy", "--labels", "labels.npy", "--at-epoch", epoch)
    before = contents(here)
    assert_refused(datadiet("score", *flags), epoch)
    assert contents(here) == before


@pytest.mark.parametrize("bad", ["text", "archive", "missing"])
def test_a_file_of_logits_that_is_no_array_is_refused(bad: str, here: Path, datadiet: Datadiet) -> None:
    np.save("labels.npy", np.array([0, 1, 0]))
    if bad == "text":
        Path("logits.npy").write_text("0.1 0.2\n")
    elif bad == "archive":
        with Path("logits.npy").open("wb") as file:
            np.savez(file, logits=np.zeros((3, 2)))
    before = contents(here)
    assert_refused(datadiet("score", "--from-logits", "logits.npy", "--labels", "labels.npy"), "logits")
    assert contents(here) == before


def test_a_score_that_logits_cannot_give_is_refused_by_name(here: Path) -> None:
    np.save("logits.npy", np.zeros((3, 2)))
    np.save("labels.npy", np.array([0, 1, 0]))
    flags = ("--from-logits", "logits.npy", "--labels", "labels.npy")
    assert_refused(invoke("score", *flags, "--scores", "grand"), "grand", "gradients")
    assert_refused(invoke("score", *flags, "--scores", "el2m"), "el2m", "el2n")


def test_a_table_of_logits_says_that_it_cannot_be_verified(here: Path) -> None:
    np.save("logits.npy", np.zeros((3, 2)))
    np.save("labels.npy", np.array([0, 1, 0]))
    assert invoke("score", "--from-logits", "logits.npy", "--labels", "labels.npy").code == 0
    assert_refused(invoke("verify", "scores.parquet"), "logits", "verified")
