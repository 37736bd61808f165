"""`datadiet suspects`: the file, the table on the screen, the JSON, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import TINY, assert_refused, invoke, of_first_format, write_vectors

from datadiet.jobs.suspects.ranking import Suspects
from datadiet.scores import ScoreTable


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suspects")
    points = write_vectors(folder / "points.parquet")
    scores = folder / "scores.parquet"
    outcome = invoke(
        "score", points, "--at-epoch=1", "--seeds=1", "--workspace", folder / "work", "--out", scores, *TINY
    )
    assert outcome.code == 0, outcome
    return scores


def test_json_says_what_the_file_holds(scored: Path, tmp_path: Path) -> None:
    out = tmp_path / "suspects.parquet"
    outcome = invoke("suspects", scored, "--out", out, "--top", 3, "--device=cpu", "--json")
    assert outcome.code == 0
    answer = json.loads(outcome.stdout)
    assert answer["notes"] == outcome.stderr.splitlines()
    found = Suspects.read(out)
    assert (answer["n"], answer["n_test"]) == (len(found), len(found.of("test"))) == (60, 12)
    assert answer["noise_rate"] == found.noise_rate.as_dict()
    assert answer["test_noise_rate"] == found.test_noise_rate.as_dict()
    assert answer["about_wrong"] == found.about_wrong
    # Neither do a dozen of the test part tell.
    assert not found.test_noise_rate.identified and answer["test_looks_wrong"] is None
    assert [note for note in answer["notes"] if note.startswith("Of the test part: ")]
    assert [row["part"] for row in answer["top"]] == found.part[:3].tolist()
    assert [row["id"] for row in answer["top"]] == found.ids[:3].tolist()
    assert answer["top"][0]["label"] == found.class_names[found.labels[0]]
    assert answer["top"][0]["proposed"] in {"ash", "elm", "oak"} - {answer["top"][0]["label"]}
    # So few examples leave open how many labels are wrong: the order is there, and no probabilities.
    assert (
        not found.noise_rate.identified and [row["probability_wrong"] for row in answer["top"]] == [None] * 3
    )


def test_for_people_there_is_a_table_and_a_sentence(scored: Path, tmp_path: Path) -> None:
    outcome = invoke(
        "suspects", scored, "--no-second-pass", "--parts=train", "--out", tmp_path / "s.parquet", "--top", 2,
        "--device=cpu",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    assert "In the test part" not in outcome.stderr
    found = Suspects.read(tmp_path / "s.parquet")
    text = " ".join(outcome.stdout.split())
    assert all(str(id_) in text for id_ in found.ids[:2])
    assert "How many labels are wrong cannot be told from hardness here: " in text and " – │" in text


def test_where_the_rate_is_told_there_are_probabilities(tmp_path: Path) -> None:
    wrong = np.arange(400) % 10 == 0
    margin = np.where(wrong, -6.0, 6.0) + np.random.default_rng(0).normal(size=400)
    table = ScoreTable.from_seeds(np.arange(400), np.arange(400) % 3, [{"aum": margin}])
    table.write(tmp_path / "scores.parquet")
    outcome = invoke("suspects", tmp_path / "scores.parquet", "--out", tmp_path / "s.parquet", "--top", 1)
    assert outcome.code == 0, outcome
    text = " ".join(outcome.stdout.split())
    assert "About 10.0 % of the labels are wrong (95 % interval" in text and "│ 1.000 │" in text


def test_a_score_that_is_nan_is_refused_with_its_ids(scored: Path, tmp_path: Path) -> None:
    table = pq.read_table(scored)
    name = next(name for name in table.column_names if name == "mean_el2n")
    values = table.column(name).to_numpy().copy()
    values[[2, 5]] = np.nan
    ids = table.column("id").to_numpy()[[2, 5]]
    broken = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(of_first_format(broken), tmp_path / "broken.parquet")
    outcome = invoke("suspects", tmp_path / "broken.parquet", "--out", tmp_path / "s.parquet")
    assert_refused(outcome, "mean_el2n", "not finite", f"{ids[0]}, {ids[1]}")
    assert not (tmp_path / "s.parquet").exists()


def test_bad_flags_and_files_are_refused(scored: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "s.parquet")
    assert_refused(invoke("suspects", tmp_path / "none.parquet", *out), "no score table")
    assert_refused(invoke("suspects", scored, "--method", "guess", *out), "guess", "combination")
    assert_refused(invoke("suspects", scored, "--top", -1, *out), "--top is -1")
    assert_refused(invoke("suspects", scored, "--folds", 1, *out), "folds is 1")
    moved = tmp_path / "moved.parquet"
    shutil.copy(write_vectors(tmp_path / "other.parquet", seed=9), moved)
    assert_refused(invoke("suspects", scored, "--source", moved, *out), "other data")
