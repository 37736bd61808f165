"""Table files, folders of them and folders saved by `datasets` give the same examples."""

import gzip
import json

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datadiet.data as dd
from datadiet.data.arrow import rows_at
from datadiet.foundation.errors import BadInputError

ROWS = {
    "text": ["good film", 'bad, "really" bad', "fine\nindeed", "poor", "great", "awful", "nice", "dull"],
    "label": ["pos", "neg", "pos", "neg", "pos", "neg", "pos", "neg"],
}
TABLE = pa.table(ROWS)


def write(path, table=TABLE):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix in (".csv", ".tsv"):
        table.to_pandas().to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    elif path.suffix == ".json":
        path.write_text(json.dumps(table.to_pylist()))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    return path


def texts(part):
    return rows_at(part.dataset, ["text"], slice(None))["text"].to_pylist()


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".json"])
def test_every_file_format_gives_the_same_examples(tmp_path, suffix):
    reference = dd.load(write(tmp_path / "reference.parquet"))
    examples = dd.load(str(write(tmp_path / f"reviews{suffix}")))
    assert examples.fingerprint == reference.fingerprint
    assert (examples.name, examples.kind, examples.class_names) == ("reviews", "text", ("neg", "pos"))
    for part in (examples.train, examples.test):
        assert texts(part) == [ROWS["text"][i] for i in part.ids]
        assert [examples.class_names[k] for k in part.labels] == [ROWS["label"][i] for i in part.ids]


def test_a_held_out_test_part_is_stratified_and_said_so(tmp_path):
    examples = dd.load(write(tmp_path / "a.csv"), test_fraction=0.5, holdout_seed=7)
    assert examples.holdout_seed == 7
    assert sorted([*examples.train.ids, *examples.test.ids]) == list(range(8))
    assert np.bincount(examples.test.labels).tolist() == [2, 2]
    assert any("4 of 8 examples are held out" in note and "seed 7" in note for note in examples.notes)


@pytest.mark.parametrize("test_name", ["test", "validation", "val", "dev", "valid"])
def test_a_folder_with_train_and_test_files_needs_no_hold_out(tmp_path, test_name):
    write(tmp_path / "train.csv")
    write(tmp_path / f"{test_name}.csv", TABLE.slice(0, 3))
    examples = dd.load(tmp_path)
    assert examples.holdout_seed is None
    assert examples.train.ids.tolist() == list(range(8)) and examples.test.ids.tolist() == [0, 1, 2]
    assert any(f"{test_name}.csv" in note for note in examples.notes) == (test_name != "test")


def test_test_wins_over_validation(tmp_path):
    for name, rows in (("train", 8), ("dev", 4), ("test", 2)):
        write(tmp_path / f"reviews.{name}.parquet", TABLE.slice(0, rows))
    assert len(dd.load(tmp_path).test) == 2


def test_shards_are_joined_in_the_order_of_their_names(tmp_path):
    write(tmp_path / "data" / "train-00001-of-00002.parquet", TABLE.slice(4))
    write(tmp_path / "data" / "train-00000-of-00002.parquet", TABLE.slice(0, 4))
    write(tmp_path / "data" / "test-00000-of-00001.parquet", TABLE.slice(0, 2))
    assert texts(dd.load(tmp_path).train) == ROWS["text"]


def test_shards_without_a_part_name_are_one_source(tmp_path):
    write(tmp_path / "part-0.csv", TABLE.slice(0, 4))
    write(tmp_path / "part-1.csv", TABLE.slice(4))
    examples = dd.load(tmp_path)
    assert len(examples.train) + len(examples.test) == 8


def test_a_second_source_is_the_test_part(tmp_path):
    examples = dd.load(write(tmp_path / "a.csv"), test=write(tmp_path / "b.jsonl", TABLE.slice(0, 2)))
    assert len(examples.train) == 8 and examples.test.ids.tolist() == [0, 1] and examples.holdout_seed is None


def test_several_data_sets_in_a_folder_are_refused(tmp_path):
    for name in ("sst.train", "sst.test", "trec.train", "trec.test"):
        write(tmp_path / f"{name}.csv")
    with pytest.raises(BadInputError, match="holds several data sets"):
        dd.load(tmp_path)


