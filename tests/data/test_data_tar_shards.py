"""WebDataset shards are read as rows, and what an export writes comes back."""

import io
import json
import pathlib
import tarfile
import tempfile

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import datadiet.data as dd
from datadiet.data.sources.shards import read_shards
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export import export


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))


def image_members(pictures, numbers):
    for number in numbers:
        yield f"./pets/{number:03d}.png", png(pictures[number])
        yield f"./pets/{number:03d}.cls", str(number % 2).encode()


def test_images_with_classes_in_several_shards(tmp_path, pictures):
    write_tar(tmp_path / "pets-train-000001.tar", image_members(pictures, range(4, 8)))
    write_tar(tmp_path / "pets-train-000000.tar", image_members(pictures, range(4)))
    write_tar(tmp_path / "pets-test-000000.tar.gz", image_members(pictures, range(8, 12)))
    examples = dd.load(tmp_path)
    assert examples.kind == "image" and examples.class_names == ("0", "1")
    assert (len(examples.train), len(examples.test)) == (8, 4)
    assert examples.train.labels.tolist() == [0, 1] * 4
    pixels = examples.train.decoded[examples.image_shape].numpy()
    assert np.array_equal(pixels, np.moveaxis(pictures[:8], -1, 1))


def test_one_shard_of_texts_with_labels_in_json_holds_out_a_test_part(tmp_path):
    def members():
        for number in range(12):
            about = {"label": "xy"[number % 2], "source": "here"}
            yield f"{number}.json", json.dumps(about).encode()
            yield f"{number}.txt", f"text {number} é".encode()
            yield f"{number}.cls", b"7"

    write_tar(tmp_path / "texts.tar", members())
    examples = dd.load(tmp_path / "texts.tar")
    assert examples.name == "texts" and examples.input_columns == ("text",)
    assert examples.class_names == ("x", "y") and len(examples.test) == 2
    assert examples.train.dataset["text"][:] == [f"text {i} é" for i in examples.train.ids]


def test_large_shards_are_mapped_from_disk(tmp_path, pictures, monkeypatch):
    write_tar(tmp_path / "train.tar", image_members(pictures, range(8)))
    write_tar(tmp_path / "test.tar", image_members(pictures, range(8, 12)))
    small = dd.load(tmp_path)

    class Memory:
        available = 4

    monkeypatch.setattr("datadiet.data.sources.tables.psutil.virtual_memory", lambda: Memory)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    large = dd.load(tmp_path)
    monkeypatch.undo()
    assert large.train.dataset.cache_files and not small.train.dataset.cache_files
    assert large.fingerprint == small.fingerprint


def test_damaged_shards_are_one_sentence(tmp_path, pictures):
    def refused(message):
        with pytest.raises(BadInputError, match=message) as caught:
            dd.load(tmp_path / "a.tar")
        assert "\n" not in str(caught.value)

    (tmp_path / "a.tar").write_bytes(b"no archive at all" * 100)
    refused("cannot be read as a tar archive")
    write_tar(tmp_path / "a.tar", image_members(pictures, range(8)))
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: whole.index(b"pets/003.png") + 600])
    refused("cannot be read as a tar archive")
    write_tar(tmp_path / "a.tar", [])
    refused("holds no samples")
    write_tar(tmp_path / "a.tar", [("0.json", b"{"), ("0.txt", b"x")])
    refused(r"A .json of .* cannot be read")
    write_tar(tmp_path / "a.tar", [("0.txt", "café".encode("latin-1")), ("0.cls", b"1")])
    refused(r"A .txt of .* is not UTF-8")
    write_tar(tmp_path / "a.tar", [("0.json", b'{"label": 1}'), ("1.json", b'{"label": "x"}')])
    refused("do not agree on what 'label' is")
    write_tar(tmp_path / "a.tar", [*image_members(pictures, range(8)), ("x.png", png(pictures[0]))])
    refused("Row 8 .* label .* is missing")
    (tmp_path / "a.tar").rename(tmp_path / "b-test.tar")
    with pytest.raises(BadInputError, match="no train shard"):
        dd.load(tmp_path)


