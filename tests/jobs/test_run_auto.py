"""The rule auto in a run: what it takes is said, and where it takes random there is a random subset alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datadiet as dd
from datadiet.engine.estimates import Costs, measured_costs
from datadiet.engine.setup import Setup
from datadiet.foundation.progress import ProgressDisplay
from datadiet.jobs import run as run_module
from datadiet.jobs.keep import keep_from, kind_for_auto
from tiny_models import small_recipe


def test_where_auto_takes_random_the_run_has_random_alone_and_says_why(
    vectors: dd.Examples, tmp_path: Path
) -> None:
    with ProgressDisplay(enabled=False) as display:
        verdict = dd.run(
            vectors, keep=[0.5, 0.15, 0.7], seeds=1, recipe=small_recipe(), workspace=tmp_path / "runs", device="cpu",
            out=tmp_path / "out", display=display,
        )  # fmt: skip
    subsets = {(subset["score"], subset["keep"]) for subset in verdict.data["subsets"]}
    scored, random = (
        {("mean_el2n", keep) for keep in (0.7, 0.5)},
        {("random", keep) for keep in (0.7, 0.5, 0.15)},
    )
    assert subsets == scored | random
    said = [note for note in verdict.data["notes"] if note.startswith("auto takes")]
    assert [note.split(":")[0] for note in said] == ["auto takes stratified", "auto takes random"]
    assert all(share in said[0] for share in ("70 % stays", "50 % stays"))
    plan = dd.plan(
        vectors,
        keep=[0.5, 0.15, 0.7],
        seeds=1,
        recipe=small_recipe(),
        workspace=tmp_path / "runs",
        device="cpu",
    )
    assert {(arm.score, arm.keep) for arm in plan.arms} == subsets | {("full", 1.0)}


def test_intents_with_slots_are_no_plain_texts_to_auto() -> None:
    assert kind_for_auto("text", None) == kind_for_auto("text", "classification") == "text"
    assert kind_for_auto("text", "intent_slots") is None


def test_a_plan_counts_a_pass_over_the_data_only_for_scores_that_take_one(
    vectors: dd.Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def spy(setup: Setup, **told: Any) -> Costs:
        asked.append(told["scoring_pass"])
        return measured_costs(setup, **told)

    monkeypatch.setattr(run_module, "measured_costs", spy)
    for scores in (None, ["forgetting"], ["mean_el2n", "el2n"], ["grand"]):
        dd.plan(vectors, scores=scores, recipe=small_recipe(), workspace=tmp_path / "runs", device="cpu")
    assert asked == [False, False, True, True]
    assert Costs(1.0, 1.0, 0.0, model=1.0).of_scoring(10) == 11.0, "one model, and no pass"


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
