"""From each kind of data to a verdict: every promised file is there, and they agree with each other."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from small_sources import MODEL, TINY, write_source

import datadiet as dd

KEEP, SEEDS = 0.5, 3


@dataclass(frozen=True)
class Finished:
    """A run that is done: how it is done again, its folder, and its data."""

    again: Callable[[], object]
    folder: Path
    workspace: Path
    examples: dd.Examples


@pytest.fixture(
    scope="module", params=["images", "text", pytest.param("vectors", marks=pytest.mark.slow), "digits"]
)
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, datadiet: Callable[..., str]
) -> Finished:
    kind = request.param
    place = tmp_path_factory.mktemp(kind)
    folder, workspace = place / "out", place / "work"
    if kind == "digits":
        recipe = dd.Recipe(
            model="smallcnn",
            model_options={"widths": (4, 4, 4)},
            epochs=2,
            batch_size=128,
            precision="float32",
            memory_format="contiguous",
        )

        def again() -> object:
            return dd.run(
                "digits",
                keep=[KEEP],
                seeds=SEEDS,
                score_seeds=SEEDS,
                recipe=recipe,
                workspace=workspace,
                out=folder,
                device="cpu",
                allow_empty_class=True,
            )

        source: Any = "digits"
    else:
        source = write_source(kind, place)
        flags = (
            "--keep",
            KEEP,
            "--seeds",
            SEEDS,
            "--score-seeds",
            SEEDS,
            "--out",
            folder,
            "--workspace",
            workspace,
        )
        flags += ("--rule", "stratified") if kind == "text" else ()  # of which auto takes random
        flags += ("--allow-empty-class",)  # half of a dozen examples may well be of one class

        def again() -> object:
            return datadiet("run", source, *flags, *TINY, *MODEL[kind])

    again()
    return Finished(again, folder, workspace, dd.load(source))


def test_every_promised_file_is_there(finished: Finished) -> None:
    found = {path.relative_to(finished.folder).as_posix() for path in finished.folder.rglob("*.*")}
    promised = {"scores.parquet", "results.parquet", "groups.parquet", "verdict.json"}
    promised |= {"report.html", "recipe.yaml"}
    promised |= {"kept/random-random-0.5.parquet"}
    assert len([name for name in found if name.startswith("kept/mean_el2n-")]) == 1
    promised |= {"figures/accuracy_against_keep.png", "figures/score_distributions.png"}
    assert promised <= found
    assert not [path for path in found if path.endswith(".tmp")]


def test_the_table_has_one_row_an_example_and_the_mean_over_its_seeds(finished: Finished) -> None:
    table = dd.ScoreTable.read(finished.folder / "scores.parquet")
    assert table.ids.tolist() == finished.examples.train.ids.tolist()
    assert table.labels.tolist() == finished.examples.train.labels.tolist()
    for name in table.names:
        assert table.per_seed[name].shape == (SEEDS, len(table))
        np.testing.assert_allclose(
            table.column(name), table.per_seed[name].mean(axis=0, dtype=np.float64), rtol=1e-6
        )


def test_the_table_says_where_it_is_from(finished: Finished) -> None:
    provenance = dd.ScoreTable.read(finished.folder / "scores.parquet").provenance
    assert provenance["fingerprint"] == finished.examples.fingerprint
    assert provenance["recipe"] == yaml.safe_load((finished.folder / "recipe.yaml").read_text())
    entry = provenance["scores"]["mean_el2n"]
    assert entry["higher_is_harder"] is True
    assert entry["taken"] == "training pass" and len(provenance["seeds"]) == SEEDS
    assert {"datadiet", "torch", "numpy"} <= set(provenance["versions"])


def test_exactly_half_is_kept_as_the_rule_says(finished: Finished) -> None:
    table = dd.ScoreTable.read(finished.folder / "scores.parquet")
    size = int(KEEP * len(table) + 0.5)
    (file,) = (finished.folder / "kept").glob("mean_el2n-stratified-0.5.parquet")
    kept = dd.Kept.read(file)
    told = {"rule": "stratified", "labels": table.labels, "seed": 0}
    assert kept.ids.tolist() == dd.select(table.ids, table.column("mean_el2n"), KEEP, **told).tolist()
    assert len(kept.ids) == size
    assert kept.about["fingerprint"] == finished.examples.fingerprint
    chosen = dd.Kept.read(finished.folder / "kept" / "random-random-0.5.parquet").ids
    assert len(set(chosen.tolist()) & set(table.ids.tolist())) == size


def test_the_verdict_has_what_was_promised(finished: Finished) -> None:
    verdict = json.loads((finished.folder / "verdict.json").read_text())
    assert {"source", "n_train", "n_test", "tolerance", "budget", "full", "subsets", "recommended"} <= set(
        verdict
    )
    assert {
        "scoring_seconds",
        "full_training_seconds",
        "kept_training_seconds",
        "pays_after_trainings",
    } <= set(verdict["cost"])
    assert verdict["n_train"] == len(finished.examples.train)
    assert verdict["n_test"] == len(finished.examples.test)
    assert verdict["full"]["interval"][0] <= verdict["full"]["accuracy"] <= verdict["full"]["interval"][1]
    assert [subset["score"] for subset in verdict["subsets"]] == ["mean_el2n", "random"]
    for subset in verdict["subsets"]:
        assert {
            "score",
            "rule",
            "keep",
            "n",
            "accuracy",
            "interval",
            "minus_full",
            "minus_random",
            "holds",
        } <= set(subset)
        mean, low, high = subset["minus_full"]
        assert low <= mean <= high
        assert mean == pytest.approx(subset["accuracy"] - verdict["full"]["accuracy"])
        # Every subset is the largest of its score, so that its own bound decides.
        assert subset["holds"] is (subset["loses_at_most"] <= verdict["tolerance"] / 100)
        assert subset["loses_at_most"] >= -mean
    if verdict["recommended"] is None:
        assert len(verdict["reason"].split()) > 3
    else:
        assert verdict["recommended"] in verdict["subsets"] and verdict["recommended"]["holds"]


def test_the_results_have_a_row_for_every_training_and_agree_with_the_verdict(finished: Finished) -> None:
    rows = pq.read_table(finished.folder / "results.parquet").to_pylist()
    verdict = json.loads((finished.folder / "verdict.json").read_text())
    arms = [{**verdict["full"], "score": "full"}, *verdict["subsets"]]
    assert len(rows) == len(arms) * SEEDS
    assert len({row["run"] for row in rows}) == len(rows)
    for arm in arms:
        mine = [row for row in rows if row["score"] == arm["score"]]
        assert len({row["seed"] for row in mine}) == SEEDS
        assert {row["n"] for row in mine} == {arm["n"]}
        assert np.mean([row["accuracy"] for row in mine]) == pytest.approx(arm["accuracy"])
        for row in mine:
            result = json.loads((finished.workspace / "trainings" / row["run"] / "result.json").read_text())
            assert (result["accuracy"], result["steps"]) == (row["accuracy"], row["steps"])
    # The papers' protocol is the default: subsets train for the steps of the full data.
    assert len({row["steps"] for row in rows}) == 1


def test_the_page_opens_offline_and_shows_the_verdict(finished: Finished) -> None:
    page = (finished.folder / "report.html").read_text(encoding="utf-8")
    for address in re.findall(r"""(?:src|href|action)\s*=\s*["']?([^"'\s>]+)""", page):
        assert address.startswith(("data:", "#")), address
    assert "@import" not in page and not re.search(r"url\(\s*['\"]?(?!data:|#)", page)
    for name in finished.examples.class_names:
        assert name in page


def test_doing_it_again_trains_nothing_and_writes_the_same(
    finished: Finished, no_page: None, file_times: Callable[[Path], dict[str, int]]
) -> None:
    before = file_times(finished.workspace)
    files = {name: (finished.folder / name).read_bytes() for name in ("verdict.json", "recipe.yaml")}
    tables = {name: pq.read_table(finished.folder / name) for name in ("scores.parquet", "results.parquet")}
    finished.again()
    assert file_times(finished.workspace) == before
    for name, content in files.items():
        assert (finished.folder / name).read_bytes() == content
    for name, table in tables.items():
        assert pq.read_table(finished.folder / name).equals(table)


def test_verify_computes_the_same_scores_again(finished: Finished, datadiet: Callable[..., str]) -> None:
    answer = datadiet("verify", finished.folder / "scores.parquet", "--sample", "12", "--json")
    assert json.loads(answer)["agrees"] is True


def test_verify_finds_a_number_that_was_changed(
    finished: Finished, datadiet: Callable[..., str], tmp_path: Path
) -> None:
    table = dd.ScoreTable.read(finished.folder / "scores.parquet")
    values = table.per_seed["mean_el2n"].copy()
    values[0, 3] += 0.25
    changed = dataclasses.replace(table, per_seed={**table.per_seed, "mean_el2n": values})
    changed.write(tmp_path / "scores.parquet")
    answer = datadiet("verify", tmp_path / "scores.parquet", "--sample", len(table), "--json", code=1)
    assert json.loads(answer)["agrees"] is False
