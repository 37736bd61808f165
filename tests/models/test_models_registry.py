"""Models by name: built, seeded, refused."""

from __future__ import annotations

import dataclasses
import sys

import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.models import MODELS, ModelContext, build_model, check_model, is_pretrained

IMAGES = ModelContext("image", 5, (3, 16, 16))
CONTEXTS = {
    "image": IMAGES,
    "vector": ModelContext("vector", 5, (7,)),
    "text": ModelContext("text", 5, (), 64),
}


def inputs_of(name: str, context: ModelContext) -> torch.Tensor | dict[str, torch.Tensor]:
    if context.kind == "text":
        indices = torch.randint(1, context.vocabulary, (4, 9))
        return indices if name == "ngrams" else {"input_ids": indices, "attention_mask": indices.clamp(max=1)}
    return torch.randn(4, *context.input_shape)


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n in MODELS for k in MODELS[n].kinds])
def test_every_named_model_gives_logits_and_takes_gradients(name, kind) -> None:
    options = {"width": 8} if name.startswith("resnet") and name in ("resnet18", "resnet50") else {}
    model = build_model(name, CONTEXTS[kind], options)
    logits = model(inputs_of(name, CONTEXTS[kind]))
    assert logits.shape == (4, 5)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("name", "kind"), [("mlp", "image"), ("smallcnn", "image"), ("resnet20", "image"), ("ngrams", "text")]
)
@pytest.mark.parametrize(("task", "width"), [("multilabel", 3), ("regression", 1)])
def test_a_named_model_puts_out_as_many_numbers_as_the_context_says(name, kind, task, width) -> None:
    context = dataclasses.replace(CONTEXTS[kind], task=task, num_outputs=width)
    assert build_model(name, context)(inputs_of(name, context)).shape == (4, width)


@pytest.mark.parametrize("side", [4, 8, 9, 16, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_smallcnn_takes_images_of_any_small_size(side, channels) -> None:
    model = build_model("smallcnn", ModelContext("image", 3, (channels, side, side)))
    assert model(torch.randn(2, channels, side, side)).shape == (2, 3)


def test_the_whitening_layer_makes_patches_of_the_sample_uncorrelated() -> None:
    generator = torch.Generator().manual_seed(0)
    smooth = nn.functional.avg_pool2d(torch.randn(400, 3, 18, 18, generator=generator), 3, 1)
    model = build_model("smallcnn", ModelContext("image", 5, (3, 16, 16), sample=smooth))
    assert not any(p.requires_grad for p in model.whiten.parameters())
    patches = nn.functional.unfold(smooth, 2).transpose(1, 2).reshape(-1, 12)
    out = (patches - patches.mean(0)) @ model.whiten.weight[:12].reshape(12, 12).T
    correlation = torch.corrcoef(out.T)
    assert (correlation - torch.eye(12)).abs().max() < 0.02
    assert torch.corrcoef(patches.T).fill_diagonal_(0).abs().max() > 0.3, "the sample must be correlated"
    assert torch.equal(model.whiten.weight[12:], -model.whiten.weight[:12])


def test_padding_does_not_change_the_logits_of_a_text() -> None:
    model = build_model("ngrams", CONTEXTS["text"])
    text = torch.tensor([[5, 9, 3]])
    padded = torch.tensor([[5, 9, 3, 0, 0, 0]])
    torch.testing.assert_close(model(text), model(padded))


def test_a_factory_is_found_by_package_and_name(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_models_for_test.py").write_text(
        "from torch import nn\n"
        "def linear(context, bias=True):\n"
        "    return nn.Linear(context.input_shape[0], context.num_classes, bias=bias)\n"
        "def nothing(context):\n    return 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    built = build_model("my_models_for_test:linear", CONTEXTS["vector"], {"bias": False})
    assert isinstance(built, nn.Linear) and built.bias is None
    with pytest.raises(dd.BadInputError, match="could not be built"):
        build_model("my_models_for_test:linear", CONTEXTS["vector"], {"depth": 3})
    with pytest.raises(dd.BadInputError, match="returned int"):
        build_model("my_models_for_test:nothing", CONTEXTS["vector"])
    with pytest.raises(dd.BadInputError, match="cannot be imported"):
        build_model("my_models_for_test:absent", CONTEXTS["vector"])
    sys.modules.pop("my_models_for_test", None)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("smallcn", "image", "Did you mean 'smallcnn'\\? Models are .*any 'package.module:factory'"),
        ("resnet18", "text", "of kind 'text'; choose one of ngrams, tiny-bert"),
        ("no_such_package_x:f", "image", "cannot be imported"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(name, kind, words) -> None:
    with pytest.raises(dd.BadInputError, match=words):
        check_model(name, kind)
        build_model(name, CONTEXTS[kind])


@pytest.mark.parametrize("task", ["intent_slots", "token_classification"])
def test_a_model_of_whole_texts_cannot_tag_words(task) -> None:
    with pytest.raises(dd.BadInputError, match=r"cannot tag words.*choose tiny-bert or a Hugging Face"):
        check_model("ngrams", "text", task)
    with pytest.raises(dd.BadInputError, match="cannot tag words"):
        build_model("ngrams", dataclasses.replace(CONTEXTS["text"], task=task, num_tags=3))
    check_model("tiny-bert", "text", task)


def test_what_is_not_built_in_and_looks_like_a_folder_or_hub_id_is_pretrained(tmp_path) -> None:
    assert is_pretrained(str(tmp_path)) and is_pretrained("owner/model")
    assert not is_pretrained("resnet18") and not is_pretrained("package.module:factory")


def test_a_folder_that_holds_no_model_is_one_sentence(tmp_path) -> None:
    with pytest.raises(dd.BadInputError, match="save_pretrained"):
        build_model(str(tmp_path), CONTEXTS["text"])
