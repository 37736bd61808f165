"""`datadiet study` on the command line."""

from __future__ import annotations

import json

from command_line import TINY, assert_refused, contents

QUICK = ("--scale=smoke", *TINY)


def test_the_list_names_every_study_in_one_line(datadiet, here) -> None:
    outcome = datadiet("study", "--list")
    assert outcome.code == 0
    names = [line.split()[0] for line in outcome.stdout.splitlines()]
    as_json = json.loads(datadiet("study", "--list", "--json").stdout)["studies"]
    assert names == [found["name"] for found in as_json]
    assert {"score-epoch", "keep-fraction", "seeds", "window", "label-noise", "transfer"} <= set(names)
    assert all(found["title"] and found["source"] for found in as_json)
    assert contents(here) == {}


def test_a_plan_says_what_it_would_cost_and_trains_nothing(datadiet, here, points) -> None:
    outcome = datadiet("study", "early-features", "points.parquet", "--plan", *QUICK)
    assert outcome.code == 0, outcome
    assert "2 scoring runs" in outcome.stdout and "nothing was started" in outcome.stdout
    found = json.loads(datadiet("study", "window", "points.parquet", "--plan", "--json", *QUICK).stdout)
    assert found["study"] == "window" and found["seconds"] > 0
    assert sum(item["runs"] for item in found["plan"]) == 4 + 4 + 16
    assert not [path for path in contents(here) if path.endswith("result.json")]


def test_json_is_one_object_and_the_folder_holds_the_rest(datadiet, here, points) -> None:
    outcome = datadiet("study", "early-features", "points.parquet", "--json", "--out=early", *QUICK)
    assert outcome.code == 0, outcome
    found = json.loads(outcome.stdout)
    assert (found["study"], found["folder"]) == ("early-features", "early")
    assert (found["runs_trained"], found["runs_reused"]) == (2, 0)
    assert found["claims"] == json.loads((here / "early" / "claims.json").read_text())
    names = {path.name for path in (here / "early").iterdir()}
    assert names >= {
        "claims.json",
        "study.json",
        "results.parquet",
        "results.csv",
        "settling.png",
        "settling.svg",
    }
    record = json.loads((here / "early" / "study.json").read_text())
    assert record["scale"] == "smoke" and record["command"].startswith("datadiet")

    again = datadiet("study", "early-features", "points.parquet", *QUICK)
    assert again.code == 0
    assert "0 runs trained, 2 found in the workspace" in again.stdout
    assert (here / "runs" / "studies" / "early-features" / "study.json").exists()


def test_bad_input_is_one_sentence_and_trains_nothing(datadiet, here, points) -> None:
    assert_refused(datadiet("study", "windw", "points.parquet", *QUICK), "windw", "Did you mean 'window'?")
    assert_refused(
        datadiet("study", "window", "points.parquet", "--scale=big", *TINY), "big", "smoke, fast, paper"
    )
    assert_refused(datadiet("study", "window", *QUICK), "--list")
    assert_refused(datadiet("study", "window", "nowhere.parquet", *QUICK), "nowhere.parquet")
    assert not [path for path in contents(here) if path.endswith("result.json")]
