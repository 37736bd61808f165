"""`datadiet tune` on the command line."""

from __future__ import annotations

import json

import pytest
from command_line import TINY, assert_refused

pytest.importorskip("optuna", reason="optuna is not installed")
FEW = ("--trials=2", "--seeds=1", "--score-seeds=1", "--validation-fraction=0.2", "--out=tuned")


def test_json_is_one_object_and_the_folder_holds_the_rest(datadiet, here, points) -> None:
    outcome = datadiet("tune", "points.parquet", "--keep=0.5", *FEW, "--json", *TINY)
    assert outcome.code == 0, outcome
    found = json.loads(outcome.stdout)
    assert found["folder"] == "tuned" and 0 <= found["window"]["start"] <= 0.5
    assert (
        len(found["trials"]) == 2 and found["confirmation"]["full"]["n"] == found["confirmation"]["n_train"]
    )
    names = {path.name for path in (here / "tuned").iterdir()}
    assert names >= {"tuning.json", "trials.parquet", "trials.csv", "tuning.png", "tuning.svg", "kept"}
    again = datadiet("tune", "points.parquet", "--keep=0.5", *FEW, *TINY)
    assert again.code == 0 and "Best window by mean_el2n" in again.stdout


def test_options_of_a_rule_are_tuned_over_the_ranges_given(datadiet, points) -> None:
    flags = ("--keep=0.4", "--rule=stratified", "--range=beta=0:0.3", *FEW, *TINY)
    outcome = datadiet("tune", "points.parquet", *flags, "--json")
    assert outcome.code == 0, outcome
    found = json.loads(outcome.stdout)
    assert found["rule"] == "stratified" and 0 <= found["options"]["beta"] <= 0.3
    again = datadiet("tune", "points.parquet", *flags)
    assert again.code == 0 and "Best options of stratified by mean_el2n: beta" in again.stdout


def test_bad_input_is_one_sentence(datadiet, here, points) -> None:
    assert_refused(
        datadiet("tune", "points.parquet", "--rule=stratified", "--range=beta=0", *TINY), "LOW:HIGH"
    )
    assert_refused(datadiet("tune", "points.parquet", "--keep=1.5", *TINY), "keep")
    assert_refused(datadiet("tune", "points.parquet", "--score=el3n", *TINY), "el2n")
    assert_refused(
        datadiet("tune", "points.parquet", "--validation-fraction=0", *TINY), "--validation-fraction is 0"
    )
    assert not (here / "runs").exists()
