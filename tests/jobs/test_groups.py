"""Columns of any source become groups of both parts."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import datadiet as dd
from datadiet.jobs.groups import (
    class_grouping,
    groupings_for_table,
    groupings_of,
    groups_of,
    one_grouping,
    subset_forms,
)


def source(rows: int = 60, **columns: object) -> datasets.Dataset:
    texts = [f"text number {row}" for row in range(rows)]
    return datasets.Dataset.from_dict({"text": texts, "label": [row % 2 for row in range(rows)], **columns})


def group_of_each(grouping: object, part: str) -> list[str]:
    return [grouping.names[code] for code in getattr(grouping, part)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl", "folder", "dataset"])
def test_groups_follow_the_ids_whatever_the_source(form: str, tmp_path: Path) -> None:
    sites = [("north", "south", "east")[row * row % 3] for row in range(60)]
    rows = source(site=sites)
    given: object = rows
    if form == "parquet":
        rows.to_parquet(given := tmp_path / "rows.parquet")
    elif form == "csv":
        rows.to_csv(given := tmp_path / "rows.csv")
    elif form == "jsonl":
        rows.to_json(given := tmp_path / "rows.jsonl")
    elif form == "folder":
        given = tmp_path / "rows"
        given.mkdir()
        rows.to_parquet(given / "train.parquet")
        rows.to_parquet(given / "test.parquet")
    examples = dd.load(given)
    (grouping,) = groups_of(examples, ["site"])
    assert grouping.name == "site" and grouping.names == ("north", "south")
    for part in ("train", "test"):
        ids = getattr(examples, part).ids
        assert group_of_each(grouping, part) == [sites[id_] for id_ in ids]


def test_arrays_and_image_folders_have_classes_only(tmp_path: Path) -> None:
    for name in ("disc", "ring"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (8, 8), (10 * index, 0, 0)).save(tmp_path / "train" / name / f"{index}.png")
    for examples in (dd.load(tmp_path), dd.load((np.eye(8), [0, 1] * 4), test_fraction=0.5)):
        (classes,) = groupings_of(examples)
        assert classes.name == "class"
        assert group_of_each(classes, "train") == [examples.class_names[v] for v in examples.train.labels]
        with pytest.raises(dd.BadInputError, match=r"no column 'site'.*its columns are"):
            groupings_of(examples, ["site"])


def test_an_unknown_column_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(dd.BadInputError, match="did you mean 'site'"):
        groups_of(dd.load(source(site=["a"] * 60)), ["sight"])


def test_a_missing_value_is_in_a_group_of_its_own() -> None:
    numbers = [
        None if row % 5 == 0 else float("nan") if row % 5 == 1 else 10.0 - row % 5 for row in range(60)
    ]
    examples = dd.load(source(site=[None if row % 3 == 0 else "a" for row in range(60)], level=numbers))
    by_site, by_level = groups_of(examples, ["site", "level"])
    assert by_site.names == ("a", "(missing)")
    assert by_level.names == ("6", "7", "8", "(missing)")
    assert [name == "(missing)" for name in group_of_each(by_level, "train")] == [
        id_ % 5 < 2 for id_ in examples.train.ids.tolist()
    ]


def test_numbers_are_ordered_by_size_and_truth_values_named() -> None:
    examples = dd.load(
        source(age=[(9, 10, 100)[row % 3] for row in range(60)], old=[row % 2 == 0 for row in range(60)])
    )
    age, old = groups_of(examples, ["age", "old"])
    assert age.names == ("9", "10", "100") and old.names == ("false", "true")


def test_a_column_of_class_numbers_gives_its_names() -> None:
    rows = source(kind=[row % 3 for row in range(60)])
    rows = rows.cast_column("kind", datasets.ClassLabel(names=["x", "y", "z"]))
    examples = dd.load(rows)
    (kind,) = groups_of(examples, ["kind"])
    assert group_of_each(kind, "test") == ["xyz"[id_ % 3] for id_ in examples.test.ids.tolist()]


def test_the_label_column_gives_the_classes_and_a_column_named_class_does_not_hide_them() -> None:
    examples = dd.load(source(**{"class": ["first"] * 60}), label="label")
    assert [grouping.name for grouping in groupings_of(examples, ["label", "class"])] == [
        "class",
        "class (column)",
    ]


def test_crossing_makes_the_combinations_that_there_are() -> None:
    a = ["x" if row < 30 else "y" for row in range(60)]
    b = ["u" if row % 3 else "v" for row in range(30)] + ["u"] * 30
    examples = dd.load(source(a=a, b=b))
    alone, crossed, again = groups_of(examples, ["a", "a+b", "b + a"])
    assert alone.name == "a" and crossed.name == "a × b" and again.name == "b × a"
    assert crossed.names == ("x × u", "x × v", "y × u")
    for part in ("train", "test"):
        ids = getattr(examples, part).ids.tolist()
        assert group_of_each(crossed, part) == [f"{a[id_]} × {b[id_]}" for id_ in ids]


def test_a_column_whose_name_has_a_plus_is_taken_as_it_is() -> None:
    (grouping,) = groups_of(dd.load(source(**{"a+b": ["x", "y"] * 30})), ["a+b"])
    assert grouping.name == "a+b" and grouping.names == ("x", "y")


def test_a_test_part_without_the_column_leaves_shares_only_and_says_so() -> None:
    examples = dd.load(source(site=["x", "y"] * 30), test=source(20))
    (grouping,) = groups_of(examples, ["site"])
    assert grouping.test is None and "no column 'site'" in grouping.notes[0]
    (crossed,) = groups_of(examples, ["site+label"])
    assert crossed.test is None and crossed.notes == grouping.notes


def test_groups_are_matched_by_name_between_parts_of_different_types(tmp_path: Path) -> None:
    for name, kind in (("train", pa.int64()), ("test", pa.string())):
        sites = pa.array([str(row % 4 + (name == "test")) for row in range(40)]).cast(kind)
        texts = pa.array([f"{name} {row}" for row in range(40)])
        table = {"text": texts, "label": pa.array([row % 2 for row in range(40)]), "site": sites}
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    (site,) = groups_of(dd.load(tmp_path), ["site"])
    assert site.names == ("0", "1", "2", "3", "4")
    assert group_of_each(site, "test")[:4] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([row / 7 for row in range(600)], "too many to be groups.*ranges"),
        (list(range(600)), "too many to be groups.*ranges"),
        ([float(row % 60) for row in range(600)], "60 different numbers"),
        ([f"user {row}" for row in range(600)], "at most 200"),
        ([[row] for row in range(600)], "cannot name groups"),
    ],
)
def test_a_column_that_cannot_be_groups_is_refused(column: list, words: str) -> None:
    with pytest.raises(dd.BadInputError, match=words):
        groups_of(dd.load(source(600, extra=column), input="text"), ["extra"])


def test_balancing_needs_one_grouping() -> None:
    examples = dd.load(source(a=["x", "y"] * 30, b=["u"] * 60))
    assert one_grouping(examples, ["a+b"]).names == ("x × u", "y × u")
    with pytest.raises(dd.BadInputError, match=r"cross them: --group a\+b"):
        one_grouping(examples, ["a", "b"])
    with pytest.raises(dd.BadInputError, match="name a column"):
        subset_forms(examples, (), "group", None)
    assert subset_forms(examples, ["a", "b"], "class", None) == {"balance": "class"}
    assert subset_forms(examples, (), None, 3) == {"floor": 3}
    wanted = examples.train.ids[[5, 2]]
    forms = subset_forms(examples, ["a"], "group", None, ids=wanted)
    assert forms["groups"].tolist() == ["xy"[id_ % 2] for id_ in wanted.tolist()]


def test_a_tables_groupings_follow_its_rows() -> None:
    examples = dd.load(source(site=["x", "y", "z"] * 20))
    some = examples.train.ids[1::2]
    labels = examples.train.labels[1::2]
    table = dd.ScoreTable.from_seeds(some, labels, [{"el2n": np.ones(len(some))}], class_names=("no", "yes"))
    classes, site = groupings_for_table(table, examples, ["site"])
    assert classes.train_groups().tolist() == [("no", "yes")[id_ % 2] for id_ in some.tolist()]
    assert site.train_groups().tolist() == ["xyz"[id_ % 3] for id_ in some.tolist()]
    assert class_grouping(examples).names == ("0", "1")
