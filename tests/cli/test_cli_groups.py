"""Groups on the command line: who is left out, balance, floors, and classes that would be emptied."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import TINY, Datadiet, assert_refused, write_vectors

import datadiet as dd

pytestmark = pytest.mark.usefixtures("no_page")

INPUT = ("--input", "x0,x1,x2,x3")


@pytest.fixture
def grouped(here: Path) -> Path:
    """Points of three classes at two sites, a third of each class at the small one."""
    sites = [("big", "big", "small")[row // 3 % 3] for row in range(120)]
    return write_vectors(here / "points.parquet", rows=120, site=sites)


@pytest.fixture
def scores(here: Path, grouped: Path) -> Path:
    """Scores by which class "oak" is hardest and "ash" easiest."""
    examples = dd.load(grouped, input=["x0", "x1", "x2", "x3"])
    train = examples.train
    values = train.labels + np.linspace(0, 0.5, len(train))
    facts = {
        "fingerprint": examples.fingerprint,
        "source": str(grouped),
        "load_options": {"input": ["x0", "x1", "x2", "x3"]},
    }
    table = dd.ScoreTable.from_seeds(
        train.ids, train.labels, [{"el2n": values}], class_names=examples.class_names, provenance=facts
    )
    table.write(here / "scores.parquet")
    return here / "scores.parquet"


def test_run_reports_every_group_and_class(here: Path, grouped: Path, datadiet: Datadiet) -> None:
    write_vectors(grouped, rows=120, site=[("big", "small")[row % 5 == 0] for row in range(120)])
    run = ("run", grouped, *INPUT, *TINY, "--keep", "0.5", "--per-class", "--seeds", "2", "--out", "out")
    outcome = datadiet(*run, "--group", "site", "--group", "site+label", "--json")
    assert outcome.code == 0, outcome.stderr
    verdict = json.loads(outcome.stdout)
    assert [g["name"] for g in verdict["groupings"]] == ["class", "site", "site × class"]
    tables = {(t["score"], t["grouping"]): t["groups"] for t in verdict["groups"]}
    assert set(tables) == {
        (score, name) for score in ("mean_el2n", "random") for name in ("class", "site", "site × class")
    }
    kept = set(dd.Kept.read(here / "out" / "kept" / f"{kept_name(here)}").ids.tolist())
    ids = dd.load(grouped, input=["x0", "x1", "x2", "x3"]).train.ids.tolist()
    small = [id_ for id_ in ids if id_ % 5 == 0]
    row = next(row for row in tables["mean_el2n", "site"] if row["group"] == "small")
    assert (row["n_train"], row["n_kept"]) == (len(small), len(kept.intersection(small)))
    assert [row["kept_share"] for row in tables["mean_el2n", "class"]] == [0.5] * 3
    assert [row["kept_share"] for row in tables["random", "class"]] == [0.5] * 3, "the same quotas"
    assert isinstance(verdict["warnings"], list)
    assert pq.read_table(here / "out" / "groups.parquet").num_rows == 2 * (3 + 2 + 6)
    shown = datadiet(*run, "--group", "site", "--overwrite")
    assert "Who is left out of" in shown.stdout and "by site" in shown.stdout
    assert datadiet("report", "out").code == 0


def kept_name(here: Path) -> str:
    (name,) = [path.name for path in (here / "out" / "kept").iterdir() if path.name.startswith("mean_el2n")]
    return name


def test_fewer_examples_than_classes_are_refused_before_anything_is_trained(
    here: Path, points: Path, datadiet: Datadiet
) -> None:
    run = ("run", points, *TINY, "--keep", "0.021", "--seeds", "1", "--out", "out")  # one example stays
    assert_refused(datadiet(*run), "leaves some of the 3 classes empty", "--allow-empty-class")
    assert not (here / "out").exists() and not list(here.glob("runs/trainings/*"))
    again = datadiet(*run, "--rule", "hardest", "--allow-empty-class")
    assert again.code == 0, again.stderr
    assert (here / "out" / "scores.parquet").exists()


def test_a_run_on_many_unequal_classes_keeps_all_of_them_and_says_how_many_that_is(
    here: Path, datadiet: Datadiet
) -> None:
    """As a set of intents of which some have a handful of examples: nothing fails after the scores are paid for."""
    labels = np.repeat(np.arange(12), [60, 40, 30, 20, 10, 8, 6, 5, 5, 4, 3, 3])
    inputs = np.random.default_rng(0).normal(size=(len(labels), 4)) + labels[:, None]
    lines = [
        f"{','.join(f'{v:.4f}' for v in row)},c{label:02}" for row, label in zip(inputs, labels, strict=True)
    ]
    (here / "intents.csv").write_text("\n".join(["x0,x1,x2,x3,label", *lines]) + "\n")
    outcome = datadiet(
        "run",
        "intents.csv",
        *INPUT,
        *TINY,
        "--keep",
        "0.7,0.1",
        "--rule",
        "hardest",
        "--seeds",
        "1",
        "--out",
        "out",
        "--json",
    )
    assert outcome.code == 0, outcome.stderr
    groups = {(t["score"], t["keep"]): t["groups"] for t in json.loads(outcome.stdout)["groups"]}
    for (_, keep), rows in groups.items():
        assert all(row["n_kept"] >= (1 if row["n_train"] else 0) for row in rows), keep
    notes = json.loads(outcome.stdout)["notes"]
    assert [note for note in notes if "stay because no class is to be lost" in note]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--group", "sight"), ("sight", "site")),
        (("--group", "x0"), ("x0", "numbers", "ranges")),
        (("--balance", "group"), ("--group",)),
        (("--balance", "group", "--group", "site,label"), ("site+label",)),
        (("--floor", "some"), ("--floor", "some")),
        (("--floor", "1.5"), ("floor", "1.5")),
        (("--floor", "20"), ("add up to 60", "48")),
        (("--group", "site", "--floor", "40"), ("floor", "small")),
        (("--balance", "label"), ("balance", "'group'")),
    ],
)
def test_groups_floors_and_quotas_that_cannot_be_met_are_refused_before_training(
    flags: tuple[str, ...], words: tuple[str, ...], here: Path, grouped: Path, datadiet: Datadiet
) -> None:
    assert_refused(datadiet("run", grouped, *INPUT, *TINY, "--keep", "0.5", "--out", "out", *flags), *words)
    assert not (here / "out").exists() and not list(here.glob("runs/trainings/*"))


def shares(outcome: object, grouping: str) -> dict[str, tuple[int, int]]:
    groups = json.loads(outcome.stdout)["groups"][grouping]  # type: ignore[attr-defined]
    return {row["group"]: (row["n_kept"], row["n_train"]) for row in groups}


def test_keep_empties_no_class_unless_told(here: Path, scores: Path, datadiet: Datadiet) -> None:
    hardest = ("keep", scores, "--rule", "hardest", "--keep", "0.3")
    outcome = datadiet(*hardest, "--json")
    assert shares(outcome, "class") == {"ash": (5, 32), "elm": (5, 32), "oak": (19, 32)}
    assert "10 examples of 2 classes (ash, elm) stay because no class is to be lost." in outcome.stderr
    outcome = datadiet(*hardest, "--allow-empty-class", "--json", "--overwrite")
    assert outcome.code == 0
    assert shares(outcome, "class") == {"ash": (0, 32), "elm": (0, 32), "oak": (29, 32)}


def test_keep_holds_floors_and_balances_groups_for_every_rule(scores: Path, datadiet: Datadiet) -> None:
    for rule in ("hardest", "easiest", "random", "stratified"):
        flags = (
            "keep",
            scores,
            "--keep",
            "0.5",
            "--rule",
            rule,
            "--allow-empty-class",
            "--json",
            "--overwrite",
        )
        floors = shares(datadiet(*flags, "--floor", "10"), "class")
        assert (
            all(kept >= 10 for kept, _ in floors.values()) and sum(kept for kept, _ in floors.values()) == 48
        )
        tenth = shares(datadiet(*flags, "--group", "site", "--floor", "0.25"), "site")
        assert all(kept >= total / 4 for kept, total in tenth.values())
        even = shares(datadiet(*flags, "--group", "site", "--balance", "group"), "site")
        assert [kept for kept, _ in even.values()] == [24, 24]


def test_keep_finds_the_groups_in_the_data_that_the_table_names(
    here: Path, scores: Path, grouped: Path, datadiet: Datadiet
) -> None:
    outcome = datadiet("keep", scores, "--per-class", "--group", "site")
    assert outcome.code == 0 and "by site" in outcome.stdout
    assert dd.Kept.read(here / "kept.parquet").about["options"]["group"] == ["site"]
    moved = grouped.rename(here / "moved.parquet")
    assert_refused(datadiet("keep", scores, "--per-class", "--group", "site"), "points.parquet")
    assert datadiet("keep", scores, "--per-class", "--group", "site", "--source", moved).code == 0
    write_vectors(moved, rows=120, seed=1, site=["a"] * 120)
    assert_refused(datadiet("keep", scores, "--group", "site", "--source", moved), "other data")


def test_compare_reports_groups(here: Path, scores: Path, grouped: Path, datadiet: Datadiet) -> None:
    assert datadiet("keep", scores, "--per-class", "--out", "kept.parquet").code == 0
    arguments = ("--kept", "kept.parquet", *INPUT, *TINY, "--seeds", "2", "--out", "out", "--json")
    outcome = datadiet("compare", grouped, *arguments, "--group", "site")
    assert outcome.code == 0, outcome.stderr
    tables = json.loads(outcome.stdout)["groups"]
    assert [(table["score"], table["grouping"]) for table in tables][:2] == [
        ("kept", "class"),
        ("kept", "site"),
    ]
    assert all(row["accuracy"] is not None for row in tables[1]["groups"])
    assert (here / "out" / "groups.parquet").exists()
