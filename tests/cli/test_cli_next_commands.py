"""The command that a command prints works as printed: typed again, it finds the same data."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import TINY, Datadiet, Outcome, invoke, write_images

import datadiet as dd

QUICK = (*TINY, "--seeds=1", "--workspace", "my work")


def write_rows(path: Path, delimiter: str, rows: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["the kind", "a", "b", "other"])
        for row in range(rows):
            a, b = generator.normal(size=2).round(3) + row % 3
            writer.writerow([("ash", "elm", "oak")[row % 3], a, b, row % 2])


def folders(here: Path) -> tuple[str, ...]:
    return (str(write_images(here / "my shapes", train=12, test=6)), "--image-size=6")


def odd_csv(here: Path) -> tuple[str, ...]:
    write_rows(here / "it's rows.csv", "~", 60, 0)
    return ("it's rows.csv", "--delimiter", "~", "--label", "the kind", "--input", "a,b", "--holdout-seed", "3",
            "--test-fraction=0.25")  # fmt: skip


def second_source(here: Path) -> tuple[str, ...]:
    write_rows(here / "train.csv", ";", 45, 1)
    write_rows(here / "new test.csv", ";", 30, 2)
    return (
        "train.csv",
        "--test",
        "new test.csv",
        "--label",
        "the kind",
        "--input",
        "a,b",
        "--delimiter",
        ";",
    )


def typed(line: str) -> Outcome:
    """Run a command as a shell would."""
    program, *words = shlex.split(line)
    assert program == "datadiet"
    outcome = invoke(*words)
    assert outcome.code == 0, (line, outcome)
    return outcome


def command_in(text: str, name: str) -> str:
    found = re.findall(rf"datadiet {name} .*", text)
    assert len(found) == 1, text
    return str(found[0])


@pytest.mark.parametrize("source", [folders, odd_csv, second_source])
def test_from_scores_to_the_cleaned_data_by_what_is_printed(datadiet: Datadiet, here: Path, source) -> None:
    given = source(here)
    assert datadiet("score", *given, *QUICK, "--at-epoch=1").code == 0
    outcome = datadiet(
        "suspects", "scores.parquet", "--workspace", "my work", "--device=cpu", "--no-second-pass"
    )
    assert outcome.code == 0, outcome
    page = typed(command_in(outcome.stdout, "review"))
    found = dd.Suspects.read("suspects.parquet")
    train, test = (found.of(part) for part in ("train", "test"))
    decisions = {str(train.ids[0]): {"decision": "drop"}, f"test:{test.ids[0]}": {"decision": "drop"}}
    facts = {"format": "datadiet-decisions", "version": 1, "fingerprint": found.provenance["fingerprint"]}
    Path("decisions.json").write_text(
        json.dumps({**facts, "class_names": list(found.class_names), "decisions": decisions})
    )
    typed(command_in(page.stdout, "export"))
    rows = pq.read_table("cleaned/manifest.parquet").to_pylist()
    dropped = {(row["part"], row["id"]) for row in rows if row["status"] == "dropped"}
    assert dropped == {("train", train.ids[0]), ("test", test.ids[0])}


@pytest.mark.parametrize("source", [folders, odd_csv, second_source])
@pytest.mark.usefixtures("no_page")
def test_a_run_prints_what_finds_its_wrong_labels(datadiet: Datadiet, here: Path, source) -> None:
    given = source(here)
    outcome = datadiet("run", *given, "--keep=0.5", "--out=my out", *QUICK, "--allow-empty-class")
    assert outcome.code == 0, outcome
    trained = set((here / "my work" / "trainings").iterdir())
    found = json.loads((here / "my out" / "verdict.json").read_text())["suspects"]
    line = command_in(outcome.stdout, "suspects")
    assert [line, "datadiet review suspects.parquet"] == found["commands"]
    assert found["sentence"] in " ".join(outcome.stdout.split())
    typed(line)
    for command in found["commands"][1:]:
        typed(command)
    # The scoring runs were found again: one second pass for one seed is all that is new.
    assert len(set((here / "my work" / "trainings").iterdir()) - trained) == 1


@pytest.mark.usefixtures("no_page")
def test_after_a_run_of_a_sample_the_whole_data_is_scored_first(
    datadiet: Datadiet, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datadiet.jobs.run.rows_for_time", lambda *arguments, **options: 36)
    given = odd_csv(here)
    words = [word for word in QUICK if not word.startswith("--seeds")]
    outcome = datadiet("run", *given, "--quick", "--keep=0.5", "--out=out", *words, "--allow-empty-class")
    assert outcome.code == 0, outcome
    commands = json.loads((here / "out" / "verdict.json").read_text())["suspects"]["commands"]
    assert [shlex.split(line)[1] for line in commands] == ["score", "suspects", "review"]
    words = shlex.split(commands[0])
    assert words[2] == "it's rows.csv" or Path(words[2]).name == "it's rows.csv"
    for flag, value in (("--delimiter", "~"), ("--label", "the kind"), ("--holdout-seed", "3")):
        assert words[words.index(flag) + 1] == value


def test_what_moved_is_remembered_with_its_flags(datadiet: Datadiet, here: Path) -> None:
    given = second_source(here)
    assert datadiet("score", *given, *QUICK, "--at-epoch=1").code == 0
    for name in ("train.csv", "new test.csv"):
        (here / name).rename(here / f"moved {name}")
    moved = ("--source", "moved train.csv", "--test", "moved new test.csv")
    outcome = datadiet(
        "suspects", "scores.parquet", *moved, "--workspace", "my work", "--device=cpu", "--no-second-pass"
    )
    assert outcome.code == 0, outcome
    export = shlex.split(command_in(typed(command_in(outcome.stdout, "review")).stdout, "export"))
    assert export[2] == "moved train.csv" and export[export.index("--test") + 1] == "moved new test.csv"
