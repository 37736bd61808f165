"""Who is left out: every number of the table against a slow loop, and what is warned of."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_up_arms import arm_of, compared

import datadiet as dd
from datadiet.jobs.arms import Arm
from datadiet.jobs.groups import Grouping
from datadiet.jobs.left_out import arm_groups, kept_shares, warnings_of, write_groups
from datadiet.jobs.verdict import decide


def subset_of(correct: np.ndarray, kept: list[np.ndarray | None], score: str = "el2n") -> Arm:
    """An arm with given right answers (seeds, test examples) and given ids that stay for each seed."""
    return arm_of(score, 0.5, correct, ids_for=lambda index: kept[index], n=len(kept[0]), seconds=1.0)


def groups_of(made_up: SimpleNamespace, arm: np.ndarray, full: np.ndarray, grouping: Grouping) -> list[dict]:
    """The table of the groups of one subset."""
    [table] = arm_groups([arm_of("full", 1.0, full), subset_of(arm, made_up.kept)], grouping, made_up.ids)
    return table


@pytest.fixture
def made_up() -> SimpleNamespace:
    generator = np.random.default_rng(0)
    ids = np.sort(generator.choice(1000, 300, replace=False))
    names = ("a", "b", "c", "untested", "test only")
    train = generator.choice(4, 300, p=[0.5, 0.3, 0.1, 0.1])
    test = generator.choice([0, 1, 2, 4], 400, p=[0.6, 0.3, 0.08, 0.02])
    full = generator.random((3, 400)) < 0.9
    arm = generator.random((3, 400)) < np.where(test == 1, 0.4, 0.88)
    kept = [np.sort(generator.choice(ids, 150, replace=False)) for _ in range(3)]
    return SimpleNamespace(
        ids=ids, grouping=Grouping("site", names, train, test), full=full, arm=arm, kept=kept
    )


def test_shares_and_means_are_those_of_a_slow_loop(made_up: SimpleNamespace) -> None:
    rows = groups_of(made_up, made_up.arm, made_up.full, made_up.grouping)
    assert {row["group"] for row in rows} == set(made_up.grouping.names)
    for row in rows:
        code = made_up.grouping.names.index(row["group"])
        members = [
            int(id_) for id_, group in zip(made_up.ids, made_up.grouping.train, strict=True) if group == code
        ]
        stay = [sum(id_ in set(kept.tolist()) for id_ in members) for kept in made_up.kept]
        assert row["n_train"] == len(members)
        assert row["n_kept"] == pytest.approx(sum(stay) / 3)
        assert row["kept_share"] == (pytest.approx(sum(stay) / 3 / len(members)) if members else None)
        tested = [i for i in range(400) if made_up.grouping.test[i] == code]
        assert row["n_test"] == len(tested)
        if not tested:
            assert row["accuracy"] is row["minus_full"] is row["loses_more"] is None
            continue
        here = sum(bool(made_up.arm[s, i]) for s in range(3) for i in tested) / (3 * len(tested))
        there = sum(bool(made_up.full[s, i]) for s in range(3) for i in tested) / (3 * len(tested))
        assert row["accuracy"][0] == pytest.approx(here)
        assert row["minus_full"][0] == pytest.approx(here - there)


def test_the_worst_group_comes_first_and_is_found(made_up: SimpleNamespace) -> None:
    rows = groups_of(made_up, made_up.arm, made_up.full, made_up.grouping)
    differences = [row["minus_full"][0] for row in rows if row["minus_full"] is not None]
    assert differences == sorted(differences) and rows[-1]["minus_full"] is None
    flags = {row["group"]: row["loses_more"] for row in rows}
    assert flags["b"] is True and flags["a"] is False


def test_every_subset_is_judged_by_its_own_excess(made_up: SimpleNamespace) -> None:
    harmless = subset_of(made_up.full.copy(), made_up.kept, "aum")
    arms = [arm_of("full", 1.0, made_up.full), harmless, subset_of(made_up.arm, made_up.kept)]
    first, second = arm_groups(arms, made_up.grouping, made_up.ids)
    assert [row["group"] for row in first if row["loses_more"]] == []
    assert [row["group"] for row in second if row["loses_more"]] == ["b"]


def test_a_group_of_few_test_examples_is_not_judged(made_up: SimpleNamespace) -> None:
    test = np.where(np.arange(400) < 9, 2, 0)
    grouping = Grouping("site", made_up.grouping.names, made_up.grouping.train, test)
    rows = groups_of(made_up, made_up.arm, made_up.full, grouping)
    few = next(row for row in rows if row["group"] == "c")
    assert few["n_test"] == 9 and few["loses_more"] is None
    assert few["accuracy"][1:] == few["minus_full"][1:] == [None, None]


@pytest.mark.parametrize(("seeds", "full"), [(1, 3), (2, 3), (3, 2)])
def test_fewer_than_three_seeds_judge_no_group(made_up: SimpleNamespace, seeds: int, full: int) -> None:
    rows = groups_of(made_up, made_up.arm[:seeds], made_up.full[:full], made_up.grouping)
    assert {row["loses_more"] for row in rows} == {None}
    assert next(row for row in rows if row["group"] == "a")["minus_full"][1] is not None


def test_a_group_that_gains_less_than_the_whole_does_not_lose(made_up: SimpleNamespace) -> None:
    full = np.zeros((3, 400), dtype=bool)
    arm = np.broadcast_to(made_up.grouping.test != 1, (3, 400))
    rows = groups_of(made_up, arm, full, made_up.grouping)
    assert not any(row["loses_more"] for row in rows)


def test_without_a_column_in_the_test_part_there_are_shares_only(made_up: SimpleNamespace) -> None:
    grouping = Grouping("site", made_up.grouping.names, made_up.grouping.train, None)
    rows = groups_of(made_up, made_up.arm, made_up.full, grouping)
    assert all(row["accuracy"] is None and row["n_test"] == 0 for row in rows)
    shares = [row["kept_share"] for row in rows if row["kept_share"] is not None]
    assert shares == sorted(shares)
    alone = kept_shares(grouping, made_up.ids, made_up.kept)
    assert [row["group"] for row in alone] == [row["group"] for row in rows]


def verdict_of(made_up: SimpleNamespace, **more: object) -> dict:
    arms = [
        arm_of("full", 1.0, made_up.full),
        subset_of(made_up.arm, made_up.kept),
        subset_of(made_up.arm, made_up.kept, "random"),
    ]
    return decide(compared(*arms, ids=made_up.ids), groupings=[made_up.grouping], **more)


def test_the_verdict_has_the_groups_of_every_subset_and_warns_of_those_that_lose_more(
    made_up: SimpleNamespace, tmp_path: Path
) -> None:
    verdict = verdict_of(made_up)
    assert [(entry["score"], entry["grouping"]) for entry in verdict["groups"]] == [
        ("el2n", "site"),
        ("random", "site"),
    ]
    assert json.loads(json.dumps(verdict)) == verdict
    (warning,) = verdict["warnings"]  # of the random subset, which is as bad, nothing is said
    row = verdict["groups"][0]["groups"][0]
    assert row["group"] == "b" and "'b' loses more than the whole" in warning
    assert f"{100 * row['minus_full'][0]:+.1f} points" in warning
    write_groups(verdict["groups"], tmp_path / "groups.parquet")
    table = pq.read_table(tmp_path / "groups.parquet").to_pylist()
    assert len(table) == 2 * 5
    assert (table[0]["group"], table[0]["minus_full"]) == ("b", row["minus_full"][0])
    assert table[0]["minus_full_high"] == row["minus_full"][2] and table[-1]["accuracy_low"] is None


def test_a_warning_shows_hostile_names_harmlessly(made_up: SimpleNamespace) -> None:
    names = ("a", "\x1b[31mred\n\u202e", "c", "d", "e")
    made_up.grouping = Grouping("si\x1bte", names, made_up.grouping.train, made_up.grouping.test)
    (warning,) = verdict_of(made_up)["warnings"]
    assert warning.isprintable() and "'red'" in warning


def test_the_recommended_subset_is_warned_of_first() -> None:
    def entry(score: str, n: int) -> dict:
        row = {"group": "g", "minus_full": [-0.2, -0.3, -0.1], "kept_share": 0.1, "loses_more": True}
        return {
            "score": score,
            "rule": "hardest",
            "keep": n / 10,
            "n": n,
            "grouping": "class",
            "groups": [row],
        }

    tables = [entry("el2n", 7), entry("el2n", 5), entry("random", 5)]
    subsets = [{**table, "minus_full": [-0.01, -0.02, 0.0]} for table in tables]
    assert ["0.5" in text for text in warnings_of(tables, subsets, subsets[1])] == [True, False]
    assert "random" in warnings_of(tables, subsets, subsets[2])[0]
    assert len(warnings_of(tables, subsets, None)) == 2


def test_no_class_loses_all_its_examples_unless_it_is_allowed() -> None:
    scores = [{"el2n": [0.1, 0.2, 0.8, 0.9, 0.7, 0.6]}]
    table = dd.ScoreTable.from_seeds(range(6), [0, 0, 1, 1, 2, 2], scores, class_names=("ash", "elm", "oak"))
    hardest = {"rule": "hardest"}
    assert dd.keep(table, 0.5, **hardest).tolist() == [1, 3, 4]
    assert dd.keep(table, 0.5, **hardest, allow_empty_class=True).tolist() == [2, 3, 4]
    assert dd.keep(table, 0.5, **hardest, per_class=True).tolist() == [1, 3, 4]
    assert dd.keep(table, 0.5, **hardest, floor=1).tolist() == [1, 3, 4]
    assert dd.keep(table, 0.5, **hardest, balance="group", groups=list("xxyyzz")).tolist() == [1, 3, 4]
    with pytest.raises(dd.BadInputError, match="add up to 6"):
        dd.keep(table, 0.5, **hardest, floor=2)
    with pytest.raises(dd.BadInputError, match="leaves some of the 3 classes empty: keep more, or allow"):
        dd.keep(table, 2, **hardest)
