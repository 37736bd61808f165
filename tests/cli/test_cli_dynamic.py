"""`datadiet run --dynamic`: full data, the selector and its random twin, in the files of an ordinary run."""

from __future__ import annotations

import json
import math

import pyarrow.parquet as pq
import pytest
from command_line import TINY, assert_refused, invoke, write_vectors

QUICK = ("--model=mlp", "--model-option=hidden=[8]", "--epochs=5", "--batch-size=8", *TINY[4:])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dynamic")
    source = write_vectors(folder / "points.parquet")
    outcome = invoke(
        "run", source, "--dynamic=nlu-data-diet", "--dynamic-option=keep=0.5", "--dynamic-option=every=2", "--seeds=2",
        *QUICK, "--workspace", folder / "runs", "--out", folder / "out", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    return folder, source, json.loads(outcome.stdout)


def test_full_data_the_selector_and_its_twin_are_trained_and_told_of(finished) -> None:
    folder, _, verdict = finished
    names = [(subset["score"], subset["rule"]) for subset in verdict["subsets"]]
    assert names == [("nlu-data-diet", "dynamic"), ("random", "twin of nlu-data-diet")]
    assert verdict["dynamic"]["selector"] == "nlu-data-diet"
    assert verdict["dynamic"]["epoch_sizes"] == [[48, 24, 24, 24, 24]] * 2
    own, twin = verdict["subsets"]
    assert own["n"] == twin["n"] == round(0.6 * 48) and own["keep"] == 0.6
    assert own["minus_random"] is not None and twin["minus_random"] is None
    assert json.loads((folder / "out" / "verdict.json").read_text())["subsets"] == verdict["subsets"]
    assert (folder / "out" / "recipe.yaml").exists()
    assert not (folder / "out" / "scores.parquet").exists()


def test_time_saved_is_that_of_the_ledgers_with_scoring(finished) -> None:
    folder, _, verdict = finished
    rows = pq.read_table(folder / "out" / "results.parquet").to_pylist()
    assert len(rows) == 6
    cost = {
        (row["score"], row["seed"]): [
            sum(row[f"{account}_{clock}"] for account in ("training", "scoring", "loading"))
            for clock in ("seconds", "processor_seconds")
        ]
        for row in rows
    }
    assert all(row["seconds"] == pytest.approx(cost[row["score"], row["seed"]][0]) for row in rows)
    for subset in verdict["subsets"]:
        for clock, name in enumerate(("time_saved", "processor_time_saved")):
            first, second = (
                math.log(cost[subset["score"], seed][clock] / cost["full", seed][clock])
                for seed in (1000, 1001)
            )
            middle = (first + second) / 2
            # Student's t with one degree of freedom at 97.5 % is 12.7062; two values' error is half their distance.
            reach = 12.7062 * abs(first - second) / 2
            expected = [1 - math.exp(middle + shift) for shift in (0, reach, -reach)]
            assert subset[name] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    forwarded = {row["score"]: row["forwarded"] - row["backwarded"] for row in rows}
    assert forwarded == {"full": 0, "nlu-data-diet": 2 * 48, "random": 0}


def test_the_page_and_the_table_say_what_is_saved(finished) -> None:
    folder, source, _ = finished
    page = (folder / "out" / "report.html").read_text()
    assert "Time saved, scoring counted" in page and "chooses anew while training" in page
    (folder / "out" / "report.html").unlink()
    assert invoke("report", folder / "out").code == 0
    assert (folder / "out" / "report.html").read_text() == page
    again = invoke(
        "run", source, "--dynamic=nlu-data-diet", "--dynamic-option=keep=0.5", "--dynamic-option=every=2", "--seeds=2",
        *QUICK, "--workspace", folder / "runs", "--out", folder / "out",
    )  # fmt: skip
    assert again.code == 0 and "one training" in again.stdout and "time saved" in again.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--dynamic=infobach"], ["infobach", "Did you mean 'infobatch'"]),
        (["--dynamic=infobatch", "--keep=0.5", "--scores=el2n"], ["--scores, --keep would do nothing"]),
        (["--dynamic=infobatch", "--sparsity=0.5"], ["--sparsity would do nothing"]),
        (["--dynamic=infobatch", "--dynamic-option=dorp=0.3"], ["dorp", "did you mean 'drop'"]),
        (
            ["--dynamic=random", "--dynamic-option=keep=0.1"],
            ["leaves 5 of 48 examples, less than one batch of 8"],
        ),
        (["--dynamic=random", "--dynamic-option=keep"], ["--dynamic-option takes key=value"]),
        (["--dynamic-option=keep=0.5"], ["no dynamic"]),
    ],
)
def test_bad_dynamic_flags_are_refused_in_a_sentence_and_nothing_is_trained(tmp_path, flags, words) -> None:
    source = write_vectors(tmp_path / "points.parquet")
    outcome = invoke("run", source, *flags, *QUICK, "--workspace", tmp_path / "runs")
    assert_refused(outcome, *words)
    assert not list(tmp_path.glob("runs/trainings/*"))


def test_help_explains_every_selector() -> None:
    outcome = invoke("run", "digits", "--dynamic=help")
    assert outcome.code == 0
    for word in ("infobatch", "nlu-data-diet", "curriculum", "uncertainty", "random", "full_tail"):
        assert word in outcome.stdout
