"""Tables that are read back: whatever happened to their bytes or their facts, the right answer or one sentence."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datadiet as dd
from datadiet.jobs.agree.joining import read_choice
from datadiet.jobs.suspects.ranking import Suspects
from datadiet.noise import NoiseRate
from mutations import altered, check_each, damaged

FACTS = {
    "fingerprint": "f" * 32,
    "source": "data",
    "recipe": {"epochs": 2.0},
    "seeds": [3, 4],
    "workspace": "runs",
    "machine": {"device": "cpu", "processes": 1},
}


def scores():
    numbers = np.random.default_rng(0).normal(size=(2, 60))
    seeds = [{"el2n": row, "aum": row.astype(np.float32)} for row in numbers]
    return dd.ScoreTable.from_seeds(
        np.arange(60), np.arange(60) % 2, seeds, class_names=["no", "yes"], provenance=FACTS
    )


def suspects():
    numbers = np.random.default_rng(0).random(60)
    ids = np.arange(60)
    return Suspects.ranked(
        ids,
        ids % 2,
        numbers,
        numbers,
        ids % 2,
        {"aum": numbers},
        NoiseRate(0.1, 0.0, 0.2),
        ("no", "yes"),
        FACTS,
    )


def facts_of(found):
    names = [name for name in vars(found) if name not in ("columns", "spreads", "per_seed", "signals")]
    return {name: np.asarray(vars(found)[name]).tolist() for name in names}


def numbers_of(found):
    several = [vars(found).get(part, {}) for part in ("columns", "spreads", "per_seed", "signals")]
    return {(place, name): values for place, part in enumerate(several) for name, values in part.items()}


def alike(one, other):
    mine, theirs = numbers_of(one), numbers_of(other)
    return (
        facts_of(one) == facts_of(other)
        and mine.keys() == theirs.keys()
        and all(np.array_equal(mine[name], theirs[name], equal_nan=True) for name in mine)
    )


KINDS = {
    "scores": (scores, dd.ScoreTable),
    "suspects": (suspects, Suspects),
    "kept": (lambda: dd.Kept(np.arange(0, 60, 3), {"fingerprint": "f" * 32, "keep": 0.5}), dd.Kept),
}


def check_bytes(tmp_path, kind, count):
    make, table = KINDS[kind]
    path, whole = tmp_path / "table.parquet", make()
    whole.write(path)
    content = path.read_bytes()
    assert alike(table.read(path), whole)

    def read(form):
        path.write_bytes(form)
        return table.read(path)

    check_each(damaged(content, count, seed=len(content)), read, lambda found: alike(found, whole))


def check_facts(tmp_path, kind, count, form=1):
    make, table = KINDS[kind]
    path = tmp_path / "table.parquet"
    make().write(path)
    arrow = pq.read_table(path)
    key = f"datadiet.{kind}".encode()
    about = json.loads(arrow.schema.metadata[key]) | {"format": form}

    def read(facts):
        text = json.dumps(facts).encode()
        pq.write_table(arrow.replace_schema_metadata({key: text}), path)
        return table.read(path)

    check_each(altered(about, count, seed=count), read)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_bytes(tmp_path, kind):
    check_bytes(tmp_path, kind, 40)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_bytes_damaged_in_two_thousand_ways(tmp_path, kind):
    check_bytes(tmp_path, kind, 2000)


@pytest.mark.parametrize("kind", KINDS)
def test_altered_facts(tmp_path, kind):
    check_facts(tmp_path, kind, 40)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_facts_altered_in_two_thousand_ways(tmp_path, kind):
    check_facts(tmp_path, kind, 2000)


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_without_its_checksum_is_refused_but_for_one_of_the_first_format(tmp_path, kind):
    make, table = KINDS[kind]
    path, key = tmp_path / "table.parquet", f"datadiet.{kind}".encode()
    make().write(path)
    arrow = pq.read_table(path)
    facts = json.loads(arrow.schema.metadata[key])
    pq.write_table(arrow.replace_schema_metadata({key: json.dumps(facts)}), path)
    with pytest.raises(dd.BadInputError, match="is damaged"):
        table.read(path)
    pq.write_table(arrow.replace_schema_metadata({key: json.dumps(facts | {"format": 1})}), path)
    assert alike(table.read(path), make())


def test_kept_ids_that_lost_their_facts_are_not_taken_for_those_of_others(tmp_path):
    path = tmp_path / "kept.parquet"
    dd.Kept(np.array([2, 5]), {"fingerprint": "abc"}).write(path)
    metadata = pq.read_schema(path).metadata
    metadata[b"datadiet.kepT"] = metadata.pop(b"datadiet.kept")
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    with pytest.raises(dd.BadInputError, match="is not a kept file of datadiet, or is damaged"):
        dd.Kept.read(path)


@pytest.mark.parametrize(
    ("kind", "others"), [("kept", "scores"), ("scores", "suspects"), ("suspects", "kept")]
)
def test_a_table_of_another_kind_is_not_taken(tmp_path, kind, others):
    KINDS[others][0]().write(tmp_path / "table.parquet")
    with pytest.raises(dd.BadInputError, match=r"is not a .* of datadiet"):
        KINDS[kind][1].read(tmp_path / "table.parquet")


def test_a_number_changed_by_another_program_is_seen(tmp_path):
    path = tmp_path / "scores.parquet"
    scores().write(path)
    arrow = pq.read_table(path)
    place = arrow.column_names.index("el2n")
    changed = arrow.column("el2n").to_numpy().copy()
    changed[7] += 1e-12
    pq.write_table(arrow.set_column(place, "el2n", pa.array(changed)), path)
    with pytest.raises(dd.BadInputError, match="its checksum differs"):
        read_choice(path)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["1", "2"], "no id"),
        ([[1], [2]], "no id"),
        ([1, None], "nan in row 1"),
        ([0.0, 3.7], "3.7 in row 1"),
        ([True, False], "no id"),
        ([3, -1], "-1 in row 1"),
        ([3, 5, 3], "the id 3 stands more than once"),
        (pa.array([2**63], pa.uint64()), "no id"),
        (pa.array([], pa.int64()), "holds no ids"),
    ],
)
def test_kept_ids_that_are_none(tmp_path, ids, words):
    pq.write_table(pa.table({"id": ids}), tmp_path / "kept.parquet")
    with pytest.raises(dd.BadInputError, match=words):
        dd.Kept.read(tmp_path / "kept.parquet")


def test_kept_ids_of_others_in_any_order_and_as_floats(tmp_path):
    pq.write_table(pa.table({"id": [4.0, 0.0, 3.0]}), tmp_path / "kept.parquet")
    assert dd.Kept.read(tmp_path / "kept.parquet").ids.tolist() == [0, 3, 4]


@pytest.mark.parametrize(
    "text", ["1\nx\n", "1.5\n", "-2\n", "1_0\n", "3\n3\n", "٣\n", "# 3\n", "", "9" * 400, f"{2**63}\n"]
)
def test_texts_that_hold_no_ids(tmp_path, text):
    (tmp_path / "kept.txt").write_text(text, encoding="utf-8")
    with pytest.raises(dd.BadInputError, match=r"kept file .*kept\.txt"):
        dd.Kept.read(tmp_path / "kept.txt")


def test_a_kept_text_names_its_data(tmp_path):
    dd.Kept(np.array([2, 5]), {"fingerprint": "abc"}).write(tmp_path / "kept.txt")
    assert (tmp_path / "kept.txt").read_text() == "# datadiet kept ids of data abc\n2\n5\n"
    kept = dd.Kept.read(tmp_path / "kept.txt")
    assert kept.ids.tolist() == [2, 5] and kept.unchecked is None
    with pytest.raises(dd.BadInputError, match="other data"):
        kept.check_data("def")
    (tmp_path / "plain.txt").write_text("5\n2.0  # a comment\n")
    plain = dd.Kept.read(tmp_path / "plain.txt")
    assert plain.ids.tolist() == [2, 5] and "name no data" in (plain.unchecked or "")
