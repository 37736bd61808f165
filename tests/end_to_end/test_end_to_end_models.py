"""Models that are not the package's own: classifiers of `transformers` in a folder, and a factory by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_sources import TINY, write_images, write_text, write_vectors

import datadiet as dd
from tiny_models import bert_config, save_tokenizer, vit_config

FLAGS = ("--keep", "0.5", "--seeds", "1", "--scores", "el2n,grand", "--at-epoch", "1", "--allow-empty-class")


@pytest.fixture(scope="module")
def text_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of one layer with three classes, and a tokenizer of the words of `write_text`."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    words = ["good", "fine", "warm", "clear", "bad", "poor", "cold", "vague", "tea", "rain", "book", "road"]
    save_tokenizer(folder, words)
    config = bert_config(vocab_size=17, max_position_embeddings=32, num_labels=3)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def image_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random vision transformer of one layer for pictures of 8x8 in colour."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("vit")
    config = vit_config(image_size=8, patch_size=4, intermediate_size=16, num_labels=5)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    return folder


def check_run(folder: Path, classes: int) -> None:
    """The run in `folder` reached its verdict, with scores that a classifier of so many classes can have."""
    verdict = json.loads((folder / "verdict.json").read_text())
    assert 0 <= verdict["full"]["accuracy"] <= 1
    assert verdict["recommended"] is None and "1 seed is not for deciding" in verdict["reason"]
    assert verdict["answer"]["kind"] == "not_for_deciding"
    table = dd.ScoreTable.read(folder / "scores.parquet")
    assert (table.column("grand") > 0).all()
    assert (table.column("el2n") > 0).all() and (table.column("el2n") < np.sqrt(2)).all()
    assert len(table.class_names) == classes


def test_a_text_classifier_of_transformers_runs_from_its_folder(
    text_classifier: Path, tmp_path: Path, no_page: None, datadiet: Callable[..., str]
) -> None:
    notes = write_text(tmp_path / "notes.csv", rows=40)
    work = ("--workspace", tmp_path / "work", "--out", tmp_path / "out")
    datadiet("run", notes, "--model", text_classifier, *work, *TINY, *FLAGS, "--lr", "0.001")
    check_run(tmp_path / "out", 2)
    answer = json.loads(datadiet("verify", tmp_path / "out" / "scores.parquet", "--sample", "8", "--json"))
    assert answer["agrees"] is True
    assert {"el2n", "grand"} <= set(answer["worst"])


@pytest.mark.parametrize("channels", [3, 1])
def test_an_image_classifier_of_transformers_runs_from_its_folder(
    channels: int, image_classifier: Path, tmp_path: Path, no_page: None, datadiet: Callable[..., str]
) -> None:
    shapes = write_images(tmp_path / "shapes", train=8, test=4, channels=channels)
    work = ("--workspace", tmp_path / "work", "--out", tmp_path / "out")
    datadiet("run", shapes, "--model", image_classifier, *work, *TINY, *FLAGS, "--lr", "0.001")
    check_run(tmp_path / "out", 2)


def test_images_are_brought_to_the_size_that_the_classifier_was_made_for(
    image_classifier: Path, tmp_path: Path, datadiet: Callable[..., str]
) -> None:
    shapes = write_images(tmp_path / "shapes", train=8, test=4)
    out = ("--workspace", tmp_path / "work", "--out", tmp_path / "scores.parquet", "--seeds", "1")
    datadiet("score", shapes, "--image-size", "12", "--model", image_classifier, *out, *TINY)
    encoding = dd.ScoreTable.read(tmp_path / "scores.parquet").provenance["encoding"]
    assert encoding["shape"] == [3, 8, 8]


def test_a_model_folder_for_another_kind_of_data_is_refused_in_one_sentence(
    image_classifier: Path, tmp_path: Path, datadiet: Callable[..., str]
) -> None:
    points = write_vectors(tmp_path / "points.parquet")
    work = ("--workspace", tmp_path / "work")
    datadiet("score", points, "--model", image_classifier, *work, *TINY, code=2)
    (tmp_path / "empty").mkdir()
    shapes = write_images(tmp_path / "shapes", train=2, test=2)
    datadiet("score", shapes, "--model", tmp_path / "empty", *work, *TINY, code=2)
    assert not list(tmp_path.glob("work/trainings/*"))


FACTORY = '''
import torch


def build(context, width=3):
    """A net of the current folder: a hidden layer between the features and the classes."""
    features, classes = context.input_shape[0], context.num_classes
    return torch.nn.Sequential(torch.nn.Linear(features, width), torch.nn.ReLU(), torch.nn.Linear(width, classes))
'''


def test_a_factory_in_the_current_folder_runs_by_its_name(tmp_path: Path) -> None:
    write_vectors(tmp_path / "points.parquet")
    (tmp_path / "my_nets").mkdir()
    (tmp_path / "my_nets" / "__init__.py").write_text("")
    (tmp_path / "my_nets" / "small.py").write_text(FACTORY)
    program = Path(sys.executable).with_name(
        "datadiet"
    )  # as installed, where nothing adds the current folder
    model = ("--model", "my_nets.small:build", "--model-option", "width=5")
    done = subprocess.run(
        [program, "score", "points.parquet", *model, *TINY, "--seeds", "1", "--scores", "el2n"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert dd.ScoreTable.read(tmp_path / "scores.parquet").provenance["recipe"]["model_options"] == {
        "width": 5
    }
