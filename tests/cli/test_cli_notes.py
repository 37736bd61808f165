"""What is to be known of the data is said by every command: on standard error, and in the object of `--json`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from command_line import TINY, invoke, write_vectors

import datadiet as dd
from datadiet.cli import app
from datadiet.cli.printing import in_flags

COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
READ_NO_DATA = {"agree"}
INPUT = "--input=x0,x1,x2,x3"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with points, a pool, and what a run leaves."""
    folder = tmp_path_factory.mktemp("notes")
    points = write_vectors(folder / "points.parquet", colour=["red", "blue"] * 30)
    write_vectors(folder / "pool.parquet", rows=30, seed=1)
    work = ("--workspace", folder / "work", "--seeds", "1", *TINY)
    assert invoke("run", points, INPUT, "--keep=0.5", "--out", folder / "out", *work).code == 0
    return folder


def data_of(place: Path) -> dd.Examples:
    return dd.load(str(place / "points.parquet"), input=["x0", "x1", "x2", "x3"])


def arguments(command: str, place: Path, out: Path) -> tuple[object, ...]:
    """What each command that reads data is given."""
    points, scores, kept = place / "points.parquet", place / "out" / "scores.parquet", out / "kept.txt"
    kept.write_text("".join(f"{id_}\n" for id_ in data_of(place).train.ids[:30]))
    work = ("--workspace", place / "work", *TINY)
    return {
        "run": (points, INPUT, "--keep=0.5", "--seeds=1", "--out", out / "run", *work),
        "score": (points, INPUT, "--scores=el2n", "--seeds=1", "--out", out / "scores.parquet", *work),
        "keep": (scores, "--by=mean_el2n", "--source", points, "--out", out / "kept.parquet"),
        "compare": (points, INPUT, "--kept", kept, "--seeds=1", *work),
        "tune": (points, INPUT, "--trials=1", "--seeds=1", "--out", out / "tuned", *work),
        "suspects": (scores, "--out", out / "suspects.parquet", *work[:2], "--device=cpu"),
        "review": (scores, "--by=mean_el2n", "--out", out / "review.html"),
        "pool": (
            points,
            place / "pool.parquet",
            INPUT,
            "--pick=5",
            "--seeds=1",
            "--out",
            out / "pooled",
            *work,
        ),
        "export": (points, INPUT, "--kept", kept, "--to", out / "smaller"),
        "study": ("keep-fraction", points, INPUT, "--scale=smoke", "--plan", *work),
        "report": (place / "out",),
        "verify": (scores, "--sample=5", *work[:2], "--device=cpu"),
    }[command]


def in_order(wanted: list[str], told: list[str]) -> bool:
    """Whether all that is wanted is told, each once, in its order."""
    return [sentence for sentence in told if sentence in wanted] == wanted


@pytest.mark.parametrize("command", sorted(COMMANDS - READ_NO_DATA))
def test_a_command_says_the_notes_of_its_data_once_to_people_and_to_programs(
    command: str, place: Path, tmp_path: Path
) -> None:
    notes = list(data_of(place).notes)
    assert any("held out" in note for note in notes)
    said = {}
    for form in ("people", "json"):
        out = tmp_path / form
        out.mkdir()
        more = ("--json",) if form == "json" else ()
        outcome = invoke(command, *arguments(command, place, out), *more)
        assert outcome.code == 0, outcome
        assert in_order(notes, outcome.stderr.splitlines()), outcome.stderr
        assert not any(note in outcome.stdout for note in notes) or more
        said[form] = outcome
    told = json.loads(said["json"].stdout)["notes"]
    assert in_order(notes, told) and len(set(told)) == len(told)
    assert set(said["json"].stderr.splitlines()) <= set(map(in_flags, told))


def test_a_command_that_reads_no_data_has_its_notes_in_the_same_place(tmp_path: Path) -> None:
    for name in "ab":
        dd.ScoreTable.from_seeds(range(20), [0, 1] * 10, [{"el2n": [*range(20)]}]).write(
            tmp_path / f"{name}.parquet"
        )
    outcome = invoke(
        "agree", tmp_path / "a.parquet", tmp_path / "b.parquet", "--json", "--out", tmp_path / "o"
    )
    assert isinstance(json.loads(outcome.stdout)["notes"], list)


