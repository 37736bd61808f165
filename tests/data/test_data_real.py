"""Real data sets, where they are at hand."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import datadiet.data as dd
from datadiet.foundation.errors import BadInputError

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the repository")


def test_cifar10_images_have_their_pixels_labels_and_names():
    examples = dd.load(DATA / "cifar10" / "test.parquet", test_fraction=0.1)
    assert examples.image_shape == (3, 32, 32) and examples.num_classes == 10
    assert examples.class_names[:2] == ("airplane", "automobile")
    rows = pq.read_table(DATA / "cifar10" / "test.parquet").slice(0, 40).to_pylist()
    pixels = examples.train.decoded[(3, 32, 32)].numpy()
    for position, example in enumerate(examples.train.ids[:20]):
        image = np.asarray(Image.open(io.BytesIO(rows[example]["image"]["bytes"])).convert("RGB"))
        assert np.array_equal(pixels[position], np.moveaxis(image, -1, 0))
        assert rows[example]["label"] == examples.train.labels[position]


@pytest.mark.parametrize(
    ("name", "rows", "classes", "column"),
    [("sst2", (67349, 1821), 2, "text"), ("trec6", (5452, 500), 6, "text")],
)
def test_texts_have_their_rows_and_classes(name, rows, classes, column):
    examples = dd.load(DATA / "text" / f"{name}.train.parquet", test=DATA / "text" / f"{name}.test.parquet")
    assert (len(examples.train), len(examples.test)) == rows
    assert (examples.num_classes, examples.input_columns, examples.kind) == (classes, (column,), "text")
    store = dd.open_store(examples.test, dd.NgramEncoding())
    assert sum(len(batch) for batch in store.epoch(batch_size=128)) == rows[1]


def test_atis_has_intents_in_its_test_part_that_are_never_seen_in_train():
    train, test = (DATA / "intent_slots" / f"atis.{part}.parquet" for part in ("train", "test"))
    with pytest.raises(BadInputError, match="never seen in the train part"):
        dd.load(train, test=test, task="classification")
    examples = dd.load(train, test=test, task="classification", on_bad_example="skip")
    assert examples.label_column == "intent" and examples.input_columns == ("text",)
    seen = set(pq.read_table(train)["intent"].to_pylist())
    unseen = [i for i, intent in enumerate(pq.read_table(test)["intent"].to_pylist()) if intent not in seen]
    assert list(examples.left_out_test) == unseen and unseen


def test_a_folder_of_several_data_sets_is_refused():
    with pytest.raises(BadInputError, match="several data sets"):
        dd.load(DATA / "text")


@pytest.mark.parametrize(("name", "intents"), [("atis", 21), ("snips", 7)])
def test_intents_and_slots_are_those_of_the_rows(name, intents):
    files = [DATA / "intent_slots" / f"{name}.{part}.parquet" for part in ("train", "test")]
    train, test = (pq.read_table(file).to_pylist() for file in files)
    examples = dd.load(files[0], test=files[1], on_bad_example="skip")
    assert (examples.task, examples.num_outputs) == ("intent_slots", intents)
    tags = {tag for row in train for tag in row["slots"].split()}
    assert set(examples.tag_names) == tags and examples.tag_names[0] == "O"
    known = {row["intent"] for row in train}
    assert list(examples.left_out_test) == [
        i for i, row in enumerate(test) if row["intent"] not in known or not set(row["slots"].split()) <= tags
    ]
    for part, rows in ((examples.train, train), (examples.test, test)):
        for position, row in enumerate(part.targets.rows()):
            source = rows[part.ids[position]]
            assert [examples.tag_names[tag] for tag in row] == source["slots"].split()
            assert examples.class_names[part.labels[position]] == source["intent"]


def test_slots_meet_the_first_tokens_of_their_words_under_a_trained_tokenizer():
    pytest.importorskip("transformers")
    train, test = (DATA / "intent_slots" / f"snips.{part}.parquet" for part in ("train", "test"))
    examples = dd.load(train, test=test)
    encoding = dd.TokenEncoding(dd.trained_tokenizer(examples.train, vocabulary_size=3000), words=True)
    store = dd.open_store(examples.test, encoding)
    rows = pq.read_table(test).to_pylist()
    for batch in store.epoch(batch_size=64, bucket_by_length=True):
        for example, slots in zip(batch.ids.tolist(), batch.targets["slots"], strict=True):
            found = [examples.tag_names[tag] for tag in slots.tolist() if tag != dd.IGNORED]
            assert found == rows[example]["slots"].split()


def test_trec_is_a_classification_with_the_names_of_its_questions():
    examples = dd.load(DATA / "text" / "trec6.train.parquet", test=DATA / "text" / "trec6.test.parquet")
    assert examples.task == "classification" and examples.train.targets is None
    assert examples.output_names == examples.class_names and examples.tag_names == ()
