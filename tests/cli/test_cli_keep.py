"""`datadiet keep` with rules that need more than one score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import TINY, Datadiet, assert_refused, write_vectors

import datadiet as dd
from datadiet.engine.embedding import Embeddings


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a score table and a file of embeddings."""
    from command_line import invoke

    folder = tmp_path_factory.mktemp("scored")
    source = write_vectors(folder / "points.parquet", rows=90)
    outcome = invoke(
        "score",
        source,
        *TINY,
        "--seeds=1",
        "--at-epoch=2",
        "--workspace",
        folder / "runs",
        "--out",
        folder / "scores.parquet",
        "--embeddings",
        folder / "vectors.safetensors",
    )
    assert outcome.code == 0, outcome
    return folder


def kept(path: Path) -> np.ndarray:
    return np.loadtxt(path, dtype=np.int64)


def test_embeddings_written_by_score_serve_a_rule_of_keep(
    datadiet: Datadiet, scored: Path, tmp_path: Path
) -> None:
    out = tmp_path / "kept.txt"
    flags = ("--by=mean_el2n", "--rule=herding", "--keep=0.3", "--out", out)
    assert_refused(datadiet("keep", scored / "scores.parquet", *flags), "--embeddings")
    outcome = datadiet(
        "keep", scored / "scores.parquet", *flags, "--embeddings", scored / "vectors.safetensors"
    )
    assert outcome.code == 0, outcome
    table = dd.ScoreTable.read(scored / "scores.parquet")
    vectors = Embeddings.read(scored / "vectors.safetensors")
    expected = dd.select(
        table.ids, None, 0.3, rule="herding", embeddings=vectors.of(table.ids), labels=table.labels
    )
    np.testing.assert_array_equal(kept(out), expected)


def test_the_file_names_the_score_that_a_rule_is_named_after(
    datadiet: Datadiet, scored: Path, tmp_path: Path
) -> None:
    out = tmp_path / "kept.parquet"
    flags = ("--rule=dual", "--keep=0.5", "--allow-empty-class", "--out", out)
    assert datadiet("keep", scored / "scores.parquet", *flags).code == 0
    assert dd.Kept.read(out).about["score"] == "dual"


def test_auto_says_which_rule_it_took_and_why(datadiet: Datadiet, scored: Path, tmp_path: Path) -> None:
    flags = ("--by=mean_el2n", "--rule=auto", "--keep=0.3", "--out", tmp_path / "kept.parquet")
    outcome = datadiet("keep", scored / "scores.parquet", *flags)
    assert outcome.code == 0 and "auto took stratified: 30" in outcome.stdout
    said = json.loads(datadiet("keep", scored / "scores.parquet", *flags, "--json").stdout)
    assert said["auto"].startswith("auto took stratified")


def test_options_of_a_rule_reach_it(datadiet: Datadiet, scored: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept.txt"
    flags = ("--by=mean_el2n", "--rule=stratified", "--keep=0.4", "--rule-option=beta=0.5", "--out", out)
    assert datadiet("keep", scored / "scores.parquet", *flags).code == 0
    table = dd.ScoreTable.read(scored / "scores.parquet")
    np.testing.assert_array_equal(kept(out), dd.keep(table, 0.4, by="mean_el2n", rule="stratified", beta=0.5))
    too_far = (*flags[:-3], "--rule-option=beta=0.9", "--out", out)
    assert_refused(datadiet("keep", scored / "scores.parquet", *too_far), "beta")
    assert_refused(
        datadiet("keep", scored / "scores.parquet", "--by=mean_el2n", "--rule-option=beta", "--out", out),
        "key=value",
    )


def test_what_was_asked_of_several_scores_is_noted_as_it_was_typed(
    datadiet: Datadiet, scored: Path, tmp_path: Path
) -> None:
    out = tmp_path / "kept.parquet"
    outcome = datadiet(
        "keep", scored / "scores.parquet", "--by", "mean_el2n=2, mean_loss", "--out", out, "--json"
    )
    assert outcome.code == 0, outcome
    assert json.loads(outcome.stdout)["score"] == dd.Kept.read(out).about["score"] == "mean_el2n=2, mean_loss"
    table = dd.ScoreTable.read(scored / "scores.parquet")
    expected = dd.keep(table, 0.5, by={"mean_el2n": 2.0, "mean_loss": 1.0})
    np.testing.assert_array_equal(dd.Kept.read(out).ids, expected)
