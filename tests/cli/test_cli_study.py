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
    assert outcome.stderr.count("smoke: nothing is decided") == 1
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
    claims = [line for line in again.stdout.splitlines() if "scoring seeds]" in line]
    assert len(claims) == len(found["claims"]) and all(line.startswith("    smoke  ") for line in claims)
    assert {claim["outcome"] for claim in found["claims"]} == {"smoke"}
    assert (here / "runs" / "studies" / "early-features" / "study.json").exists()


def test_every_outcome_is_a_line_with_what_was_measured_and_why_nothing_was_decided(capsys) -> None:
    from types import SimpleNamespace

    from datadiet.cli.printing import print_study
    from datadiet.studies.toolbox.claims import Claim, judge, mean_of

    values = ([1.0, 1.1, 0.9, 1.0], [-1.0, -1.1, -0.9], [1.0, 1.0, 1.0], [1.0, 2.0])
    measured = [mean_of(each, "seeds") for each in values]
    measured.append(mean_of([2.0] * 3, "seeds", exact=True))
    findings = judge(
        [Claim(f"Claim {i}.", "made up", "x", found) for i, found in enumerate([*measured, None])]
    )
    print_study(SimpleNamespace(findings=findings, trained=0, reused=0, folder="there"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("    holds  Claim 0. [x: +1, +0.") and lines[0].endswith(", 4 seeds]")
    assert lines[1].startswith("    FAILS  Claim 1. [x: -1, -") and " to -" in lines[1]
    assert lines[2] == "undecided  Claim 2. [x: +1, interval not known, 3 seeds]"
    assert "cannot be seen" in lines[3]
    assert lines[4].startswith("not asked  Claim 3. [x: +1.5, ")
    assert lines[5].strip() == "3 seeds are the fewest that decide; there are 2"
    assert lines[6] == "    holds  Claim 4. [x: +2, exact, 3 seeds]"
    assert lines[7] == "undecided  Claim 5." and "could not be measured" in lines[8]


def test_bad_input_is_one_sentence_and_trains_nothing(datadiet, here, points) -> None:
    assert_refused(datadiet("study", "windw", "points.parquet", *QUICK), "windw", "Did you mean 'window'?")
    assert_refused(
        datadiet("study", "window", "points.parquet", "--scale=big", *TINY), "big", "smoke, fast, paper"
    )
    assert_refused(datadiet("study", "window", *QUICK), "--list")
    assert_refused(datadiet("study", "window", "nowhere.parquet", *QUICK), "nowhere.parquet")
    assert not [path for path in contents(here) if path.endswith("result.json")]