@given(
    st.lists(st.sampled_from(["7", "07", "0", "-1", "1e5", "x", "-0", "²", "1.0"]), min_size=8, max_size=8),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_labels_of_shards_are_as_they_are_written(labels, number):
    labels = ["7", "0"] * 4 if number else labels
    members = [
        m
        for i, y in enumerate(labels * 2)
        for m in ((f"{i}.txt", f"t {i}".encode()), (f"{i}.cls", y.encode()))
    ]
    with tempfile.TemporaryDirectory() as place:
        path = pathlib.Path(place) / "a.tar"
        write_tar(path, members)
        rows = read_shards([path])
    assert [str(value) for value in rows["label"][:]] == labels * 2
    assert all(isinstance(value, int) for value in rows["label"][:]) == all(
        map(written_like_a_number, labels)
    )


def written_like_a_number(text):
    try:
        return str(int(text)) == text
    except ValueError:
        return False


def test_a_label_that_is_no_number_after_many_numbers_is_one_sentence(tmp_path, monkeypatch):
    class Memory:
        available = 4

    members = [
        (f"{i}.{suffix}", y) for i in range(1200) for suffix, y in (("txt", b"t"), ("cls", b"%d" % (i % 2)))
    ]
    write_tar(tmp_path / "a.tar", [*members, ("z.txt", b"t"), ("z.cls", b"07")])
    monkeypatch.setattr("datadiet.data.sources.tables.psutil.virtual_memory", lambda: Memory)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    with pytest.raises(BadInputError, match="the label '07' is no number") as caught:
        read_shards([tmp_path / "a.tar"])
    assert "\n" not in str(caught.value)


def test_files_of_samples_that_are_not_used_are_said_and_two_for_one_column_refused(tmp_path, pictures):
    one = [*image_members(pictures, range(8)), ("./pets/007.wav", b"x"), ("./pets/007.seg.png", b"y")]
    write_tar(tmp_path / "a.tar", one)
    notes = []
    assert len(read_shards([tmp_path / "a.tar"], notes=notes)) == 8
    assert notes == ["2 files in the shards are of types that are not used (.wav, .seg.png)."]
    write_tar(tmp_path / "a.tar", [*image_members(pictures, range(8)), ("./pets/007.jpg", png(pictures[0]))])
    with pytest.raises(BadInputError, match=r"sample 'pets/007' .* two files for 'image', \.png and \.jpg"):
        read_shards([tmp_path / "a.tar"])


def sources(pictures):
    texts = (["good day", "bad day", "fine", "poor"] * 4, ["up", "down"] * 8)
    vectors = (np.random.default_rng(0).normal(size=(16, 3)), np.arange(16) % 2)
    named = datasets.Dataset.from_dict(
        {"text": texts[0], "label": [0, 1] * 8},
        features=datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["z", "a", "none has it"])}
        ),
    )
    return {"image": (pictures, np.arange(12) % 3), "text": texts, "vector": vectors, "named": named}


@pytest.mark.parametrize("kind", ["image", "text", "vector", "named"])
def test_exported_shards_load_as_the_examples_that_were_kept(tmp_path, pictures, kind):
    examples = dd.load(sources(pictures)[kind])
    kept = examples.train.ids[: len(examples.train) - 2]
    export(examples, tmp_path / "out", kept=kept, format="webdataset")
    again = dd.load(tmp_path / "out")
    assert again.kind == examples.kind and again.class_names == examples.class_names
    assert (len(again.train), len(again.test)) == (len(kept), len(examples.test))
    assert again.train.labels.tolist() == examples.train.labels[: len(kept)].tolist()
    assert again.test.labels.tolist() == examples.test.labels.tolist()
    column, old = again.input_columns[0], examples.input_columns[0]
    for row, was in zip(again.train.dataset, examples.train.dataset, strict=False):
        first, second = (np.asarray(one) for one in (row[column], was[old]))
        assert np.array_equal(first, second)