def test_semicolons_gzip_and_a_byte_order_mark_are_understood(tmp_path):
    lines = "text;label\n" + "".join(f"word{i};{'xy'[i % 2]}\n" for i in range(6))
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    with gzip.open(tmp_path / "b.csv.gz", "wt") as file:
        file.write(lines.replace(";", ","))
    assert dd.load(tmp_path / "a.csv").fingerprint == dd.load(tmp_path / "b.csv.gz").fingerprint


def test_the_type_of_a_column_is_told_from_all_its_rows(tmp_path):
    """A number column that turns out to be text after a megabyte."""
    path = tmp_path / "late.csv"
    path.write_text("text,label\n" + "12345678,1\n" * 120_000 + "word,0\n" * 4)
    assert dd.load(path).kind == "text"


@pytest.mark.parametrize("as_dict", [True, False])
def test_a_folder_saved_by_datasets(tmp_path, as_dict):
    rows = datasets.Dataset.from_dict(ROWS)
    saved = datasets.DatasetDict(train=rows, test=rows.select([1, 0])) if as_dict else rows
    saved.save_to_disk(tmp_path / "saved")
    examples = dd.load(tmp_path / "saved")
    assert examples.holdout_seed == (None if as_dict else 0)
    assert (texts(examples.test) == [ROWS["text"][1], ROWS["text"][0]]) == as_dict
    assert examples.name == "saved"


def test_class_names_in_parquet_metadata_are_honoured(tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "kind": datasets.ClassLabel(names=["z", "a", "never"])}
    )
    rows = datasets.Dataset.from_dict({"text": ROWS["text"], "kind": [0, 1] * 4}, features=features)
    rows.to_parquet(tmp_path / "a.parquet")
    examples = dd.load(tmp_path / "a.parquet")
    assert examples.class_names == ("z", "a", "never") and examples.num_classes == 3
    assert examples.label_column == "kind"


def test_held_out_rows_keep_their_features():
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["z", "a"]),
            "more": datasets.Value("int8"),
        }
    )
    rows = datasets.Dataset.from_dict(
        {"text": ROWS["text"], "label": [0, 1] * 4, "more": range(8)}, features=features
    )
    for source in (rows, rows.select([7, 6, 5, 4, 3, 2, 1, 0])):
        examples = dd.load(source)
        for part in (examples.train, examples.test):
            assert part.dataset.features == features
            assert part.dataset[:] == source.select(part.ids)[:]


def test_class_names_on_one_side_name_the_numbers_of_the_other():
    names = datasets.ClassLabel(names=["z", "a"])
    bare = datasets.Dataset.from_dict({"text": ROWS["text"], "label": [0, 1] * 4})
    named = bare.cast_column("label", names)
    assert dd.load(named, test=bare).test.labels.tolist() == [0, 1] * 4
    assert dd.load(bare, test=named).test.labels.tolist() == [0, 1] * 4
    turned = datasets.Dataset.from_dict({"text": ROWS["text"], "label": [1, 0] * 4}).cast_column(
        "label", datasets.ClassLabel(names=["a", "z"])
    )
    assert dd.load(named, test=turned).test.labels.tolist() == [0, 1] * 4


def test_numbers_from_csv_are_vectors_and_row_numbers_are_left_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "id,height,width,class\n" + "".join(f"{i},{i / 2},{-i},{'ab'[i % 2]}\n" for i in range(10))
    )
    examples = dd.load(path)
    assert (examples.kind, examples.input_columns) == ("vector", ("height", "width"))
    assert any("not used: 'id'" in note for note in examples.notes)


def test_integer_labels_may_be_negative_and_have_gaps():
    rows = datasets.Dataset.from_dict({"text": ROWS["text"], "label": [-1, 7, 100, 7, -1, 100, 7, -1]})
    examples = dd.load(rows, test=rows)
    assert examples.class_names == ("-1", "7", "100")
    assert examples.train.labels.tolist() == [0, 1, 2, 1, 0, 2, 1, 0]


def test_files_over_the_memory_share_are_mapped_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    reference = dd.load(write(tmp_path / "a.csv"))
    monkeypatch.setattr(
        "datadiet.data.sources.tables.psutil.virtual_memory", lambda: type("M", (), {"available": 4})
    )
    from datadiet.data.sources.tables import Reading, read_tables

    rows, _ = read_tables([tmp_path / "a.csv"], Reading())
    assert rows.cache_files
    monkeypatch.undo()
    assert dd.load(rows).fingerprint == reference.fingerprint


def test_loaded_examples_pass_through():
    examples = dd.load("digits")
    assert dd.load(examples) is examples
