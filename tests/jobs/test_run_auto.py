"""The rule auto in a run: what it takes is said, and where it takes random there is a random subset alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import datadiet as dd
from datadiet.foundation.progress import ProgressDisplay
from datadiet.jobs.keep import keep_from
from tiny_models import small_recipe


def test_where_auto_takes_random_the_run_has_random_alone_and_says_why(
    vectors: dd.Examples, tmp_path: Path
) -> None:
    with ProgressDisplay(enabled=False) as display:
        verdict = dd.run(
            vectors, keep=[0.5, 0.15], seeds=1, recipe=small_recipe(), workspace=tmp_path / "runs", device="cpu",
            out=tmp_path / "out", display=display,
        )  # fmt: skip
    subsets = {(subset["score"], subset["keep"]) for subset in verdict.data["subsets"]}
    assert subsets == {("mean_el2n", 0.5), ("random", 0.5), ("random", 0.15)}
    said = [note for note in verdict.data["notes"] if note.startswith("auto takes")]
    assert [note.split(":")[0] for note in said] == ["auto takes stratified", "auto takes random"]
    plan = dd.plan(
        vectors, keep=[0.5, 0.15], seeds=1, recipe=small_recipe(), workspace=tmp_path / "runs", device="cpu"
    )
    assert {(arm.score, arm.keep) for arm in plan.arms} == subsets | {("full", 1.0)}


def test_of_texts_auto_takes_random_in_a_table_too(tmp_path: Path) -> None:
    facts = {"kind": "text"}
    scores = [{"mean_el2n": np.arange(20.0)}]
    table = dd.ScoreTable.from_seeds(range(20), [0, 1] * 10, scores, class_names=("a", "b"), provenance=facts)
    expected = dd.select(table.ids, None, 0.5, rule="random", labels=table.labels, seed=3)
    assert dd.keep(table, 0.5, seed=3).tolist() == expected.tolist()
    stratified = dd.select(
        table.ids, table.column("mean_el2n"), 0.5, rule="stratified", labels=table.labels, seed=3
    )
    table.write(tmp_path / "scores.parquet")
    about = keep_from(tmp_path / "scores.parquet", seed=3).kept.about
    assert (about["score"], about["rule"]) == (None, "auto") and about["auto"].startswith(
        "auto took random: 50 %"
    )
    other = dd.ScoreTable.from_seeds(range(20), [0, 1] * 10, scores, class_names=("a", "b"))
    assert dd.keep(other, 0.5, seed=3).tolist() == stratified.tolist()
