"""Data of every task comes back from an export: the same rows, labels, tags and numbers, in what can hold them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exported_tasks import (
    COLUMNS,
    INTENTS,
    NUMBERS,
    SETS,
    SLOTS,
    TEXTS,
    WORD_TAGS,
    WORDS,
    answers,
    inputs,
    options_of,
    pictures,
    task_of,
    write_folder,
)

import datadiet as dd
from datadiet.jobs.decisions import Decisions
from datadiet.jobs.export import export

pytestmark = pytest.mark.usefixtures("few_threads")

FORMATS = ("same", "parquet", "jsonl", "csv", "datasets", "webdataset")
HELD = [
    (case, format)
    for case in COLUMNS
    for format in FORMATS
    if not (case.startswith("multilabel") and format == "csv")
]


def members_of(shard: Path) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(shard) as tar:
        for member in tar.getmembers():
            key, _, suffix = member.name.partition(".")
            file = tar.extractfile(member)
            assert file is not None
            found.setdefault(key, {})[suffix] = file.read()
    return found


@pytest.mark.parametrize(("case", "format"), HELD)
def test_what_stays_has_the_same_task_and_answers(tmp_path: Path, case: str, format: str) -> None:
    source = write_folder(tmp_path / "data", COLUMNS[case])
    examples = dd.load(source, **options_of(case))
    assert examples.task == task_of(case)
    kept = np.arange(1, 13)
    export(source, tmp_path / "out", kept=kept, format=format, load_options=options_of(case))
    again = dd.load(tmp_path / "out", **options_of(case))
    assert (again.task, again.kind, again.holdout_seed) == (examples.task, examples.kind, None)
    stays = examples.train.take(kept)
    assert answers(again, again.train) == answers(examples, stays)
    assert answers(again, again.test) == answers(examples, examples.test)
    assert inputs(again.train) == inputs(stays) and inputs(again.test) == inputs(examples.test)


@pytest.mark.parametrize(("case", "format"), HELD)
def test_everything_exported_has_the_fingerprint_of_the_source(
    tmp_path: Path, case: str, format: str
) -> None:
    source = write_folder(tmp_path / "data", COLUMNS[case])
    examples = dd.load(source, **options_of(case))
    export(examples, tmp_path / "out", kept=examples.train.ids, format=format)
    again = dd.load(tmp_path / "out", **options_of(case))
    np.testing.assert_array_equal(again.train.labels, examples.train.labels)
    assert (again.class_names, again.tag_names) == (examples.class_names, examples.tag_names)
    if format == "csv" and isinstance(next(iter(COLUMNS[case].values()))[0], list):
        return  # a list of words is another input than a text, a list of numbers than columns of numbers
    assert again.fingerprint == examples.fingerprint


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("case", ["intent_slots", "token_classification of texts", "regression"])
def test_the_lines_of_the_source_stay_as_they_are(tmp_path: Path, case: str, form: str) -> None:
    source = write_folder(tmp_path / "data", COLUMNS[case], form)
    export(source, tmp_path / "out", kept=[2, 5, 6, 7], load_options=options_of(case))
    head = form == "csv"
    before = (source / f"train.{form}").read_bytes().splitlines(keepends=True)
    after = (tmp_path / "out" / f"train.{form}").read_bytes().splitlines(keepends=True)
    assert after == before[:head] + [before[row + head] for row in (2, 5, 6, 7)]


def named_tags(untagged: bool) -> dd.Examples:
    """Tags as numbers of class names that are not in the order of the alphabet."""
    names = ["O", "I-x", "B-x"]
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=names)),
        }
    )
    rows = {
        "tokens": [["a", "b c"], ["d", "e", "f"]] * 6,
        "ner_tags": [[0, 2], [2, 1, -100 if untagged else 0]] * 6,
    }
    return dd.load(datasets.Dataset.from_dict(rows, features=features))


@pytest.mark.parametrize("format", ["same", "parquet", "datasets"])
def test_numbered_tags_keep_their_names_and_words_without_a_tag(tmp_path: Path, format: str) -> None:
    examples = named_tags(untagged=True)
    export(examples, tmp_path / "out", kept=examples.train.ids, format=format)
    again = dd.load(tmp_path / "out")
    assert again.tag_names == ("O", "I-x", "B-x")
    assert answers(again, again.train) == answers(examples, examples.train)
    files = pq.read_table(tmp_path / "out" / "manifest.parquet")
    assert set(files["old_label"].to_pylist()) == {'["O", "B-x"]', '["B-x", "I-x", -100]'}


@pytest.mark.parametrize("format", ["jsonl", "webdataset"])
def test_numbered_tags_are_written_by_name_where_a_format_knows_no_class_names(
    tmp_path: Path, format: str
) -> None:
    examples = named_tags(untagged=False)
    export(examples, tmp_path / "out", kept=examples.train.ids, format=format)
    again = dd.load(tmp_path / "out")
    assert answers(again, again.train) == answers(examples, examples.train)
    with pytest.raises(dd.BadInputError, match=r"Some words have no tag .*parquet"):
        export(named_tags(untagged=True), tmp_path / "other", kept=[0], format=format)
    assert not (tmp_path / "other").exists()


def test_named_labels_of_a_set_are_written_by_name(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "labels": datasets.List(datasets.ClassLabel(names=["zebra", "ant"])),
        }
    )
    rows = {"text": TEXTS, "labels": [[0], [1], [0, 1], []] * 6}
    examples = dd.load(datasets.Dataset.from_dict(rows, features=features))
    assert examples.output_names == ("zebra", "ant")
    for format in ("jsonl", "webdataset", "parquet"):
        export(examples, tmp_path / format, kept=examples.train.ids, format=format)
        again = dd.load(tmp_path / format)
        assert answers(again, again.train) == answers(examples, examples.train)
    line = json.loads((tmp_path / "jsonl" / "train.jsonl").read_text().splitlines()[0])
    assert line["labels"] == [["zebra", "ant"][i] for i in rows["labels"][examples.train.ids[0]]]


def test_an_intent_is_relabelled_and_its_tags_stay(tmp_path: Path) -> None:
    for form in ("parquet", "csv", "jsonl"):
        source = write_folder(tmp_path / form, COLUMNS["intent_slots"], form)
        examples = dd.load(source)
        decisions = Decisions({0: "relabel", 1: "drop"}, {0: "day"}, fingerprint=examples.fingerprint)
        exported = export(source, tmp_path / f"{form}-out", decisions=decisions)
        assert (exported.relabelled, exported.dropped) == (1, 1)
        again = dd.load(tmp_path / f"{form}-out")
        old = answers(examples, examples.train)
        assert answers(again, again.train) == [("day", old[0][1]), *old[2:]]  # type: ignore[index]


def test_wrong_intents_are_exported_with_the_tags_that_were_there(tmp_path: Path) -> None:
    noisy = dd.corrupt(dd.load(write_folder(tmp_path / "data", COLUMNS["intent_slots"])), 0.5).examples
    for format in FORMATS:
        export(noisy, tmp_path / format, kept=noisy.train.ids, format=format)
        again = dd.load(tmp_path / format)
        assert answers(again, again.train) == answers(noisy, noisy.train)


@pytest.mark.parametrize("format", ["parquet", "jsonl", "csv", "datasets", "webdataset"])
def test_pictures_with_a_number_come_back(tmp_path: Path, format: str) -> None:
    examples = dd.load(pictures(NUMBERS[:16]), task="regression")
    export(examples, tmp_path / "out", kept=examples.train.ids, format=format)
    again = dd.load(tmp_path / "out", task="regression")
    assert again.kind == "image" and answers(again, again.train) == answers(examples, examples.train)


def test_lists_give_labels_as_arrays_where_there_are_such(tmp_path: Path) -> None:
    kept = np.array([1, 4, 5])
    for case in ("multilabel", "regression", "token_classification", "intent_slots"):
        examples = dd.load(write_folder(tmp_path / case, COLUMNS[case]), **options_of(case))
        export(examples, tmp_path / f"{case}-out", kept=kept, format="indices")
        np.testing.assert_array_equal(np.load(tmp_path / f"{case}-out" / "indices.npy"), kept)
        labels = tmp_path / f"{case}-out" / "labels.npy"
        if case == "token_classification":
            assert not labels.exists()
        elif case == "multilabel":
            names = examples.output_names
            assert [{names[i] for i in np.flatnonzero(row)} for row in np.load(labels)] == [
                set(SETS[row]) for row in kept
            ]
        elif case == "regression":
            assert np.load(labels).tolist() == [NUMBERS[row] for row in kept]
        else:
            assert [examples.class_names[label] for label in np.load(labels)] == [INTENTS[i] for i in kept]
        export(examples, tmp_path / f"{case}-ids", kept=kept, format="ids")
        assert (tmp_path / f"{case}-ids" / "ids.txt").read_text() == "1\n4\n5\n"


def test_shards_hold_words_tags_and_labels_beside_no_class(tmp_path: Path) -> None:
    examples = dd.load(pa.table({"tokens": WORDS, "ner_tags": WORD_TAGS}))
    export(examples, tmp_path / "out", kept=examples.train.ids, format="webdataset")
    for key, sample in members_of(tmp_path / "out" / "train-000000.tar").items():
        assert set(sample) == {"json"}
        about = json.loads(sample["json"])
        assert about == {"tokens": WORDS[int(key)], "ner_tags": WORD_TAGS[int(key)], "id": int(key)}
    joint = dd.load(pa.table({"text": TEXTS, "label": SLOTS, "intent": INTENTS}), tags="label")
    with pytest.raises(dd.BadInputError, match="called 'label'"):
        export(joint, tmp_path / "no", kept=joint.train.ids, format="webdataset")


@pytest.mark.parametrize("case", ["classification of words", "intent_slots", "regression"])
def test_shards_are_exported_as_shards(tmp_path: Path, case: str) -> None:
    source = write_folder(tmp_path / "data", COLUMNS[case])
    examples = dd.load(source, **options_of(case))
    export(examples, tmp_path / "one", kept=examples.train.ids, format="webdataset")
    export(tmp_path / "one", tmp_path / "two", kept=[0, 1, 2, 3, 7], load_options=options_of(case))
    assert sorted(p.name for p in (tmp_path / "two").glob("*.tar")) == [
        "test-000000.tar",
        "train-000000.tar",
    ]
    again = dd.load(tmp_path / "two", **options_of(case))
    assert answers(again, again.train) == answers(examples, examples.train.take([0, 1, 2, 3, 7]))
    shard = tmp_path / "one" / "train-000000.tar"
    ids = dd.load(shard, **options_of(case)).train.ids[:4]
    export(shard, tmp_path / "three", kept=ids, include_test=False, load_options=options_of(case))
    assert list(members_of(tmp_path / "three" / "train-000000.tar")) == [f"{id_:02d}" for id_ in ids]


def test_the_manifest_says_the_task_and_every_old_label(tmp_path: Path) -> None:
    wanted = {
        "multilabel": [json.dumps(labels) for labels in SETS[:16]],
        "regression": [json.dumps(number) for number in NUMBERS[:16]],
        "token_classification": [json.dumps(tags) for tags in WORD_TAGS[:16]],
        "intent_slots": INTENTS[:16],
    }
    for case, texts in wanted.items():
        examples = dd.load(write_folder(tmp_path / case, COLUMNS[case]), **options_of(case))
        export(examples, tmp_path / f"{case}-out", kept=np.arange(12), format="ids")
        facts = json.loads((tmp_path / f"{case}-out" / "manifest.json").read_text())
        assert facts["task"] == case and facts["tag_names"] == list(examples.tag_names)
        columns = {"intent_slots": "slots", "token_classification": "ner_tags"}
        assert facts["tag_column"] == columns.get(case)
        table = pq.read_table(tmp_path / f"{case}-out" / "manifest.parquet")
        train = table.filter(pa.compute.field("part") == "train").to_pydict()
        assert train["old_label"] == texts
        assert train["new_label"] == [*texts[:12], *[None] * 4]


def test_the_column_of_tags_is_told_from_others_like_it(tmp_path: Path) -> None:
    other = [*SLOTS[:23], "O"]  # one tag differs, in the last row
    table = pa.table({"text": TEXTS, "other": other, "slots": SLOTS, "intent": INTENTS})
    parts = {"train": datasets.Dataset(table), "test": datasets.Dataset(table.slice(0, 4))}
    examples = dd.load(datasets.DatasetDict(parts), tags="slots")
    export(examples, tmp_path / "out", kept=[0], format="ids")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["tag_column"] == "slots"


def test_what_nobody_has_any_more_is_said(tmp_path: Path) -> None:
    sets = dd.load(write_folder(tmp_path / "sets", COLUMNS["multilabel"]))
    assert "1 labels have no training example any more: 'b c'" in str(
        export(sets, tmp_path / "a", kept=[0, 2], format="ids")
    )
    tags = dd.load(write_folder(tmp_path / "tags", COLUMNS["token_classification"]))
    assert "1 tags have no training example any more: 'B-weather'" in str(
        export(tags, tmp_path / "b", kept=[0, 1], format="ids")
    )


def test_the_bytes_of_lists_of_words_are_those_of_their_words(tmp_path: Path) -> None:
    examples = dd.load(pa.table({"tokens": WORDS, "ner_tags": WORD_TAGS}))
    exported = export(examples, tmp_path / "out", kept=examples.train.ids[:3], format="ids")
    lengths = [sum(len(word.encode()) for word in WORDS[id_]) for id_ in examples.train.ids]
    assert exported.bytes_before == sum(lengths) and exported.bytes_after == sum(lengths[:3])


def test_decimals_are_numbers_in_json(tmp_path: Path) -> None:
    prices = pa.array([str(round(n * 100) / 100) for n in NUMBERS]).cast(pa.decimal128(9, 2))
    examples = dd.load(pa.table({"text": TEXTS, "price": prices}), label="price", task="regression")
    for format in ("jsonl", "csv", "webdataset"):
        export(examples, tmp_path / format, kept=examples.train.ids, format=format)
        label = "label" if format == "webdataset" else "price"
        again = dd.load(tmp_path / format, label=label, task="regression")
        assert answers(again, again.train) == answers(examples, examples.train)
    first = json.loads((tmp_path / "jsonl" / "train.jsonl").read_text().splitlines()[0])
    assert first["price"] == float(prices[int(examples.train.ids[0])].as_py())
