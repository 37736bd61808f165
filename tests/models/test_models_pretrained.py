"""Classifiers of transformers from a folder: made here from a configuration, with random weights."""

from __future__ import annotations

import pytest
import torch

import datadiet as dd
from datadiet.models import ModelContext, build_model
from datadiet.models.pretrained import image_processing
from tiny_models import bert_config, vit_config

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def vit_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    config = vit_config()
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    config = bert_config(vocab_size=40, num_hidden_layers=2, intermediate_size=32)
    transformers.BertModel(config).save_pretrained(folder)
    return str(folder)


def test_an_image_classifier_takes_pixels_and_gives_logits_of_the_right_width(vit_folder) -> None:
    model = build_model(vit_folder, ModelContext("image", 7, (3, 16, 16)))
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 7)


def test_a_text_classifier_takes_token_tensors_and_gives_logits(bert_folder) -> None:
    model = build_model(bert_folder, ModelContext("text", 4), {"num_hidden_layers": 1})
    tokens = {
        "input_ids": torch.randint(0, 40, (2, 6)),
        "attention_mask": torch.ones(2, 6, dtype=torch.int64),
    }
    assert model(tokens).shape == (2, 4)
    assert len(model.classifier.bert.encoder.layer) == 1


def test_the_body_is_the_folders_and_only_the_head_is_fresh(bert_folder) -> None:
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(build_model(bert_folder, ModelContext("text", 4)).classifier)
    bodies = [m.bert.encoder.state_dict() for m in models]
    assert all(torch.equal(bodies[0][k], bodies[1][k]) for k in bodies[0])
    assert not torch.equal(models[0].classifier.weight, models[1].classifier.weight)


def test_the_image_size_comes_from_the_folder(vit_folder) -> None:
    assert image_processing(vit_folder)["size"] == 16


def test_vectors_have_no_pretrained_model(bert_folder) -> None:
    with pytest.raises(dd.BadInputError, match="images or texts"):
        build_model(bert_folder, ModelContext("vector", 4, (3,)))
