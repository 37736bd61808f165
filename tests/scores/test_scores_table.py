"""The score table: seeds combined by hand, written and read, and refused where it does not belong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datadiet.foundation.errors import BadInputError
from datadiet.scores import ScoreTable

BIG = 2**31 + 11


def small_table(**provenance: object) -> ScoreTable:
    return ScoreTable.from_seeds(
        [BIG, 2049, 7],
        [1, 0, 1],
        [
            {"el2n": np.array([3.0, 2.0, 1.0], np.float32), "aum": [1.0, 2.0, 3.0]},
            {"el2n": np.array([5.0, 2.0, 2.0], np.float32), "aum": [1.0, 4.0, 3.0]},
        ],
        class_names=["<script>", "../../x"],
        provenance={"fingerprint": "abc", "seeds": [3, 4], "recipe": {"epochs": 4}, **provenance},
    )


def test_seeds_become_mean_spread_and_rows_in_the_order_of_ids() -> None:
    table = small_table()
    assert table.ids.tolist() == [7, 2049, BIG]
    assert table.labels.tolist() == [1, 0, 1]
    assert table.column("el2n").tolist() == [1.5, 2.0, 4.0]
    np.testing.assert_allclose(table.spreads["el2n"], [np.sqrt(0.5), 0.0, np.sqrt(2.0)], rtol=1e-6)
    assert table.per_seed["el2n"].tolist() == [[1.0, 2.0, 3.0], [2.0, 2.0, 5.0]]
    assert table.column("el2n").dtype == np.float32 and table.column("aum").dtype == np.float64


def test_the_spread_of_one_seed_is_unknown_and_not_zero() -> None:
    table = ScoreTable.from_seeds([0, 1], [0, 1], [{"el2n": [0.1, 0.2]}])
    assert np.isnan(table.spreads["el2n"]).all()


def test_hardness_turns_every_score_the_same_way() -> None:
    table = small_table()
    assert table.hardness("el2n").tolist() == [1.5, 2.0, 4.0]
    assert table.hardness("aum").tolist() == [-3.0, -3.0, -1.0]


def test_the_direction_in_the_table_goes_before_the_card() -> None:
    table = small_table(scores={"aum": {"higher_is_harder": True}, "el2n": {"epoch": 4}})
    assert table.hardness("aum").tolist() == [3.0, 3.0, 1.0]
    assert table.provenance["scores"]["el2n"] == {"epoch": 4, "higher_is_harder": True, "num_seeds": 2}


@pytest.mark.parametrize(
    "table", [small_table(), ScoreTable.from_seeds([5], [0], [{"el2n@2": [1.0], "el2n@4": [2.0]}])]
)
def test_a_table_comes_back_from_its_file_as_it_was(table: ScoreTable, tmp_path: Path) -> None:
    path = table.write(tmp_path / "scores.parquet")
    back = ScoreTable.read(path)
    assert back.names == table.names and back.class_names == table.class_names
    assert back.provenance == table.provenance
    np.testing.assert_array_equal(back.ids, table.ids)
    np.testing.assert_array_equal(back.labels, table.labels)
    assert (back.ids.dtype, back.labels.dtype) == (np.int64, np.int64)
    for name in table.names:
        assert back.columns[name].dtype == table.columns[name].dtype
        np.testing.assert_array_equal(back.columns[name], table.columns[name])
        np.testing.assert_array_equal(back.spreads[name], table.spreads[name])
        np.testing.assert_array_equal(back.per_seed[name], table.per_seed[name])


def test_the_file_is_plain_parquet_for_everyone_else(tmp_path: Path) -> None:
    path = small_table().write(tmp_path / "scores.parquet")
    arrow = pq.read_table(path)
    assert arrow.column_names == [
        "id", "label", "el2n", "el2n.std", "el2n.seed0", "el2n.seed1",
        "aum", "aum.std", "aum.seed0", "aum.seed1",
    ]  # fmt: skip
    assert arrow.column("id").to_pylist() == [7, 2049, BIG]
    about = json.loads(arrow.schema.metadata[b"datadiet.scores"])
    assert about["provenance"]["fingerprint"] == "abc"
    assert set(about["provenance"]["versions"]) >= {"datadiet", "torch", "numpy"}


def test_one_column_an_epoch_has_to_be_named_in_full() -> None:
    table = ScoreTable.from_seeds([0], [0], [{"el2n@2": [1.0], "el2n@4": [2.0], "loss": [3.0]}])
    assert table.column("el2n@4").tolist() == [2.0]
    with pytest.raises(BadInputError, match="say which: el2n@2, el2n@4"):
        table.column("el2n")
    with pytest.raises(BadInputError, match="has no score 'margin'; it has el2n@2, el2n@4, loss"):
        table.column("margin")


def test_a_table_of_other_data_is_refused() -> None:
    table = small_table()
    table.check_data("abc")
    with pytest.raises(
        BadInputError, match="made from other data: its fingerprint is abc, the data's is xyz"
    ):
        table.check_data("xyz")


def test_a_table_without_a_fingerprint_is_held_against_the_labels() -> None:
    table = ScoreTable.from_seeds([0, 2], [1, 5], [{"el2n": [0.1, 0.2]}])
    table.check_data("xyz", labels=[1, 9, 5])
    with pytest.raises(BadInputError, match=r"labels of the score table differ .*ids 2"):
        table.check_data("xyz", labels=[1, 9, 6])
    with pytest.raises(BadInputError, match="not among the data's 2 rows"):
        table.check_data("xyz", labels=[1, 9])
    with pytest.raises(BadInputError, match="does not say which data"):
        table.check_data("xyz")


@pytest.mark.parametrize(
    ("ids", "labels", "seeds", "message"),
    [
        ([0, 0], [0, 1], [{"el2n": [1.0, 2.0]}], "id 0 stands more than once"),
        ([0, 1], [0], [{"el2n": [1.0, 2.0]}], "2 ids but 1 labels"),
        ([0.0, 1.0], [0, 1], [{"el2n": [1.0, 2.0]}], "ids must be a row of integers"),
        ([0, 1], [0, 1], [], "at least one seed"),
        ([0, 1], [0, 1], [{"el2n": [1.0, 2.0]}, {"loss": [1.0, 2.0]}], "seed number 1 has scores"),
        ([0, 1], [0, 1], [{"el2n": [1.0]}], "has shape \\(1,\\)"),
        ([4, 5], [0, 1], [{"el2n": [1.0, np.nan]}], "not finite for 1 of 2 examples \\(ids 5\\)"),
        ([4, 5], [0, 1], [{"el2n.std": [1.0, 2.0]}], "no score 'el2n.std'"),
        ([4, 5], [0, 1], [{"el2n@1@2": [1.0, 2.0]}], "not a score name"),
        ([4, 5], [0, 1], [{"elan": [1.0, 2.0]}], "Did you mean"),
    ],
)
def test_what_cannot_be_a_table_is_refused(ids: list, labels: list, seeds: list, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        ScoreTable.from_seeds(ids, labels, seeds)


def test_a_users_own_score_without_a_card_needs_its_direction_written() -> None:
    seeds = [{"my_score": [1.0, 2.0]}]
    with pytest.raises(BadInputError, match="no score 'my_score'"):
        ScoreTable.from_seeds([0, 1], [0, 1], seeds)
    written = {"scores": {"my_score": {"higher_is_harder": False}}}
    table = ScoreTable.from_seeds([0, 1], [0, 1], seeds, provenance=written)
    assert table.hardness("my_score").tolist() == [-1.0, -2.0]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scores.parquet"
    small_table().write(path)
    before = path.read_bytes()

    def half_write(table: object, where: Path, **_: object) -> None:
        Path(where).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", half_write)
    with pytest.raises(BadInputError, match="cannot write the score table"):
        small_table(fingerprint="other").write(path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["scores.parquet"]


def test_provenance_that_is_not_json_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="must be plain JSON"):
        small_table(more=object()).write(tmp_path / "scores.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot write the score table"):
        small_table().write(tmp_path / "file" / "scores.parquet")


def test_files_that_are_no_score_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="there is no score table at"):
        ScoreTable.read(tmp_path / "none.parquet")
    text = tmp_path / "text.parquet"
    text.write_text("hello")
    with pytest.raises(BadInputError, match="not a readable Parquet file"):
        ScoreTable.read(text)
    plain = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"id": [0]}), plain)
    with pytest.raises(BadInputError, match="not a score table of datadiet"):
        ScoreTable.read(plain)


def test_a_score_table_of_a_later_format_is_not_guessed_at(tmp_path: Path) -> None:
    path = small_table().write(tmp_path / "scores.parquet")
    arrow = pq.read_table(path)
    about = json.loads(arrow.schema.metadata[b"datadiet.scores"])
    about["format"] = 99
    later = arrow.replace_schema_metadata({b"datadiet.scores": json.dumps(about).encode()})
    pq.write_table(later, path)
    with pytest.raises(BadInputError, match="format 99"):
        ScoreTable.read(path)
