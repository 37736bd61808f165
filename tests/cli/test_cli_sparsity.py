"""`datadiet run --sparsity`: sparse networks and small data in one table."""

from __future__ import annotations

import json

import pytest
from command_line import TINY, assert_refused, contents


@pytest.mark.parametrize("sparsity", ["1", "-0.1", "80", "nan"])
def test_a_sparsity_outside_its_range_is_refused_and_nothing_is_written(
    sparsity, datadiet, here, points
) -> None:
    before = contents(here)
    assert_refused(datadiet("run", points, f"--sparsity={sparsity}", *TINY), "sparsity")
    assert contents(here) == before


def test_the_table_has_accuracy_weights_and_examples_of_dense_and_sparse_networks(
    datadiet, here, points, no_page, monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    options = ("--sparsity=0.5", "--keep=0.5", "--seeds=2", "--out=out", *TINY)
    outcome = datadiet("run", points, *options)
    assert outcome.code == 0, outcome
    rows = json.loads((here / "out" / "verdict.json").read_text())["sparse"]["rows"]
    assert [row["score"] for row in rows] == ["full", "full", "mean_el2n", "mean_el2n", "random", "random"]
    for row in rows:
        left = "50 %" if row["minus_dense"] else "100 %"
        assert any(
            all(f" {word} " in line for word in (row["examples"], row["weights"], left))
            for line in outcome.stdout.splitlines()
        )
    found = json.loads(datadiet("run", points, *options, "--json").stdout)
    assert found["sparse"]["rows"] == rows


def test_a_sparsity_that_empties_a_layer_is_refused_and_allowed_when_asked(
    datadiet, here, points, no_page
) -> None:
    options = ("--sparsity=0.99", "--keep=0.5", "--seeds=1", "--out=out", *TINY)
    outcome = datadiet("run", points, *options)
    assert outcome.code == 2 and "leaves no weight of" in outcome.stderr
    # What was trained before that could be known is not lost.
    verdict = json.loads((here / "out" / "verdict.json").read_text())
    assert len(verdict["subsets"]) == 2 and "sparse" not in verdict
    assert (here / "out" / "scores.parquet").exists()
    assert datadiet("run", points, *options, "--allow-empty-layer").code == 0
