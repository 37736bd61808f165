"""`--on-leak`: what is said on the screen of a test part that shares rows with the train part."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import TINY, assert_refused, write_vectors


@pytest.fixture
def shared(here, points):
    """`points.parquet`, and `test.parquet` with six of its rows among eighteen."""
    write_vectors(here / "others.parquet", rows=12, seed=1)
    train, others = pq.read_table(points), pq.read_table(here / "others.parquet")
    pq.write_table(pa.concat_tables([train.slice(3, 6), others]), here / "test.parquet")
    return points


def test_a_run_warns_and_its_verdict_is_of_the_other_rows(datadiet, shared, no_page, here) -> None:
    flags = ("--test=test.parquet", "--keep=0.5", "--seeds=1", *TINY)
    outcome = datadiet("run", shared, *flags)
    assert outcome.code == 0, outcome
    shown = " ".join(outcome.stdout.split())
    said = "6 of 18 test rows are exact copies of training rows"
    assert f"Warning: {said} and are left out: accuracies are of the other 12 rows." in shown
    kept = datadiet("run", shared, *flags, "--on-leak=keep", "--json")
    data = json.loads(kept.stdout)
    assert data["n_test"] == 18 and data["warnings"][0].startswith(f"{said} and count as all others")
    trained = len(list((here / "runs" / "trainings").iterdir()))
    assert_refused(
        datadiet("run", shared, *flags, "--on-leak=error"), f"{said} (test row 0 is training row 3"
    )
    assert_refused(datadiet("run", shared, *flags, "--on-leak=ignore"), "--on-leak")
    assert len(list((here / "runs" / "trainings").iterdir())) == trained


@pytest.mark.parametrize(
    "command", [("run",), ("run", "--dynamic=infobatch"), ("tune",), ("study", "keep-fraction")]
)
def test_a_test_file_that_is_the_train_file_is_refused_before_anything_is_trained(
    datadiet, points, here, command
) -> None:
    name, *flags = command
    where = (name, *(flags if name == "study" else ()), points, *(flags if name == "run" else ()))
    outcome = datadiet(*where, "--test=points.parquet", *TINY)
    assert_refused(outcome, "test rows are exact copies of training rows", "--test", "--on-leak keep")
    assert not (here / "runs").exists()


def test_contradicting_duplicates_lead_the_suspects_on_the_screen(datadiet, points, here) -> None:
    table = pq.read_table(points)
    again = table.slice(0, 2).set_column(
        table.schema.get_field_index("label"), "label", table["label"].take(np.array([1, 2]))
    )
    pq.write_table(pa.concat_tables([table, again]), here / "twice.parquet")
    pq.write_table(table.slice(30), here / "test.parquet")
    scored = datadiet("score", "twice.parquet", "--test=test.parquet", "--seeds=1", "--at-epoch=1", *TINY)
    assert scored.code == 0, scored
    outcome = datadiet("suspects", "scores.parquet", "--device=cpu", "--json", "--top=5")
    found = json.loads(outcome.stdout)
    assert found["conflicting_duplicates"] == 4
    assert {row["id"] for row in found["top"][:4]} == {0, 1, 60, 61}
    outcome = datadiet("suspects", "scores.parquet", "--device=cpu")
    assert "The first 4 are exact duplicates with different labels" in " ".join(outcome.stdout.split())
