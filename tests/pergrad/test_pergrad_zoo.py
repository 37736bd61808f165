"""Whole architectures, built small from their configurations, against the loop."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from pergrad_oracle import assert_exact, lively

from datadiet.models.resnet import resnet18, resnet20, resnet50

transformers = pytest.importorskip("transformers")

BATCH = 4
TEXT = {"vocab_size": 50, "num_labels": 3, "pad_token_id": 1}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def images() -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(BATCH, 3, 32, 32)}


def tokens() -> dict[str, torch.Tensor]:
    """Right-padded sequences of 8 tokens, with their mask."""
    ids = torch.randint(2, 50, (BATCH, 8))
    mask = (torch.arange(8) < 8 - torch.arange(BATCH)[:, None]).long()
    return {"input_ids": ids.masked_fill(mask == 0, 1), "attention_mask": mask}


def made(name: str, **options):
    config = getattr(
        transformers, f"{name.partition('For')[0].removesuffix('Model').removesuffix('LMHead')}Config"
    )
    return lambda: getattr(transformers, name)(config(**options))


IMAGE_MODELS = {
    "ResNet": made(
        "ResNetForImageClassification", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3
    ),
    "ConvNeXt": made(
        "ConvNextForImageClassification",
        hidden_sizes=[8, 16],
        depths=[1, 1],
        num_stages=2,
        num_labels=3,
        layer_scale_init_value=0.3,
    ),
    "ViT": made("ViTForImageClassification", **SMALL, image_size=32, patch_size=8, num_labels=3),
    "Swin": made(
        "SwinForImageClassification",
        image_size=32,
        patch_size=2,
        embed_dim=8,
        depths=[2, 2],
        num_heads=[2, 2],
        window_size=4,
        num_labels=3,
    ),
    "MobileNetV2": made(
        "MobileNetV2ForImageClassification", image_size=32, depth_multiplier=0.25, num_labels=3
    ),
}
TEXT_MODELS = {
    "BERT": made("BertForSequenceClassification", **TEXT, **SMALL, max_position_embeddings=20),
    "DistilBERT": made(
        "DistilBertForSequenceClassification",
        **TEXT,
        dim=16,
        n_layers=2,
        n_heads=2,
        hidden_dim=32,
        max_position_embeddings=20,
    ),
    "RoBERTa": made("RobertaForSequenceClassification", **TEXT, **SMALL, max_position_embeddings=20),
    "ALBERT": made(
        "AlbertForSequenceClassification", **TEXT, **SMALL, embedding_size=8, max_position_embeddings=20
    ),
    "Llama": made(
        "LlamaForSequenceClassification",
        **TEXT,
        **(SMALL | {"num_attention_heads": 4}),
        num_key_value_heads=2,
    ),
}


@pytest.fixture(autouse=True)
def one_pass_for_the_whole_batch():
    """Seeds the weights, and forbids the slow way of one example at a time."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Gradient norms are taken one example at a time")
        yield


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_image_classifiers_of_transformers_are_exact(name):
    assert_exact(lively(IMAGE_MODELS[name]()), images(), torch.tensor([0, 1, 2, 1]))


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_text_classifiers_of_transformers_are_exact_with_padding(name):
    assert_exact(lively(TEXT_MODELS[name]()), tokens(), torch.tensor([0, 1, 2, 1]))


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_gpt2_with_its_tied_head_is_exact(implementation):
    config = transformers.GPT2Config(
        vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=20, bos_token_id=0, eos_token_id=0
    )
    config._attn_implementation = implementation
    inputs = tokens()

    def loss(outputs, targets):
        logits = getattr(outputs, "logits", outputs)
        return F.cross_entropy(logits[:, :-1].transpose(1, 2), targets[:, 1:], reduction="none").mean(1)

    model = lively(transformers.GPT2LMHeadModel(config))
    try:
        copy.deepcopy(model).double()(**inputs)
    except RuntimeError as error:  # the mask of early versions does not take float64 models
        assert "without overflow" in str(error)
        pytest.skip(f"transformers {transformers.__version__} cannot run this model in float64")
    assert_exact(model, inputs, inputs["input_ids"], loss=loss)


def test_the_t5_encoder_with_its_shared_position_bias_is_exact():
    config = transformers.T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)

    def loss(outputs, targets):
        return outputs.last_hidden_state.square().mean((1, 2)) + outputs.last_hidden_state[:, 0, 0] * targets

    assert_exact(lively(transformers.T5EncoderModel(config)), tokens(), torch.tensor([0, 1, 2, 1]), loss=loss)


@pytest.mark.parametrize("factory", [resnet18, resnet20, resnet50])
def test_our_residual_networks_are_exact(factory):
    model = lively(factory(3, width=4))
    assert_exact(model, torch.randn(BATCH, 3, 16, 16), torch.tensor([0, 1, 2, 1]))


@pytest.mark.slow
@pytest.mark.parametrize("factory", [resnet18, resnet50])
def test_our_residual_networks_are_exact_at_their_full_width(factory):
    assert_exact(factory(10).eval(), torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 2]))
