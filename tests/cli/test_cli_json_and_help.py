"""`--json` gives one object on standard output; `--help` of every command shows an example; start-up is light."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import typer.rich_utils
from command_line import TINY, Outcome, invoke, write_vectors

import datadiet as dd
from datadiet.cli import app
from datadiet.cli.printing import in_flags

COMMANDS = ("run", "score", "keep", "compare", "report", "verify")
ALL_COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What each command answers with `--json`, one after the other in one folder."""
    folder = tmp_path_factory.mktemp("json")
    points = write_vectors(folder / "points.parquet")
    scores, out = folder / "out" / "scores.parquet", folder / "out"
    work = ("--workspace", folder / "work", "--seeds", "2", *TINY)
    given = {
        "run": ("run", points, "--keep", "0.5", "--out", out, *work),
        "score": ("score", points, "--scores", "el2n", "--out", folder / "new" / "scores.parquet", *work),
        "keep": ("keep", scores, "--by", "mean_el2n", "--keep", "0.5", "--out", folder / "kept.parquet"),
        "compare": ("compare", points, "--kept", f"mine={folder / 'kept.parquet'}", *work),
        "report": ("report", out),
        "verify": ("verify", scores, "--sample", "10"),
    }
    return {command: invoke(*arguments, "--json") for command, arguments in given.items()}


def read(outcome: Outcome) -> dict[str, Any]:
    assert outcome.code == 0
    (line,) = outcome.stdout.splitlines()
    # NaN and Infinity are no JSON, though Python reads them.
    answer = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert isinstance(answer, dict)
    assert set(outcome.stderr.splitlines()) <= {in_flags(note) for note in answer["notes"]}
    return answer


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_one_object_on_standard_output(command: str, answers: dict[str, Outcome]) -> None:
    assert read(answers[command])


def test_the_json_of_run_is_the_verdict_and_its_folder(answers: dict[str, Outcome]) -> None:
    answer = read(answers["run"])
    folder = Path(answer.pop("folder"))
    passing = [note for note in answer["notes"] if note.startswith("Plan: ")]
    assert len(passing) == 1
    answer["notes"].remove(passing[0])
    assert answer == json.loads((folder / "verdict.json").read_text())
    assert {"recommended", "full", "subsets", "cost", "tolerance"} <= set(answer)


def test_the_json_of_the_other_commands_says_what_was_written(answers: dict[str, Outcome]) -> None:
    assert Path(read(answers["score"])["out"]).is_file()
    assert Path(read(answers["keep"])["out"]).is_file()
    assert read(answers["keep"])["n"] == 24
    assert Path(read(answers["report"])["report"]).is_file()
    assert read(answers["verify"])["agrees"] is True
    assert [subset["score"] for subset in read(answers["compare"])["subsets"]] == ["mine", "random"]


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_the_help_of_a_command_shows_an_example_of_it(command: str) -> None:
    outcome = invoke(command, "--help")
    assert (outcome.code, outcome.stderr) == (0, "")
    assert f"Example: datadiet {command} " in " ".join(outcome.stdout.split())


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_the_help_of_a_command_says_all_that_is_told_of_its_flags(command: str, monkeypatch) -> None:
    monkeypatch.setattr(typer.rich_utils, "MAX_WIDTH", 1000)  # one line a flag
    shown = " ".join(invoke(command, "--help").stdout.split())
    told = [getattr(flag, "help", None) or "" for flag in ALL_COMMANDS[command].params]
    # Only the marks of code are for the eye; defaults in square brackets are words like any others.
    assert [text for text in told if " ".join(text.replace("`", "").split()) not in shown] == []


def test_the_help_of_the_whole_lists_every_command() -> None:
    outcome = invoke("--help")
    assert outcome.code == 0
    for command in ALL_COMMANDS:
        assert f" {command} " in outcome.stdout


def test_the_examples_in_the_help_name_flags_that_there_are() -> None:
    for command in ALL_COMMANDS:
        text = " ".join(invoke(command, "--help").stdout.split())
        example = text.rsplit("Example: ", 1)[1]
        flags = [word for word in example.split() if word.startswith("--")]
        for flag in flags:
            assert flag in text.rsplit("Example: ", 1)[0], f"{command} has no {flag}"


@pytest.mark.parametrize("command", ["run", "keep"])
def test_rule_help_explains_the_rules(command: str) -> None:
    more = ("digits",) if command == "run" else ()
    outcome = invoke(command, *more, "--rule", "help")
    assert outcome.code == 0
    assert "hardest" in outcome.stdout and "fails" in outcome.stdout


HEAVY = ("torch", "datasets", "pyarrow", "pandas", "matplotlib", "sklearn", "accelerate", "transformers")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from datadiet.cli import app\n"
        "try:\n    app(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"loaded = [name for name in {HEAVY} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


def test_without_a_terminal_nothing_is_shown_but_the_notes_and_the_result(tmp_path: Path) -> None:
    points = write_vectors(tmp_path / "points.parquet")
    command = [sys.executable, "-m", "datadiet.cli", "score", points.name, "--seeds", "1", *TINY]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0
    assert tuple(done.stderr.splitlines()) == dd.load(str(points)).notes
    assert done.stdout.startswith("48 examples, ") and done.stdout.endswith("scores.parquet\n")


def test_bad_input_of_a_real_process_is_one_sentence_and_status_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "datadiet.cli", "run", "nowhere.parquet", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("datadiet: ") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
