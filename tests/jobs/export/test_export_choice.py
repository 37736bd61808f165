"""What stays, what is relabelled, and how the manifest tells it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from exported_data import image_folder, image_parquet, texts, write_jsonl

import datadiet as dd
from datadiet.engine.points import load_weights
from datadiet.engine.runs import train_run
from datadiet.jobs.decisions import Decisions
from datadiet.jobs.export import FORMATS, export, export_format
from datadiet.jobs.export.formats import Job, WriteResult
from datadiet.jobs.export.other_tools import mean_probabilities
from datadiet.jobs.score import score


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "a.jsonl", texts())


def test_decisions_alone_keep_everything_that_is_not_dropped(tmp_path: Path, source: Path) -> None:
    ids = dd.load(source).train.ids.tolist()
    made = {ids[0]: "drop", ids[1]: "keep", ids[2]: "drop"}
    exported = export(source, tmp_path / "out", decisions=Decisions(made), format="ids")
    assert (exported.kept, exported.dropped) == (len(ids) - 2, 2)
    assert (tmp_path / "out/ids.txt").read_text().split() == [
        str(i) for i in ids if i not in (ids[0], ids[2])
    ]


def test_decisions_bring_nothing_back_that_the_kept_ids_leave_out(tmp_path: Path, source: Path) -> None:
    ids = dd.load(source).train.ids
    made = Decisions({int(ids[5]): "keep", int(ids[0]): "drop"})
    exported = export(source, tmp_path / "out", kept=ids[:3], decisions=made, format="ids")
    assert (tmp_path / "out/ids.txt").read_text().split() == [str(i) for i in ids[1:3]]
    assert any(
        "1 decisions are about examples that the kept ids leave out" in note for note in exported.notes
    )


def two_sources(folder: Path) -> dd.Examples:
    """Two files, whose ids both begin at 0."""
    rows = texts()
    write_jsonl(folder / "train.jsonl", rows[:12])
    write_jsonl(folder / "test.jsonl", rows[12:])
    return dd.load(folder / "train.jsonl", test=folder / "test.jsonl")


@pytest.mark.parametrize("format", ["same", "parquet", "csv", "datasets"])
def test_decisions_on_the_test_part_are_applied_to_it_alone(tmp_path: Path, format: str) -> None:
    examples = two_sources(tmp_path)
    before = [examples.class_names[label] for label in examples.test.labels]
    other = {"good": "bad", "bad": "good"}[before[2]]
    made = Decisions({1: "drop"}, fingerprint=examples.fingerprint, test_choices={0: "drop", 2: "relabel"},
                     test_labels={2: other})  # fmt: skip
    made.write(tmp_path / "decisions.json")
    exported = export(examples, tmp_path / "out", decisions=tmp_path / "decisions.json", format=format)
    assert (exported.kept, exported.dropped, exported.relabelled) == (11, 1, 0)
    assert (exported.test, exported.test_dropped, exported.test_relabelled) == (7, 1, 1)
    assert "7 of 8 test examples, 1 of them relabelled" in str(exported)
    again = dd.load(tmp_path / "out")
    assert (len(again.train), len(again.test)) == (11, 7)
    assert [again.class_names[label] for label in again.test.labels] == [before[1], other, *before[3:]]
    rows = {
        (row["part"], row["id"]): row for row in pq.read_table(tmp_path / "out/manifest.parquet").to_pylist()
    }
    assert rows["test", 0]["reason"] == "dropped by decision" and rows["train", 0]["status"] == "kept"
    assert (rows["test", 2]["status"], rows["test", 2]["new_label"]) == ("relabelled", other)
    assert rows["train", 2]["status"] == "kept" and rows["train", 1]["status"] == "dropped"
    counts = json.loads((tmp_path / "out/manifest.json").read_text())["counts"]
    assert counts["test"] == {"kept": 6, "dropped": 1, "relabelled": 1}


def test_decisions_on_a_test_part_that_is_left_out_or_would_be_empty_are_said(tmp_path: Path) -> None:
    examples = two_sources(tmp_path)
    made = Decisions({}, test_choices={0: "drop"})
    exported = export(examples, tmp_path / "out", decisions=made, include_test=False)
    assert any(
        "1 decisions are about the test part, which is not in this export" in n for n in exported.notes
    )
    assert (exported.test, exported.test_dropped) == (0, 0)
    everything = Decisions({}, test_choices=dict.fromkeys(range(8), "drop"))
    with pytest.raises(dd.BadInputError, match="Nothing of the test part would stay"):
        export(examples, tmp_path / "other", decisions=everything)
    with pytest.raises(dd.BadInputError, match="1 ids that are not in the test part"):
        export(examples, tmp_path / "other", decisions=Decisions({}, test_choices={8: "drop"}))


def test_the_manifest_traces_every_example_of_the_source(tmp_path: Path, source: Path) -> None:
    examples = dd.load(source)
    ids = examples.train.ids
    kept, (gone, other) = ids[:8], ids[:2].tolist()
    label = "good" if examples.class_names[examples.train.labels[1]] == "bad" else "bad"
    decisions = Decisions({gone: "drop", other: "relabel"}, {other: label}, fingerprint=examples.fingerprint)
    decisions.write(tmp_path / "decisions.json")
    dd.Kept(kept, {"fingerprint": examples.fingerprint, "scores_sha256": "abc"}).write(
        tmp_path / "kept.parquet"
    )
    export(
        source,
        tmp_path / "out",
        kept=tmp_path / "kept.parquet",
        decisions=tmp_path / "decisions.json",
        command=["datadiet", "export"],
    )
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "out/manifest.parquet").to_pylist()}
    assert sorted(rows) == list(range(20))
    for part in (examples.train, examples.test):
        for id_, old in zip(part.ids.tolist(), part.labels.tolist(), strict=True):
            row = rows[id_]
            stays = part is examples.test or (id_ in kept and id_ != gone)
            status = "dropped" if not stays else "relabelled" if id_ == other else "kept"
            assert row["status"] == status
            assert row["part"] == ("test" if part is examples.test else "train")
            assert row["old_label"] == examples.class_names[old]
            new = label if id_ == other else row["old_label"]
            assert row["new_label"] == (new if stays else None)
            assert row["file"] == (f"{row['part']}.jsonl" if stays else None)
            reason = "dropped by decision" if id_ == gone else "not kept"
            assert row["reason"] == (None if stays else reason)
    facts = json.loads((tmp_path / "out/manifest.json").read_text())
    assert facts["counts"]["train"] == {"kept": 6, "relabelled": 1, "dropped": len(ids) - 7}
    assert facts["held_out_by_datadiet"] and facts["holdout_seed"] == 0
    assert facts["scores_sha256"] == "abc" and facts["command"] == ["datadiet", "export"]
    assert facts["fingerprint"] == examples.fingerprint and len(facts["kept_sha256"]) == 64


def test_the_sizes_are_those_of_the_texts(tmp_path: Path, source: Path) -> None:
    examples = dd.load(source)
    exported = export(source, tmp_path / "out", kept=examples.train.ids[:4])
    lengths = [len(row["text"].encode()) for row in examples.train.dataset]
    assert (exported.bytes_before, exported.bytes_after) == (sum(lengths), sum(lengths[:4]))
    files = [p for p in (tmp_path / "out").iterdir() if p.name.startswith("t")]
    assert exported.bytes_on_disk == sum(p.stat().st_size for p in files)
    assert f"4 of {len(lengths)} training examples stay" in str(exported)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Say what stays"),
        ({"kept": []}, "at least one"),
        ({"kept": [0, 1, 1]}, "more than once"),
        ({"kept": [0, 10**6]}, "1 ids that are not in the train part"),
        ({"kept": [0.5]}, "whole numbers"),
        ({"kept": [-1]}, "not in the train part"),
        ({"kept": dd.Kept(np.array([0]), {"fingerprint": "other"})}, "other data"),
        ({"decisions": Decisions({0: "drop"}, fingerprint="other")}, "other data"),
        ({"decisions": Decisions({10**6: "drop"})}, "not in the train part"),
        ({"decisions": Decisions({0: "relabel"}, {0: "ugly"})}, "'ugly', which is no class"),
        ({"decisions": Decisions(dict.fromkeys(range(20), "drop"))}, "not in the train part|Nothing"),
        ({"kept": [0, 1], "format": "zip"}, "no format 'zip'. Choose from same, imagefolder"),
        ({"kept": [0, 1], "format": "parqet"}, "no format 'parqet'. Did you mean 'parquet'"),
        ({"kept": [0, 1], "format": "imagefolder"}, "no images"),
        ({"kept": [0, 1], "format": "files"}, "do not lie in files"),
        ({"kept": [0, 1], "format": "fiftyone"}, "for images"),
        ({"kept": [0, 1], "format": "cleanlab"}, "score table"),
        ({"kept": [0, 1], "shard_size": 5}, "shard"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, source: Path, given: dict[str, object], words: str
) -> None:
    with pytest.raises(dd.BadInputError, match=words):
        export(source, tmp_path / "out", load_options={"test": source}, **given)
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_format_is_added_by_one_decorated_function(tmp_path: Path, source: Path) -> None:
    @export_format("count", "`count.txt`: how many examples stay.", train_only=True)
    def write_count(job: Job) -> WriteResult:
        (job.folder / "count.txt").write_text(f"{len(job.plan.train)} in {len(job.plan.parts)} part")
        return WriteResult(files={"train": "count.txt"}, keeps_names=True)

    try:
        export(source, tmp_path / "out", kept=dd.load(source).train.ids[:3], format="count")
    finally:
        FORMATS.forget("count")
    assert (tmp_path / "out/count.txt").read_text() == "3 in 1 part"
    with pytest.raises(dd.BadInputError, match=r"There is no format 'count'\."):
        export(source, tmp_path / "two", kept=[0], format="count")


def test_a_class_that_nobody_has_any_more_is_told(tmp_path: Path, source: Path) -> None:
    kept = [id_ for id_ in dd.load(source).train.ids.tolist() if id_ % 2]
    exported = export(source, tmp_path / "out", kept=kept, format="ids")
    assert any("no training example any more: 'bad'" in note for note in exported.notes)


def test_indices_select_the_same_rows_in_datasets_and_torch(tmp_path: Path, source: Path) -> None:
    import datasets
    from torch.utils.data import Subset

    kept = dd.load(source).train.ids[[0, 3, 6]]
    export(source, tmp_path / "out", kept=kept, format="indices")
    rows = datasets.Dataset.from_list(texts())
    indices = np.load(tmp_path / "out/indices.npy")
    wanted = [texts()[id_] for id_ in kept]
    assert list(rows.select(indices)) == wanted
    subset = Subset(texts(), json.loads((tmp_path / "out/indices.json").read_text()))
    assert [subset[i] for i in range(len(subset))] == wanted
    names = ("bad", "good")
    assert [names[label] for label in np.load(tmp_path / "out/labels.npy")] == [r["label"] for r in wanted]


def test_files_are_named_relative_to_the_source(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "pets")
    export(source, tmp_path / "out", kept=[0, 1, 5], format="files")
    every = sorted(p.relative_to(source).as_posix() for p in (source / "train").rglob("*") if p.is_file())
    assert (tmp_path / "out/files.txt").read_text().splitlines() == [every[0], every[1], every[5]]


def test_fiftyone_gets_its_columns_with_what_pillow_says(tmp_path: Path) -> None:
    import csv

    from PIL import Image

    source = image_parquet(tmp_path / "a.parquet")
    examples = dd.load(source)
    export(source, tmp_path / "out", kept=examples.train.ids[:9], format="fiftyone")
    rows = list(csv.DictReader((tmp_path / "out/train/labels.csv").open(newline="")))
    assert list(rows[0]) == [
        "filepath",
        "size_bytes",
        "mime_type",
        "width",
        "height",
        "num_channels",
        "label",
    ]
    assert len(rows) == 9
    for row, label in zip(rows, examples.train.labels, strict=False):
        path = tmp_path / "out/train" / row["filepath"]
        with Image.open(path) as image:
            assert row["mime_type"] == Image.MIME[image.format]
            assert (int(row["width"]), int(row["height"]), int(row["num_channels"])) == (*image.size, 3)
        assert int(row["size_bytes"]) == path.stat().st_size
        assert row["label"] == examples.class_names[label]


def test_cleanlab_gets_the_mean_softmax_of_the_models(tmp_path: Path, tiny: object) -> None:
    from datadiet.engine.setup import Setup

    assert isinstance(tiny, Setup)
    table = score(
        tiny.examples, recipe=tiny.recipe, seeds=2, at_epoch=2, workspace=tmp_path / "runs", device="cpu"
    )
    table.write(tmp_path / "scores.parquet")
    expected = []
    for seed in table.provenance["seeds"]:
        model, _ = load_weights(tiny, train_run(tiny, seed, record=True), tiny.step_of(2))
        logits = [
            model.double()(batch.inputs.double()).detach().numpy()[0]
            for batch in tiny.train.epoch(batch_size=1)
        ]
        exponentials = np.exp(np.stack(logits))
        expected.append(exponentials / exponentials.sum(axis=1, keepdims=True))
    ids = tiny.examples.train.ids
    found = mean_probabilities(tiny.examples, table, device="cpu")
    np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-4, atol=1e-6)
    exported = export(
        tiny.examples,
        tmp_path / "out",
        kept=ids[::2],
        format="cleanlab",
        scores=tmp_path / "scores.parquet",
        machine={"device": "cpu"},
    )
    np.testing.assert_array_equal(np.load(tmp_path / "out/pred_probs.npy"), found[::2])
    np.testing.assert_array_equal(np.load(tmp_path / "out/ids.npy"), ids[::2])
    np.testing.assert_array_equal(np.load(tmp_path / "out/labels.npy"), tiny.examples.train.labels[::2])
    assert len(json.loads((tmp_path / "out/manifest.json").read_text())["scores_sha256"]) == 64
    assert "trained on these examples" in str(exported)


def test_bad_examples_that_were_left_out_stand_in_the_manifest(tmp_path: Path) -> None:
    rows = texts()
    rows[3]["text"] = ""
    source = write_jsonl(tmp_path / "a.jsonl", rows)
    examples = dd.load(source, on_bad_example="skip")
    export(source, tmp_path / "out", kept=examples.train.ids, load_options={"on_bad_example": "skip"})
    table = pq.read_table(tmp_path / "out/manifest.parquet").to_pylist()
    (row,) = [row for row in table if row["id"] == 3]
    assert (row["status"], row["old_label"], row["file"]) == ("dropped", None, None)
    assert "left out while loading" in row["reason"]
    assert len((tmp_path / "out/train.jsonl").read_text().splitlines()) == len(examples.train)


def test_labels_that_were_changed_in_memory_are_those_that_are_written(tmp_path: Path, source: Path) -> None:
    from datadiet.data import corrupt

    examples = dd.load(source)
    noisy = corrupt(examples, 0.5, seed=1).examples
    export(noisy, tmp_path / "out", kept=noisy.train.ids)
    written = [json.loads(line) for line in (tmp_path / "out/train.jsonl").read_text().splitlines()]
    names = [noisy.class_names[label] for label in noisy.train.labels]
    assert [row["label"] for row in written] == names
    assert names != [examples.class_names[label] for label in examples.train.labels]
