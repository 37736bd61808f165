"""A pool end to end: exact picks from both ends and windows, who is left out, and the files that come of it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from pool_files import NAMES, TINY, vectors, write, write_base, write_pool

import datadiet as dd
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.pool import pool

ORIGIN = "datadiet_pool"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Base, weak pool and unlabelled pool, and a workspace in which the base's models are trained once."""
    folder = tmp_path_factory.mktemp("pool")
    write_base(folder)
    points, labels = vectors(120, seed=1)
    generator = np.random.default_rng(2)
    write(
        folder / "weak.parquet",
        points,
        hypothesis=np.where(np.arange(120) == 7, "fir", NAMES[labels]),
        confidence=generator.random(120),
        complaint=np.arange(120) % 10 == 0,
        extra=np.arange(120),
    )
    write(folder / "unlabelled.parquet", points)
    return folder


@pytest.fixture
def picked(folder, tmp_path):
    """Pick from one of the pools in the shared workspace."""

    def pick_from(name="weak", **options):
        arguments = {
            "pick": 15,
            "out": tmp_path / "out",
            "overwrite": True,
            "workspace": folder / "runs",
            **TINY,
        }
        return pool(str(folder / "base.parquet"), str(folder / f"{name}.parquet"), **arguments | options)

    return pick_from


def scored(found) -> dict[str, list]:
    return pq.read_table(found.folder / "pool.parquet").to_pydict()


def by_hand(found, score: str) -> list[int]:
    """Usable rows from the least sure to the surest, ties by id."""
    table = scored(found)
    usable = [row for row, status in enumerate(table["status"]) if status in ("picked", "not picked")]
    return sorted(usable, key=lambda row: (-table[f"by_{score}"][row], row))


@pytest.mark.parametrize("score", ["entropy", "el2n", "margin", "logit_margin", "least_confidence"])
def test_each_end_and_a_window_hold_exactly_what_sorting_by_hand_gives(picked, score) -> None:
    hardest = picked(by=score, defect="complaint")
    order = by_hand(hardest, score)
    assert len(order) == 107 == hardest.data["n_eligible"]
    assert hardest.ids.tolist() == order[:15]
    assert hardest.scores.tolist() == sorted(hardest.scores, reverse=True)
    easiest = picked(by=score, defect="complaint", end="easiest")
    assert sorted(easiest.ids.tolist()) == sorted(order[-15:])
    assert easiest.scores.tolist() == sorted(easiest.scores)
    window = picked(by=score, defect="complaint", window=0.2)
    start = round(0.2 * 107)
    assert window.ids.tolist() == order[start : start + 15]


def test_rows_leave_for_the_reason_that_is_written_beside_them(picked) -> None:
    found = picked(defect="complaint", min_confidence=0.3)
    table, data = scored(found), found.data
    confident = np.random.default_rng(2).random(120) >= 0.3
    expected = []
    for row in range(120):
        if row % 10 == 0:
            expected.append("defect")
        elif row == 7:
            expected.append("hypothesis that the base does not know")
        else:
            expected.append("usable" if confident[row] else "not confident enough")
    shown = ["usable" if status in ("picked", "not picked") else status for status in table["status"]]
    assert shown == expected
    assert data["left_out"] == {
        "defect": 12,
        "hypothesis that the base does not know": 1,
        "not confident enough": expected.count("not confident enough"),
    }
    assert data["n_eligible"] == expected.count("usable") and table["status"].count("picked") == 15
    assert str(15) in str(found) and "12 defect" in str(found)


