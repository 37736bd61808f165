"""Tables joined by id and compared: against sets and sorted lists written out."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from datadiet.foundation.errors import BadInputError
from datadiet.jobs.agree.job import COLUMNS, agree
from datadiet.jobs.keep import Kept
from datadiet.scores import ScoreTable


def table(ids, columns, labels=None, fingerprint="same") -> ScoreTable:
    ids = np.asarray(ids)
    labels = ids % 3 if labels is None else labels
    provenance = {"fingerprint": fingerprint} if fingerprint else {}
    return ScoreTable.from_seeds(
        ids, labels, [columns], class_names=("ash", "elm", "oak"), provenance=provenance
    )


def hardest(hardness: dict[int, float], size: int) -> set[int]:
    return set(sorted(hardness, key=lambda id_: (-hardness[id_], id_))[:size])


@pytest.fixture
def two() -> tuple[ScoreTable, ScoreTable]:
    """Two tables of the same data; the second has its rows in another order, and lacks some."""
    generator = np.random.default_rng(0)
    ids = np.arange(0, 120, 2)
    el2n = generator.random(60)
    margin = -el2n + 0.2 * generator.normal(size=60)  # lower means harder
    order = generator.permutation(60)[:50]
    return table(ids, {"el2n": el2n}), table(ids[order], {"margin": margin[order]})


def test_choices_are_matched_by_id_and_signs_do_not_show(two) -> None:
    first, second = two
    found = agree({"a": first, "b": second}, keep=[0.2, 0.5])
    shared = set(first.ids.tolist()) & set(second.ids.tolist())
    el2n = {i: v for i, v in zip(first.ids.tolist(), first.column("el2n"), strict=True) if i in shared}
    margin = {i: -v for i, v in zip(second.ids.tolist(), second.column("margin"), strict=True)}
    assert found.n == len(shared) == 50
    for row in found.pairs:
        size = round(row["keep"] * 50)
        assert row["common"] == len(hardest(el2n, size) & hardest(margin, size))
        assert row["overlap"] == row["common"] / size
        assert row["chance"] == pytest.approx(size / 50)
        assert row["spearman"] > 0.5
    assert any("10 of the 60 examples of 'a' are left out" in note for note in found.notes)


def test_one_table_compares_its_own_scores(two) -> None:
    generator = np.random.default_rng(1)
    columns = {name: generator.random(30) for name in ("el2n", "loss", "entropy", "random")}
    found = agree(table(range(30), columns))
    assert {(r["first"], r["second"]) for r in found.correlations()} == {
        ("el2n", "loss"), ("el2n", "entropy"), ("loss", "entropy"),
    }  # fmt: skip
    assert len(found.pairs) == 3 * 9 and len(found.balance) == 3 * 9
    some = agree(table(range(30), columns), scores=["el2n", "random"], keep=[0.5])
    assert [(r["first"], r["second"]) for r in some.pairs] == [("el2n", "random")]


def test_a_score_agrees_with_itself_entirely() -> None:
    values = np.random.default_rng(0).random(40)
    found = agree([table(range(40), {"el2n": values})] * 2)
    assert all(row["overlap"] == row["jaccard"] == 1 for row in found.pairs)
    (row,) = found.correlations()
    assert row["spearman"] == pytest.approx(1) and row["kendall"] == pytest.approx(1)
    assert row["spearman_low"] == pytest.approx(1)


def test_scores_at_several_epochs_are_found_by_their_name() -> None:
    generator = np.random.default_rng(1)
    columns = {name: generator.random(30) for name in ("el2n@2", "el2n@4", "loss@2")}
    found = agree(table(range(30), columns), scores=["el2n"], keep=[0.5])
    assert [(r["first"], r["second"]) for r in found.pairs] == [("el2n@2", "el2n@4")]


def test_a_kept_file_is_held_against_as_many_examples_of_a_score() -> None:
    values = np.random.default_rng(0).random(40)
    scored = table(range(40), {"el2n": values})
    kept = Kept(np.array([1, 5, 9, 13, 99]), {"fingerprint": "same"})
    found = agree({"scores": scored, "mine": kept}, keep=[0.5])
    (row,) = [r for r in found.pairs if r["first"] == "mine"]
    assert row["common"] == len({1, 5, 9, 13} & hardest(dict(enumerate(values)), 4))
    assert (row["first_kept"], row["second_kept"], row["keep"]) == (4, 4, 0.1)
    assert row["spearman"] is None
    assert any("1 of the 5 ids of 'mine'" in note for note in found.notes)
    (balance,) = [r for r in found.balance if r["name"] == "mine"]
    assert balance["largest_class"] in ("ash", "elm", "oak")


def test_kept_files_alone_have_overlap_and_nothing_more(tmp_path) -> None:
    about = {"fingerprint": "same", "n_from": 10}
    Kept(np.array([1, 2, 3, 4]), about).write(tmp_path / "a.parquet")
    Kept(np.array([3, 4, 5]), about).write(tmp_path / "b.parquet")
    found = agree([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    (row,) = found.pairs
    assert (row["first"], row["second"], row["common"], row["n"]) == ("a", "b", 2, 10)
    assert row["overlap"] == pytest.approx(2 / 3) and row["jaccard"] == pytest.approx(2 / 5)
    assert row["chance"] == pytest.approx(0.4)
    assert found.balance == [] and found.correlations() == []
    found.write(tmp_path / "out")
    Kept(np.array([3, 4, 5])).write(tmp_path / "b.txt")
    unknown = agree([tmp_path / "a.parquet", tmp_path / "b.txt"])
    assert unknown.n is None and unknown.pairs[0]["chance"] is None


def test_tables_of_other_data_are_refused_unless_that_is_asked_for() -> None:
    values = np.random.default_rng(0).random(12)
    one, other = table(range(12), {"el2n": values}), table(range(12), {"el2n": values}, fingerprint="other")
    with pytest.raises(BadInputError, match="--any-data"):
        agree([one, other])
    assert any("different data" in note for note in agree([one, other], any_data=True).notes)
    relabelled = table(range(12), {"el2n": values}, labels=np.arange(12) % 2, fingerprint=None)
    with pytest.raises(BadInputError, match="labels"):
        agree([one, relabelled])


def test_the_rule_and_the_classes_are_those_asked_for() -> None:
    values = np.arange(30, dtype=np.float64)
    scored = table(range(30), {"el2n": values, "loss": values[::-1].copy()})
    window = agree(scored, keep=[0.2], rule="window", start=0.4)
    assert window.pairs[0]["common"] == len(set(range(12, 18)) & set(range(12, 18)))
    balanced = agree(scored, keep=[0.2], per_class=True)
    assert all(row["total_variation"] == pytest.approx(0) for row in balanced.balance)
    with pytest.raises(BadInputError, match="does not look at scores"):
        agree(scored, rule="random")


def test_choices_that_ties_make_are_pointed_out() -> None:
    counts = np.array([3.0] * 2 + [0.0] * 38)
    scored = table(range(40), {"forgetting": counts, "el2n": np.random.default_rng(0).random(40)})
    notes = agree(scored, keep=[0.05, 0.5]).notes
    assert any("From 50 % kept on" in note and "38 examples at the cut" in note for note in notes)
    assert not any("el2n" in note for note in notes)


def test_files_called_alike_are_named_after_their_folders(tmp_path, two) -> None:
    for name, item in zip("xy", two, strict=True):
        (tmp_path / name).mkdir()
        item.write(tmp_path / name / "scores.parquet")
    found = agree([tmp_path / name / "scores.parquet" for name in "xy"], keep=[0.5])
    assert (found.pairs[0]["first"], found.pairs[0]["second"]) == ("el2n (x)", "margin (y)")


def test_what_is_written_holds_what_was_found(tmp_path, two) -> None:
    found = agree({"a": two[0], "<b> & $x^2$": two[1]}, keep=[0.5, 0.9])
    found.write(tmp_path / "out")
    assert pq.read_table(tmp_path / "out" / "agreement.parquet").to_pylist() == found.pairs
    csv = pacsv.read_csv(tmp_path / "out" / "agreement.csv")
    assert tuple(csv.column_names) == COLUMNS
    assert csv.column("overlap").to_pylist() == [row["overlap"] for row in found.pairs]
    assert json.loads((tmp_path / "out" / "agreement.json").read_text())["pairs"] == found.pairs
    assert (tmp_path / "out" / "agreement.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "out" / "agreement.svg").read_text()
    assert "&lt;b&gt;" in svg and "chance" in svg


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scores": ["el3n"]}, "el2n"),
        ({"scores": ["el2n"]}, "only one"),
        ({"keep": [1.0]}, "between 0 and 1"),
        ({"keep": []}, "at least one fraction"),
        ({"seed": -1}, "0 or above"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, words) -> None:
    values = np.random.default_rng(0).random((2, 12))
    with pytest.raises(BadInputError, match=words):
        agree(table(range(12), {"el2n": values[0], "loss": values[1]}), **arguments)


def test_tables_without_a_common_example_are_refused() -> None:
    values = np.random.default_rng(0).random(6)
    with pytest.raises(BadInputError, match="no example id in common"):
        agree([table(range(6), {"el2n": values}), table(range(10, 16), {"el2n": values})])