def test_what_a_job_finds_out_on_its_way_is_among_the_notes(place: Path, tmp_path: Path) -> None:
    work = ("--seeds=1", "--workspace", place / "work", *TINY)
    run = invoke(
        "run",
        place / "points.parquet",
        INPUT,
        "--keep=0.5",
        "--rule=auto",
        "--out",
        tmp_path,
        *work,
        "--json",
    )
    notes = [note for note in json.loads(run.stdout)["notes"] if not note.startswith("Plan: ")]
    assert any(note.startswith("auto takes ") for note in notes)
    assert json.loads((tmp_path / "verdict.json").read_text())["notes"] == notes
    page = (tmp_path / "report.html").read_text()
    rewritten = invoke("report", tmp_path, "--json")
    for text in (page, (tmp_path / "report.html").read_text()):
        assert all(
            note.split(";")[0].replace("'", "&#39;") in text.replace("&#x27;", "&#39;") for note in notes
        )
    assert rewritten.code == 0


@pytest.mark.parametrize("command", ["run", "compare", "keep"])
def test_what_is_found_of_groups_is_among_the_notes(command: str, place: Path, tmp_path: Path) -> None:
    write_vectors(tmp_path / "test.parquet", rows=30, seed=2)  # without colours
    source = (place / "points.parquet", INPUT, "--test", tmp_path / "test.parquet")
    work = ("--seeds=1", "--workspace", place / "work", *TINY)
    scores, kept = tmp_path / "scores.parquet", tmp_path / "kept.txt"
    assert invoke("score", *source, "--scores=el2n", "--out", scores, *work).code == 0
    kept.write_text("0\n1\n2\n3\n4\n5\n")
    given = {
        "run": (*source, "--keep=0.5", "--out", tmp_path / "out", *work),
        "compare": (*source, "--kept", kept, *work),
        "keep": (scores, "--by=el2n", "--out", tmp_path / "ids.txt"),
    }[command]
    outcome = invoke(command, *given, "--group=colour", "--json")
    assert outcome.code == 0, outcome
    notes = json.loads(outcome.stdout)["notes"]
    assert [note for note in notes if note.startswith("The test part has no column 'colour'")]
    assert [in_flags(note) for note in notes] == outcome.stderr.splitlines()


def process(place: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "datadiet.cli", *map(str, arguments)]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=settings, cwd=place)


def test_a_real_process_says_notes_on_standard_error_alone_and_other_ranks_are_silent(
    place: Path, tmp_path: Path
) -> None:
    notes = list(data_of(place).notes)
    export = ("export", "points.parquet", INPUT, "--kept", place / "out" / "kept.txt")
    arguments(command="run", place=place, out=place / "out")  # writes the kept ids
    done = process(place, *export, "--to", tmp_path / "a", "--json")
    assert done.returncode == 0 and in_order(notes, done.stderr.splitlines())
    assert len(done.stdout.splitlines()) == 1 and in_order(notes, json.loads(done.stdout)["notes"])
    other = process(place, *export, "--to", tmp_path / "b", RANK="1")
    assert (other.returncode, other.stdout, other.stderr) == (0, "", "")


def test_on_a_terminal_the_same_sentences_stand_beside_the_bars(place: Path, tmp_path: Path) -> None:
    notes = list(data_of(place).notes)
    arguments(command="run", place=place, out=place / "out")
    ours, theirs = pty.openpty()
    command = ["export", "points.parquet", INPUT, "--kept", "out/kept.txt", "--to", tmp_path / "a", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "datadiet.cli", *map(str, command)],
        stdout=subprocess.PIPE, stderr=theirs, cwd=place, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            more = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        shown += more
    os.close(ours)
    assert done.returncode == 0
    assert all(shown.decode().count(note) == 1 for note in notes)
    assert in_order(notes, json.loads(done.stdout)["notes"])


def test_in_python_nothing_is_printed_without_a_display(place: Path, capfd) -> None:
    verdict = dd.compare(
        str(place / "points.parquet"),
        {"first": data_of(place).train.ids[:30]},
        dd.Recipe(model="mlp", model_options={"hidden": [8]}, epochs=2, batch_size=16),
        seeds=1,
        load_options={"input": ["x0", "x1", "x2", "x3"]},
        workspace=place / "python",
        device="cpu",
    )
    assert capfd.readouterr() == ("", "")
    assert in_order(list(data_of(place).notes), verdict.data["notes"])