def test_the_augmented_data_has_the_bases_rows_and_the_picked_ones_with_their_hypotheses(
    picked, folder
) -> None:
    found = picked()
    base = dd.load(str(folder / "base.parquet"))
    rows = pq.read_table(found.folder / "augmented" / "train.parquet").to_pylist()
    assert len(rows) == len(base.train) + 15
    before = base.train.dataset[:]
    for place, row in enumerate(rows[: len(base.train)]):
        assert row[ORIGIN] == {"from": "base", "id": int(base.train.ids[place]), "score": None}
        assert all(row[name] == before[name][place] for name in before)
    weak = pq.read_table(folder / "weak.parquet").to_pylist()
    by_id = dict(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
    added = rows[len(base.train) :]
    assert [row[ORIGIN]["id"] for row in added] == sorted(by_id)
    for row in added:
        source = weak[row[ORIGIN]["id"]]
        assert row["label"] == source["hypothesis"] and row["x0"] == source["x0"]
        assert row["labelled"] is None, "a column that the pool lacks is empty"
        assert row[ORIGIN]["score"] == by_id[row[ORIGIN]["id"]]
    assert "extra" not in rows[0]
    again = dd.load(str(found.folder / "augmented"))
    assert len(again.train) == len(rows) and len(again.test) == len(base.test)
    assert again.class_names == base.class_names
    assert again.test.dataset["x0"][:] == base.test.dataset["x0"][:]


def test_hypotheses_are_the_labels_even_where_the_models_see_it_otherwise(folder, tmp_path) -> None:
    points, labels = vectors(60, seed=3)
    wrong = NAMES[(labels + 1) % 3]
    write(tmp_path / "wrong.parquet", points, label=wrong)
    found = pool(
        str(folder / "base.parquet"), str(tmp_path / "wrong.parquet"), pick=60, out=tmp_path / "out",
        workspace=folder / "runs", **TINY,
    )  # fmt: skip
    rows = pq.read_table(found.folder / "augmented" / "train.parquet").to_pylist()[-60:]
    assert [row["label"] for row in rows] == wrong.tolist()
    assert found.data["models_agree_with_hypotheses"] < 0.2
    assert found.data["picked_by_class"] == dict.fromkeys(NAMES, 20)


def test_the_least_sure_of_a_planted_pool_are_those_between_the_classes(folder, tmp_path) -> None:
    corners = 6 * np.eye(3, 4)[np.arange(90) % 3]
    middle = np.full((10, 4), 0.0)
    middle[:, :2] = 1.25
    points = np.concatenate([corners, middle])[np.random.default_rng(4).permutation(100)]
    between = set(np.flatnonzero(points.max(axis=1) < 2).tolist())
    write(tmp_path / "planted.parquet", points)
    for score in ("entropy", "el2n", "margin", "logit_margin", "least_confidence"):
        found = pool(
            str(folder / "base.parquet"), str(tmp_path / "planted.parquet"), pick=10, by=score,
            out=tmp_path / "out", overwrite=True, workspace=folder / "runs", **TINY,
        )  # fmt: skip
        assert set(found.ids.tolist()) == between, score


def test_equally_unsure_rows_are_taken_in_the_order_of_their_ids(folder, tmp_path) -> None:
    write(tmp_path / "same.parquet", np.ones((30, 4)))
    for end in ("hardest", "easiest"):
        found = pool(
            str(folder / "base.parquet"), str(tmp_path / "same.parquet"), pick=7, end=end,
            out=tmp_path / "out", overwrite=True, workspace=folder / "runs", **TINY,
        )  # fmt: skip
        assert found.ids.tolist() == list(range(7)) if end == "hardest" else list(range(23, 30))


def test_an_unlabelled_pool_becomes_a_list_in_the_order_of_labelling(picked, folder) -> None:
    found = picked("unlabelled", by="margin")
    assert not found.weak and "to be labelled next" in str(found)
    table = pq.read_table(found.folder / "to_label.parquet").to_pydict()
    with (found.folder / "to_label.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    points = vectors(120, seed=1)[0]
    assert table["id"] == found.ids.tolist() == [int(line["id"]) for line in lines]
    assert table["rank"] == list(range(1, 16))
    assert table["score"] == found.scores.tolist() == sorted(found.scores, reverse=True)
    assert pytest.approx(points[found.ids]) == np.array([table[f"x{i}"] for i in range(4)]).T
    assert set(table["prediction"]) <= set(NAMES)
    assert not (found.folder / "augmented").exists()
    assert json.loads((found.folder / "pool.json").read_text())["n_picked"] == 15


def test_hypotheses_can_be_left_unread(picked) -> None:
    weak, unread = picked(), picked(unlabelled=True)
    assert weak.weak and not unread.weak
    assert unread.data["n_eligible"] == 120
    table = pq.read_table(unread.folder / "to_label.parquet")
    assert "hypothesis" in table.column_names, "all columns of the pool are in the list"


def test_confidence_is_the_models_where_the_pool_has_none(picked) -> None:
    everything = picked("unlabelled", pick=1)
    sure = np.array(scored(everything)["model_confidence"])
    bound = float(np.median(sure))
    found = picked("unlabelled", min_confidence=bound)
    assert found.data["n_eligible"] == int((sure >= bound).sum())
    assert (sure[found.ids] >= bound).all()


def test_random_picks_train_nothing_for_a_weak_pool_and_differ_by_seed(picked, tmp_path) -> None:
    one, same, other = (
        picked(by="random", seed=seed, workspace=tmp_path / "runs", out=tmp_path / str(number))
        for number, seed in enumerate((0, 0, 1))
    )
    assert one.ids.tolist() == same.ids.tolist() != other.ids.tolist()
    assert len(set(one.ids.tolist())) == 15 and one.scores is None
    assert one.data["weights"] == []


def test_the_same_call_trains_nothing_again_and_writes_the_same(picked) -> None:
    first, second = picked(), picked()
    assert first.data["weights"] == second.data["weights"]
    assert first.ids.tolist() == second.ids.tolist()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pick": 0}, "at least one"),
        ({"pick": 108, "defect": "complaint"}, "107 of the 120 rows"),
        ({"by": "entropie"}, "entropy"),
        ({"end": "middle"}, "hardest"),
        ({"window": 1.0}, "window"),
        ({"window": 0.1, "end": "easiest"}, "hardest end"),
        ({"window": 0.9, "pick": 30}, "does not fit"),
        ({"min_confidence": 2}, "probability"),
        ({"defect": "complaints"}, "complaint"),
        ({"defect": "extra"}, "true or false"),
        ({"hypothesis": "label"}, "'label'"),
        ({"hypothesis": "hypothesis", "unlabelled": True}, "unlabelled"),
        ({"min_confidence": 1.0}, "less confident than 1"),
        ({"confidence": "hypothesis"}, "numbers"),
        ({"seeds": 0}, "seeds"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(picked, tmp_path, options, words) -> None:
    with pytest.raises(BadInputError, match=words) as caught:
        picked(**options)
    assert str(caught.value).rstrip().endswith(".")
    assert not (tmp_path / "out").exists()


def test_a_pool_of_other_columns_or_another_kind_is_refused(folder, tmp_path) -> None:
    write(tmp_path / "narrow.parquet", vectors(30, 1)[0][:, :3])
    base = str(folder / "base.parquet")
    with pytest.raises(BadInputError, match="'x3' in the pool"):
        pool(
            base,
            str(tmp_path / "narrow.parquet"),
            pick=3,
            out=tmp_path / "out",
            workspace=folder / "runs",
            **TINY,
        )
    with pytest.raises(BadInputError, match="in the pool"):
        pool(base, ["a text", "another"], pick=1, out=tmp_path / "out", workspace=folder / "runs", **TINY)


def test_a_bad_row_is_named_or_left_out(folder, tmp_path) -> None:
    points = vectors(30, 1)[0]
    points[4, 1] = np.nan
    write(tmp_path / "holed.parquet", points)
    arguments = {"pick": 29, "out": tmp_path / "out", "workspace": folder / "runs", **TINY}
    with pytest.raises(BadInputError, match="Row 4 of the pool"):
        pool(str(folder / "base.parquet"), str(tmp_path / "holed.parquet"), **arguments)
    found = pool(
        str(folder / "base.parquet"), str(tmp_path / "holed.parquet"), **arguments,
        load_options={"on_bad_example": "skip"},
    )  # fmt: skip
    assert sorted(found.ids.tolist()) == [row for row in range(30) if row != 4]
    assert found.data["left_out"] == {"input that cannot be used": 1}


@pytest.mark.parametrize(
    "written", [["1", "0", ""], [1.0, 0.0, None], [True, False, None], ["Yes", "no", "none"]]
)
def test_defects_are_read_however_they_are_written(folder, tmp_path, written) -> None:
    write_pool(tmp_path, rows=30, reported=written * 10)
    found = pool(
        str(folder / "base.parquet"), str(tmp_path / "pool.parquet"), pick=20, defect="reported",
        out=tmp_path / "out", workspace=folder / "runs", **TINY,
    )  # fmt: skip
    assert sorted(found.ids.tolist()) == [row for row in range(30) if row % 3]
