"""Every task on texts, from files to the verdict and its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from text_sources import write_encoder, write_texts

import datadiet as dd

pytest.importorskip("transformers")

TINY = ("--batch-size=16", "--precision=float32", "--memory-format=contiguous", "--device=cpu")
SHORT = (*TINY, "--epochs=2", "--seeds=1", "--keep=0.5", "--allow-empty-class")
SMALL = ("--model=tiny-bert", "--model-option=hidden=8", "--model-option=layers=1")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def joint_run(
    encoder: Path, tmp_path_factory: pytest.TempPathFactory, datadiet: Callable[..., str]
) -> tuple[Path, str]:
    """The folder of a run on intents with slots, with a model folder and two seeds, and what it printed."""
    pytest.importorskip("seqeval")
    place = tmp_path_factory.mktemp("joint")
    train, test = write_texts(place, "intent_slots")
    printed = datadiet(
        "run", train, "--test", test, "--model", encoder, *TINY, "--epochs=3", "--seeds=2", "--keep=0.5",
        "--scores=el2n,grand", "--at-epoch=1", "--allow-empty-class", "--lr=0.01",
        "--workspace", place / "work", "--out", place / "out",
    )  # fmt: skip
    return place / "out", printed


def test_a_joint_run_says_what_its_accuracy_is_and_gives_the_other_metrics(
    joint_run: tuple[Path, str],
) -> None:
    folder, printed = joint_run
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["task"] == "intent_slots"
    for entry in (verdict["full"], *verdict["subsets"]):
        metrics = entry["metrics"]
        assert set(metrics) == {
            "intent_accuracy", "slot_f1", "full_sequence_accuracy", "semantic_error_rate",
        }  # fmt: skip
        assert metrics["full_sequence_accuracy"]["mean"] == pytest.approx(entry["accuracy"])
        assert metrics["intent_accuracy"]["mean"] >= entry["accuracy"] - 1e-12
        for found in metrics.values():
            assert found["mean"] == pytest.approx(np.mean(found["values"]))
            assert found["spread"] == pytest.approx(np.std(found["values"], ddof=1))
    results = pq.read_table(folder / "results.parquet").to_pylist()
    assert all(row["full_sequence_accuracy"] == row["accuracy"] for row in results)
    assert "full-seq" in printed and "slot F1" in printed
    page = (folder / "report.html").read_text()
    assert "Full-sequence accuracy against what is kept" in page and "semantic error rate" in page


def test_scores_of_a_joint_task_name_their_task_and_the_heads_that_grand_is_of(
    joint_run: tuple[Path, str], datadiet: Callable[..., str]
) -> None:
    table = dd.ScoreTable.read(joint_run[0] / "scores.parquet")
    assert table.provenance["task"] == "intent_slots"
    assert table.provenance["scores"]["grand"]["parameters"] == "head"
    assert table.class_names == ("travel", "weather")
    assert {"el2n", "grand", "loss", "margin", "forgetting", "aum"} <= set(table.names)
    assert (table.column("el2n") > 0).all() and table.column("el2n").max() > np.sqrt(
        2
    )  # several words add up
    answer = json.loads(datadiet("verify", joint_run[0] / "scores.parquet", "--sample", "8", "--json"))
    assert answer["agrees"] is True and {"el2n", "grand"} <= set(answer["worst"])


def test_what_follows_a_joint_run_works_on_its_files(
    joint_run: tuple[Path, str], tmp_path: Path, datadiet: Callable[..., str]
) -> None:
    folder, _ = joint_run
    datadiet(
        "keep",
        folder / "scores.parquet",
        "--keep",
        "0.25",
        "--by",
        "el2n",
        "--per-class",
        "--out",
        tmp_path / "kept.txt",
    )
    head, *ids = (tmp_path / "kept.txt").read_text().splitlines()
    assert head.startswith("# datadiet kept ids of data ") and len(ids) == 12
    before = (folder / "report.html").read_bytes()
    datadiet("report", folder)
    assert len((folder / "report.html").read_bytes()) == len(before)


@pytest.mark.parametrize(
    ("command", "words"),
    [(("suspects",), "Finding suspects"), (("review", "--by", "el2n"), "A review")],
)
def test_what_is_for_classes_only_refuses_a_joint_table_in_one_sentence(
    command: tuple[str, ...], words: str, joint_run: tuple[Path, str], tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from datadiet.cli import app

    table = str(joint_run[0] / "scores.parquet")
    result = CliRunner().invoke(app, [command[0], table, *command[1:], "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    refusal = result.stderr.splitlines()[-1]
    assert refusal.startswith("datadiet: ") and words in refusal and "'intent_slots'" in refusal


METRICS = {
    "classification": set(),
    "token_classification": {"token_accuracy", "token_f1"},
    "multilabel": {"macro_f1", "micro_f1"},
    "regression": {"rmse", "mae", "r2", "spearman"},
}


@pytest.mark.parametrize("task", sorted(METRICS))
def test_every_task_reaches_its_verdict_with_a_small_transformer(
    task: str, tmp_path: Path, datadiet: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if task == "token_classification":
        pytest.importorskip("seqeval")
    else:  # the page takes longest to draw, and one without classes is the one that might be broken
        monkeypatch.setattr(
            "datadiet.jobs.run_folder.write_report", lambda contents, folder: folder / "report.html"
        )
    train, test = write_texts(tmp_path, task)
    work = ("--workspace", tmp_path / "work", "--out", tmp_path / "out")
    asked = ("--task", task, "--scores", "el2n,grand")
    answer = json.loads(datadiet("run", train, "--test", test, *work, *SMALL, *SHORT, *asked, "--json"))
    assert set(answer["full"].get("metrics", {})) == METRICS[task]
    assert answer.get("task", "classification") == task
    assert all(np.isfinite(entry["values"][0]) for entry in answer["full"].get("metrics", {}).values())
    table = dd.ScoreTable.read(tmp_path / "out" / "scores.parquet")
    assert (table.column("grand") > 0).all() and (table.column("el2n") > 0).all()
    assert table.provenance["scores"]["grand"]["parameters"] == "all"
    if task == "token_classification":
        assert "has no classes to compare" in (tmp_path / "out" / "report.html").read_text()


def test_the_table_of_a_task_without_margins_has_none_and_asking_for_one_is_refused_at_once(
    tmp_path: Path, datadiet: Callable[..., str]
) -> None:
    train, test = write_texts(tmp_path, "regression")
    work = ("--workspace", tmp_path / "work", "--out", tmp_path / "scores.parquet", "--task", "regression")
    flags = ("--test", test, *work, *SMALL, *TINY, "--epochs=1", "--seeds=1")
    datadiet("score", train, *flags, "--scores=aum", code=2)
    assert not list((tmp_path / "work" / "trainings").iterdir())
    datadiet("score", train, *flags)
    names = set(dd.ScoreTable.read(tmp_path / "scores.parquet").names)
    assert {"mean_el2n", "mean_loss", "forgetting"} <= names
    assert not {"aum", "mean_margin", "mean_entropy"} & names


def test_a_model_that_cannot_tag_words_is_refused(tmp_path: Path, datadiet: Callable[..., str]) -> None:
    train, test = write_texts(tmp_path, "intent_slots")
    flags = ("--test", test, "--workspace", tmp_path / "work", *TINY, "--epochs=1")
    datadiet("run", train, *flags, "--model=ngrams", code=2)
    assert not list((tmp_path / "work").glob("trainings/*"))


def test_texts_that_are_cut_are_counted_in_the_table(tmp_path: Path, datadiet: Callable[..., str]) -> None:
    train, test = write_texts(tmp_path, "classification")
    out = ("--workspace", tmp_path / "work", "--out", tmp_path / "scores.parquet")
    flags = (*SMALL, *TINY, "--epochs=1", "--seeds=1", "--scores=el2n", "--max-length=5")
    datadiet("score", train, "--test", test, *out, *flags)
    cut = dd.ScoreTable.read(tmp_path / "scores.parquet").provenance["texts_cut"]
    words = [len(text.split()) for text in pq.read_table(train)["text"].to_pylist()]
    # Word pieces may be more than words, so at least those of more than three words are cut.
    assert sum(count > 3 for count in words) <= cut["train"] <= len(words)


def test_texts_that_are_too_long_are_refused_on_request(tmp_path: Path, datadiet: Callable[..., str]) -> None:
    train, test = write_texts(tmp_path, "classification")
    place = ("--workspace", tmp_path / "work", "--out", tmp_path / "scores.parquet")
    flags = (*SMALL, *TINY, "--epochs=1", "--seeds=1", "--max-length=5", "--on-long=error")
    datadiet("score", train, "--test", test, *place, *flags, code=2)
    assert not list((tmp_path / "work").glob("trainings/*"))
