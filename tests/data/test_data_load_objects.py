"""Arrays, data frames, torch data sets and the built-in digits."""

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import datadiet.data as dd
from datadiet.foundation.errors import BadInputError

LABELS = np.arange(12) % 3


def whole(examples, encoding):
    """Stored values of both parts, by id."""
    rows = {}
    for part in (examples.train, examples.test):
        for example, value in zip(part.ids, encoding.encode_all(part).values, strict=True):
            rows[int(example)] = value.numpy()
    return np.stack([rows[i] for i in range(len(rows))])


def pixels(examples):
    shape = examples.image_shape
    return whole(examples, dd.ImageEncoding(*shape, (0.5,) * shape[0], (0.5,) * shape[0]))


def test_digits_are_the_1797_images_of_scikit_learn():
    examples, digits = dd.load("digits"), load_digits()
    assert (examples.name, examples.source, examples.image_shape) == ("digits", "digits", (1, 8, 8))
    assert examples.class_names == tuple("0123456789")
    found = pixels(examples)[:, 0] / 255 * 16
    assert np.abs(found - digits.images).max() < 16 / 255
    labels = np.empty(1797, dtype=int)
    for part in (examples.train, examples.test):
        labels[part.ids] = part.labels
    assert np.array_equal(labels, digits.target)


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x,
        lambda x: x.astype(np.float32) / 255,
        lambda x: x.astype(np.float64),
        lambda x: x.astype(np.int64),
        lambda x: np.moveaxis(x, -1, 1),
        lambda x: torch.from_numpy(np.moveaxis(x, -1, 1).astype(np.float32) / 255),
    ],
    ids=["uint8", "unit floats", "floats", "int64", "channels first", "tensor"],
)
def test_image_arrays_of_every_layout_give_their_pixels(pictures, convert):
    examples = dd.load((convert(pictures), LABELS))
    assert examples.kind == "image" and examples.image_shape == (3, 8, 6)
    assert np.array_equal(pixels(examples), np.moveaxis(pictures, -1, 1))


def test_grey_image_arrays_have_one_channel(pictures):
    examples = dd.load((pictures[..., 0], LABELS))
    assert examples.image_shape == (1, 8, 6)
    assert np.array_equal(pixels(examples)[:, 0], pictures[..., 0])


def test_dark_float_images_beside_brighter_ones_keep_their_range():
    """Whether floats are in 0..1 is told from all images, not from each."""
    images = [np.full((4, 4), float(i), dtype=np.float32) for i in range(12)]
    images = [np.pad(image, (0, i % 2)) for i, image in enumerate(images)]
    examples = dd.load(Items(images, LABELS.tolist()), image_size=4)
    assert pixels(examples)[1].max() == 1


def test_vectors_keep_their_values():
    matrix = np.random.default_rng(1).normal(size=(12, 5))
    examples = dd.load((matrix, LABELS))
    encoding = dd.VectorEncoding((0.0,) * 5, (1.0,) * 5)
    assert np.array_equal(whole(examples, encoding), matrix.astype(np.float32))


def test_texts_and_string_labels_in_lists():
    examples = dd.load((["a", "b", "c", "d"], ["x", "y", "x", "y"]), test_fraction=0.5)
    assert (examples.kind, examples.class_names) == ("text", ("x", "y"))


def test_data_frames_and_dataset_dicts_are_sources():
    frame = pd.DataFrame({"a": np.arange(12.0), "b": np.ones(12), "y": LABELS})
    rows = datasets.Dataset.from_pandas(frame)
    assert dd.load(frame).fingerprint == dd.load(rows).fingerprint
    parts = dd.load(datasets.DatasetDict(train=rows, validation=rows.select(range(3))))
    assert len(parts.test) == 3 and any("'validation'" in note for note in parts.notes)


def test_a_test_split_with_hidden_labels_gives_way():
    names = datasets.ClassLabel(names=["a", "b", "c"])
    rows = datasets.Dataset.from_dict({"text": list("abcdefghijkl"), "label": LABELS}).cast_column(
        "label", names
    )
    hidden = datasets.Dataset.from_dict({"text": ["x"], "label": [-1]}).cast_column("label", names)
    examples = dd.load(datasets.DatasetDict(train=rows, test=hidden, validation=rows.select([0, 1])))
    assert len(examples.test) == 2
    assert any("'test' has no labels" in note for note in examples.notes)


class Items(torch.utils.data.Dataset):
    def __init__(self, inputs, labels, **attributes):
        self.inputs, self.labels = inputs, labels
        self.__dict__.update(attributes)

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return self.inputs[index], self.labels[index]


def test_torch_datasets_of_pil_images_and_class_names(pictures):
    images = [Image.fromarray(picture) for picture in pictures]
    examples = dd.load(Items(images, LABELS.tolist(), classes=["c", "b", "a"]))
    assert examples.class_names == ("c", "b", "a")
    assert np.array_equal(pixels(examples), np.moveaxis(pictures, -1, 1))


def test_torch_datasets_of_tensors_texts_and_vectors(pictures):
    tensors = torch.from_numpy(np.moveaxis(pictures, -1, 1).astype(np.float32) / 255)
    images = dd.load(torch.utils.data.TensorDataset(tensors, torch.from_numpy(LABELS)))
    assert np.array_equal(pixels(images), np.moveaxis(pictures, -1, 1))
    assert dd.load(Items(list("abcdefghijkl"), [torch.tensor(k) for k in LABELS])).kind == "text"
    assert dd.load(Items(torch.randn(12, 4, generator=torch.Generator()), LABELS)).kind == "vector"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((np.zeros((3, 2)), np.zeros(4)), "do not match"),
        ((np.zeros((4, 2, 2, 7)), LABELS[:4]), "no dimension of 1, 3 or 4 channels"),
        ((np.full((4, 8, 8), -1.0), LABELS[:4]), "lie in -1..-1"),
        ((np.full((4, 8, 8), np.nan), LABELS[:4]), "row 0 has NaN"),
        ((np.zeros((4, 0)), LABELS[:4]), "no columns"),
        (([[1, 2], [3]], [0, 1]), "not equally long"),
        (3, "cannot be a source"),
        (None, "cannot be a source"),
        ({"a": 1}, "cannot be a source"),
        (datasets.IterableDataset.from_generator(lambda: iter([{"a": 1}])), "no fixed positions"),
        (Items([], []), "is empty"),
        (torch.utils.data.TensorDataset(torch.zeros(4)), "no pair"),
        (Items([torch.zeros(2), torch.zeros(3), torch.zeros(2)], [0, 1, 0]), r"Item 1 has the shape \(3,\)"),
    ],
)
def test_objects_that_cannot_be_used_say_why(source, message):
    with pytest.raises(BadInputError, match=message):
        dd.load(source)


def test_random_transforms_are_refused():
    class Random(Items):
        def __getitem__(self, index):
            return np.random.default_rng().normal(size=3), 0

    with pytest.raises(BadInputError, match="different inputs for the same index"):
        dd.load(Random([0] * 4, [0] * 4))
