"""`datadiet agree` on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import assert_refused

from datadiet.jobs.keep import Kept
from datadiet.scores import ScoreTable


@pytest.fixture
def tables(here) -> None:
    """`a.parquet` and `b.parquet`, tables of the same forty examples, and `kept.parquet`."""
    generator = np.random.default_rng(0)
    facts = {"fingerprint": "same"}
    for name in "ab":
        columns = {score: generator.random(40) for score in ("el2n", "loss")}
        made = ScoreTable.from_seeds(np.arange(40), np.arange(40) % 2, [columns], provenance=facts)
        made.write(here / f"{name}.parquet")
    Kept(np.arange(10), facts).write(here / "kept.parquet")


def test_it_writes_the_table_and_the_figure_and_says_where(datadiet, here, tables) -> None:
    outcome = datadiet("agree", "a.parquet", "b.parquet", "--by", "el2n")
    assert outcome.code == 0 and "Spearman" in outcome.stdout and "agreement" in outcome.stdout
    assert {path.name for path in (here / "agreement").iterdir()} == {
        "agreement.parquet", "agreement.csv", "agreement.json", "agreement.png", "agreement.svg", "manifest.json",
        ".lock",
    }  # fmt: skip


def test_json_is_one_object_with_every_pair(datadiet, here, tables) -> None:
    outcome = datadiet(
        "agree", "first=a.parquet", "second=b.parquet", "kept.parquet", "--keep=0.3,0.5", "--out=o", "--json"
    )
    found = json.loads(outcome.stdout)
    names = {row["first"] for row in found["pairs"]} | {row["second"] for row in found["pairs"]}
    assert names == {"el2n (first)", "loss (first)", "el2n (second)", "loss (second)", "kept"}
    assert found["n"] == 40 and len(found["correlations"]) == 6
    assert len(found["pairs"]) == 6 * 2 + 4


def test_one_table_and_kept_files_are_printed_too(datadiet, here, tables) -> None:
    assert datadiet("agree", "a.parquet").code == 0
    outcome = datadiet("agree", "a.parquet", "kept.parquet", "--by=loss")
    assert outcome.code == 0 and "kept file" in outcome.stdout


def test_bad_input_is_one_sentence(datadiet, here, tables) -> None:
    assert_refused(datadiet("agree"), "score tables")
    assert_refused(datadiet("agree", "missing.parquet"), "missing.parquet")
    assert_refused(datadiet("agree", "a.parquet", "--by", "el2n"), "only one")
    assert_refused(datadiet("agree", "a.parquet", "a.parquet"), "given twice")
    assert_refused(datadiet("agree", "a.parquet", "--keep", "much"), "--keep")
    assert not (here / "agreement").exists()
