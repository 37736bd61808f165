"""`datadiet pool` on the command line."""

from __future__ import annotations

import json

import pytest
from command_line import TINY, assert_refused, write_vectors

FEW = ("--pick=6", "--seeds=1", "--out=picked", *TINY)


@pytest.fixture
def pools(here, points):
    """`weak.parquet` with hypotheses and complaints, `bare.parquet` without, beside `points.parquet`."""
    write_vectors(here / "weak.parquet", rows=30, seed=1, complaint=[index < 9 for index in range(30)])
    import pyarrow.parquet as pq

    table = pq.read_table(here / "weak.parquet").drop_columns(["label", "complaint"])
    pq.write_table(table, here / "bare.parquet")


def test_json_is_one_object_and_the_folder_holds_the_rest(datadiet, here, pools) -> None:
    outcome = datadiet("pool", "points.parquet", "weak.parquet", "--defect=complaint", *FEW, "--json")
    assert outcome.code == 0, outcome
    found = json.loads(outcome.stdout)
    assert found["folder"] == "picked" and found["weak"] and found["n_picked"] == len(found["ids"]) == 6
    assert found["left_out"] == {"defect": 9} and min(found["ids"]) >= 9
    names = {path.name for path in (here / "picked").iterdir()}
    assert names == {"augmented", "pool.parquet", "pool.json", "manifest.json", ".lock"}
    assert datadiet("score", "picked/augmented", "--seeds=1", *TINY).code == 0


def test_the_printed_sentence_says_how_many_and_where(datadiet, here, pools) -> None:
    outcome = datadiet("pool", "points.parquet", "bare.parquet", "--by=margin", "--window=0.1", *FEW)
    assert outcome.code == 0, outcome
    said, where = outcome.stdout.splitlines()
    assert said.startswith("Picked 6 of 30 usable rows") and "to be labelled next" in said
    assert (here / where).is_file()


def test_bad_input_is_one_sentence(datadiet, here, pools) -> None:
    assert_refused(datadiet("pool", "points.parquet", "nowhere.parquet", *FEW), "nowhere.parquet")
    assert_refused(datadiet("pool", "points.parquet", "bare.parquet", *FEW, "--by=entropie"), "entropy")
    assert_refused(datadiet("pool", "points.parquet", "bare.parquet", *FEW, "--end=top"), "hardest")
    assert_refused(datadiet("pool", "points.parquet", "bare.parquet", *FEW, "--pick=31"), "31", "30")
    assert_refused(
        datadiet("pool", "points.parquet", "weak.parquet", *FEW, "--defect=complaints"), "complaint"
    )
    assert not (here / "picked").exists()
