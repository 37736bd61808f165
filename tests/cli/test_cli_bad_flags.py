"""Flags that cannot be used are refused in one sentence, before anything is trained or written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import TINY, Datadiet, assert_refused, contents

import datadiet as dd


@pytest.mark.parametrize("keep", ["0", "-0.5", "1.01", "70", "nan", "half", "0.5,2", ""])
def test_run_refuses_a_kept_fraction_outside_0_to_1(
    keep: str, here: Path, points: Path, datadiet: Datadiet
) -> None:
    before = contents(here)
    assert_refused(datadiet("run", points, f"--keep={keep}", *TINY), "keep")
    assert contents(here) == before


@pytest.mark.parametrize("keep", ["0", "-0.5", "1.01", "70", "nan"])
def test_keep_refuses_a_kept_fraction_outside_0_to_1(keep: str, here: Path, datadiet: Datadiet) -> None:
    dd.ScoreTable.from_seeds([0, 1], [0, 1], [{"el2n": [0.1, 0.2]}]).write(here / "scores.parquet")
    before = contents(here)
    assert_refused(datadiet("keep", "scores.parquet", f"--keep={keep}"), "keep")
    assert contents(here) == before


def test_a_kept_fraction_that_leaves_nothing_is_refused(here: Path, points: Path, datadiet: Datadiet) -> None:
    before = contents(here)
    assert_refused(datadiet("run", points, "--keep", "0.001", *TINY), "leaves none of 48")
    assert contents(here) == before


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--scores", "el2m"), ("el2m", "Did you mean 'el2n'")),
        (("--rule", "hardst"), ("hardst", "Did you mean 'hardest'")),
        (("--rule", "el2n"), ("el2n", "score, not a rule")),
        (("--model", "smalcnn"), ("smalcnn", "Did you mean 'smallcnn'")),
        (("--model", "smallcnn"), ("smallcnn", "image", "vector")),
        (("--recipe", "fats"), ("fats", "fast", "paper")),
        (("--recipe", "nowhere.yaml"), ("nowhere.yaml",)),
        (("--optimizer", "sdg"), ("sdg", "sgd")),
        (("--schedule", "step"), ("schedule", "multistep")),
        (("--precision", "half"), ("precision", "bfloat16")),
        (("--budget", "hours"), ("budget", "steps")),
        (("--batch-size", "0"), ("--batch-size is 0",)),
        (("--lr", "nan"), ("lr",)),
        (("--lr", "-1"), ("lr",)),
        (("--epochs", "0"), ("epochs",)),
        (("--steps", "5"), ("epochs", "steps")),  # beside the --epochs of TINY
        (("--milestones", "0.5,later"), ("milestones", "later")),
        (("--milestones", "1.5"), ("milestones",)),
        (("--warmup", "1"), ("warmup",)),
        (("--model-option", "hidden"), ("key=value",)),
        (("--memory-limit", "much"), ("much", "4GB")),
        (("--device", "tpu"), ("tpu", "cpu")),
        (("--tolerance", "-1"), ("tolerance",)),
    ],
)
def test_run_refuses_a_flag_before_anything_is_written(
    flags: tuple[str, ...], words: tuple[str, ...], here: Path, points: Path, datadiet: Datadiet
) -> None:
    before = contents(here)
    assert_refused(datadiet("run", points, *TINY, *flags), *words)
    assert contents(here) == before


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--at-epoch", "3"), ("--at-epoch is 3", "2 epochs", "--epochs")),
        (("--at-epoch", "-1"), ("--at-epoch is -1",)),
        (("--at-epoch", "nan"), ("--at-epoch is nan",)),
        (("--scores", "aum", "--at-epoch", "0.5"), ("aum", "whole epochs")),
        (("--seeds", "0"), ("seeds",)),
        (("--score-seeds", "0"), ("seeds",)),
        (("--start", "0.2"), ("It is an option of window", "start")),
        (("--rule", "window", "--start", "0.9"), ("start",)),
        (("--model", "torch.nn:Nothing"), ("torch.nn:Nothing", "import")),
        (("--model", "no.such.module:net"), ("no.such.module:net", "import")),
        (("--model-option", "widht=8"), ("widht",)),
        (("--checkpoint-every", "-1"), ("checkpoint",)),
        (("--num-workers", "-1"), ("--num-workers",)),
        (("--grand-parameters", "(", "--scores", "grand"), ("(",)),
    ],
)
def test_run_refuses_a_flag_before_anything_is_trained(
    flags: tuple[str, ...], words: tuple[str, ...], here: Path, points: Path, datadiet: Datadiet
) -> None:
    assert_refused(datadiet("run", points, "--out", "out", *TINY, *flags), *words)
    assert not (here / "out").exists()
    assert not list(here.glob("runs/trainings/*"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr: [0.1", ("recipe.yaml", "YAML")),
        ("- lr\n- 0.1\n", ("recipe.yaml", "fields")),
        ("", ("recipe.yaml", "fields")),
        ("learning_rate: 0.1\n", ("learning_rate", "recipe")),
        ("lr: fast\n", ("lr", "fast")),
        ("batch_size: many\n", ("batch_size", "many")),
        ("epochs: [1]\n", ("epochs",)),
        ("milestones: soon\n", ("milestones",)),
        ("model_options: 7\n", ("model_options",)),
        ("base: slow\n", ("slow",)),
        ("1: 2\n", ("field",)),
        ("flip: maybe\n", ("flip",)),
        ("\x00", ("recipe.yaml", "YAML")),
    ],
)
def test_a_bad_recipe_file_is_refused(
    text: str, words: tuple[str, ...], here: Path, points: Path, datadiet: Datadiet
) -> None:
    (here / "recipe.yaml").write_text(text)
    before = contents(here)
    assert_refused(datadiet("score", points, "--recipe", "recipe.yaml", "--device", "cpu"), *words)
    assert contents(here) == before


def test_a_recipe_file_that_is_no_text_is_refused(here: Path, points: Path, datadiet: Datadiet) -> None:
    (here / "recipe.yaml").write_bytes(b"\xff\xfe\xfa")
    before = contents(here)
    assert_refused(datadiet("run", points, "--recipe", "recipe.yaml"), "recipe.yaml")
    assert contents(here) == before


@pytest.mark.parametrize("command", ["run", "score", "compare"])
def test_a_workspace_that_cannot_be_written_is_refused(
    command: str, here: Path, points: Path, datadiet: Datadiet
) -> None:
    (here / "file").write_text("in the way")
    (here / "kept.txt").write_text("0\n1\n2\n3\n")
    more = ["--kept", "kept.txt"] if command == "compare" else []
    before = contents(here)
    outcome = datadiet(command, points, *more, "--workspace", "file/runs", "--out", "out", *TINY)
    assert_refused(outcome, "file/runs", "--workspace")
    assert contents(here) == before


@pytest.mark.parametrize("command", ["run", "score", "compare"])
def test_a_place_for_the_results_that_cannot_be_written_is_refused_before_anything_is_trained(
    command: str, here: Path, points: Path, datadiet: Datadiet
) -> None:
    (here / "file").write_text("in the way")
    (here / "kept.txt").write_text("0\n1\n2\n3\n")
    more = ["--kept", "kept.txt"] if command == "compare" else []
    before = contents(here)
    assert_refused(datadiet(command, points, *more, "--out", "file/out", *TINY), "file", "--out")
    assert contents(here) == before


@pytest.mark.parametrize("out", ["file/kept.parquet", "file/kept.txt"])
def test_keep_refuses_a_place_that_cannot_be_written(out: str, here: Path, datadiet: Datadiet) -> None:
    dd.ScoreTable.from_seeds([0, 1], [0, 0], [{"el2n": [0.1, 0.2]}]).write(here / "scores.parquet")
    (here / "file").write_text("in the way")
    before = contents(here)
    assert_refused(datadiet("keep", "scores.parquet", "--out", out), "'file'")
    assert contents(here) == before


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--by", "el2m"), ("el2m", "el2n")),
        ((), ("which score", "el2n", "loss")),
        (("--by", "el2n", "--rule", "hardst"), ("hardst", "hardest")),
        (("--by", "el2n", "--start", "0.1"), ("start",)),
        (("--by", "el2n", "--balance", "labels"), ("balance", "class")),
        (("--by", "el2n", "--balance", "class", "--per-class"), ("--per-class keeps", "--balance class")),
        (("--by", "el2n", "--seed", "-1"), ("seed",)),
    ],
)
def test_keep_refuses_what_the_table_or_the_rule_does_not_have(
    flags: tuple[str, ...], words: tuple[str, ...], here: Path, datadiet: Datadiet
) -> None:
    columns = {"el2n": [0.1, 0.2, 0.3, 0.4], "loss": [1.0, 2.0, 3.0, 4.0]}
    dd.ScoreTable.from_seeds([0, 1, 2, 3], [0, 1, 0, 1], [columns]).write(here / "scores.parquet")
    before = contents(here)
    assert_refused(datadiet("keep", "scores.parquet", *flags), *words)
    assert contents(here) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("keep",), ("score table",)),
        (("keep", "nowhere.parquet"), ("nowhere.parquet",)),
        (("keep", "points.parquet"), ("points.parquet", "not a score table")),
        (("keep", "broken.parquet"), ("broken.parquet",)),
        (("verify", "nowhere.parquet"), ("nowhere.parquet",)),
        (("verify", "points.parquet"), ("points.parquet", "not a score table")),
        (("report", "nowhere"), ("nowhere", "verdict.json")),
        (("report", "empty"), ("empty", "verdict.json")),
        (("report", "broken"), ("broken", "verdict.json")),
        (("compare", "points.parquet", "--kept", "nowhere.parquet"), ("nowhere.parquet",)),
        (("compare", "points.parquet", "--kept", "points.parquet"), ("points.parquet", "id")),
        (("compare", "points.parquet", "--kept", "words.txt"), ("words.txt", "seven")),
        (("compare", "points.parquet", "--kept", "none.txt"), ("none",)),
        (("score",), ("--from-logits",)),
        (("score", "points.parquet", "--from-logits", "logits.npy"), ("--from-logits",)),
        (("score", "--from-logits", "logits.npy"), ("--labels",)),
    ],
)
def test_a_file_that_is_missing_or_no_such_thing_is_refused(
    arguments: tuple[str, ...], words: tuple[str, ...], here: Path, points: Path, datadiet: Datadiet
) -> None:
    (here / "broken.parquet").write_bytes(b"PAR1 and nothing more")
    (here / "words.txt").write_text("1\nseven\n")
    (here / "none.txt").write_text("")
    (here / "empty").mkdir()
    (here / "broken").mkdir()
    (here / "broken" / "verdict.json").write_text("{")
    before = contents(here)
    assert_refused(datadiet(*arguments), *words)
    after = contents(here)
    after = {path: content for path, content in after.items() if not path.startswith("runs")}
    assert after == before


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ("0\n1\n1\n", ("more than once", "1")),
        ("0\n1\n999\n", ("999",)),
        ("-1\n", ("-1",)),
        ("99999999999999999999\n", ("kept.txt",)),
    ],
)
def test_compare_refuses_kept_ids_that_are_not_in_the_data(
    ids: str, words: tuple[str, ...], here: Path, points: Path, datadiet: Datadiet
) -> None:
    (here / "kept.txt").write_text(ids)
    assert_refused(datadiet("compare", points, "--kept", "kept.txt", "--out", "out", *TINY), *words)
    assert not (here / "out").exists()
    assert not list(here.glob("runs/trainings/*"))


def test_an_unknown_flag_is_refused_with_the_nearest_one(here: Path, datadiet: Datadiet) -> None:
    outcome = datadiet("run", "digits", "--kep", "0.5")
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert "--keep" in outcome.stderr
    assert contents(here) == {}


def test_one_name_for_two_files_of_kept_ids_is_refused(here: Path, points: Path, datadiet: Datadiet) -> None:
    for folder in ("one", "two"):
        (here / folder).mkdir()
        (here / folder / "kept.txt").write_text("0\n1\n2\n")
    kept = ("--kept", "one/kept.txt", "--kept", "two/kept.txt")
    assert_refused(datadiet("compare", points, *kept, *TINY), "kept")
    assert not list(here.glob("runs/trainings/*"))


def test_keep_mixes_scores_by_rank_and_refuses_weights_that_are_no_numbers(
    datadiet: Datadiet, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    columns = {"el2n": generator.random(40), "forgetting": generator.random(40)}
    table = dd.ScoreTable.from_seeds(np.arange(40), np.arange(40) % 2, [columns])
    path, out = tmp_path / "scores.parquet", tmp_path / "kept.txt"
    table.write(path)
    assert datadiet("keep", path, "--by", "el2n=2,forgetting", "--keep", 0.5, "--out", out).code == 0
    expected = dd.keep(table, 0.5, by={"el2n": 2.0, "forgetting": 1.0})
    np.testing.assert_array_equal(np.loadtxt(out, dtype=np.int64), expected)
    assert_refused(datadiet("keep", path, "--by", "el2n=much", "--out", out), "--by", "el2n=2,forgetting=1")
