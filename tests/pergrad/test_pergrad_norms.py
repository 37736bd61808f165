"""What a caller may rely on: batches, parameters, precision, and a model left as it was."""

from __future__ import annotations

import io
from collections import UserDict

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pergrad_oracle import cross_entropy, oracle, relative_error, total
from scipy.stats import spearmanr
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.models.resnet import resnet18
from datadiet.pergrad import GradientNorms, gradient_norms


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(32, 3),
    ).eval()


IMAGES = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0])


def test_batch_size_and_order_do_not_change_a_norm():
    model = convolutional()
    whole = gradient_norms(model, IMAGES, LABELS)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    torch.testing.assert_close(
        gradient_norms(model, IMAGES[order], LABELS[order]), whole[order], rtol=1e-5, atol=0
    )
    for size in (1, 2, 5):
        parts = [gradient_norms(model, IMAGES[i : i + size], LABELS[i : i + size]) for i in range(0, 7, size)]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-5, atol=0)


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(extra=st.integers(1, 6))
def test_padding_of_a_batch_does_not_change_a_norm(extra):
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.inner, self.head = (
                nn.Embedding(9, 4, padding_idx=0),
                nn.Linear(4, 4),
                nn.Linear(4, 3),
            )

        def forward(self, ids):
            kept = (ids != 0).unsqueeze(-1)
            return self.head((torch.tanh(self.inner(self.table(ids))) * kept).sum(1))

    torch.manual_seed(0)
    model, ids = Masked(), torch.randint(1, 9, (3, 5), generator=torch.Generator().manual_seed(2))
    found = gradient_norms(model, F.pad(ids, (0, extra)), LABELS[:3])
    torch.testing.assert_close(found, gradient_norms(model, ids, LABELS[:3]), rtol=1e-5, atol=0)


def test_a_batch_of_one_and_an_empty_batch_are_right():
    model = convolutional()
    expected = total(oracle(model, IMAGES[:1], LABELS[:1]))
    assert relative_error(gradient_norms(model, IMAGES[:1], LABELS[:1]), expected) <= 1e-5
    empty = gradient_norms(model, IMAGES[:0], LABELS[:0])
    assert empty.shape == (0,) and empty.dtype == torch.float32


def test_a_memory_budget_splits_the_batch_and_changes_nothing():
    model, sizes = convolutional(), []

    def counting(module, inputs):
        sizes.append(len(inputs))
        return module(inputs)

    whole = gradient_norms(model, IMAGES, LABELS)
    found = gradient_norms(model, IMAGES, LABELS, max_memory=100_000, forward=counting)
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=0)
    assert 1 <= max(sizes) < 7
    with pytest.raises(BadInputError, match="One example takes about"):
        gradient_norms(model, IMAGES, LABELS, max_memory=1000)


def test_a_batch_that_the_device_refuses_is_halved_until_it_fits():
    model, sizes = convolutional(), []

    def scarce(module, inputs):
        sizes.append(len(inputs))
        if len(inputs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return module(inputs)

    whole = gradient_norms(model, IMAGES, LABELS)
    torch.testing.assert_close(
        gradient_norms(model, IMAGES, LABELS, forward=scarce), whole, rtol=1e-5, atol=0
    )
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]

    def barren(module, inputs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(BadInputError, match="One example alone does not fit"):
        gradient_norms(model, IMAGES, LABELS, forward=barren)


def test_an_error_of_the_model_that_is_not_about_memory_comes_through():
    def broken(module, inputs):
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        gradient_norms(convolutional(), IMAGES, LABELS, forward=broken)


def fingerprint(model: nn.Module) -> bytes:
    """Everything about a model that a caller can see: weights, gradients, flags, modes, hooks, generator."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    seen = [buffer.getvalue(), torch.get_rng_state().numpy().tobytes()]
    for name, p in model.named_parameters():
        grad = None if p.grad is None else p.grad.numpy().tobytes()
        seen.append(repr((name, p.requires_grad, p.is_leaf, id(p), grad, sorted(vars(p)))).encode())
    for name, module in model.named_modules():
        hooks = {
            key: dict(value)
            for key, value in vars(module).items()
            if "hook" in key and isinstance(value, dict)
        }
        seen.append(repr((name, id(module), module.training, sorted(vars(module)), hooks)).encode())
    return b"".join(seen)


class Interrupting(nn.Module):
    """Passes its input through and raises in the forward or in the backward pass."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def forward(self, inputs):
        if self.where == "forward":
            raise KeyboardInterrupt
        outputs = inputs * 1.0
        if self.where == "backward" and outputs.requires_grad:
            outputs.register_hook(self._raise)
        return outputs

    def _raise(self, gradient):
        raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["nowhere", "forward", "backward"])
def test_the_model_is_left_byte_for_byte_as_it_was_found_also_after_an_interruption(where):
    model = nn.Sequential(*convolutional(), Interrupting(where))
    model[0].weight.requires_grad_(False)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    model[2].train()
    images, labels = IMAGES.clone(), LABELS.clone()
    torch.manual_seed(5)
    before = fingerprint(model)
    if where == "nowhere":
        gradient_norms(model, images, labels, verify_independence=True, parameters=".*")
        gradient_norms(model, images, labels, parameters="head")
    else:
        with pytest.raises(KeyboardInterrupt):
            gradient_norms(model, images, labels, parameters=".*")
    assert fingerprint(model) == before
    assert not vars(images) and not vars(labels) and torch.equal(images, IMAGES)


def test_buffers_that_a_model_in_training_mode_updates_are_put_back():
    torch.manual_seed(0)
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(5, 4)), nn.Linear(4, 3)).train()
    before = fingerprint(model)
    gradient_norms(model, IMAGES.flatten(1)[:, :5], LABELS)
    assert fingerprint(model) == before


def test_parameters_can_be_chosen_by_name_by_predicate_or_as_the_head():
    model = convolutional()
    by_name = oracle(model, IMAGES, LABELS)
    cases = {
        "head": ["7.weight", "7.bias"],
        r"^[03]\.weight": ["0.weight", "3.weight"],
    }
    for choice, names in cases.items():
        expected = total({name: by_name[name] for name in names})
        assert relative_error(gradient_norms(model, IMAGES, LABELS, parameters=choice), expected) <= 1e-5
    found = gradient_norms(model, IMAGES, LABELS, parameters=lambda name, p: p.dim() == 1, per_layer=True)
    assert set(found) == {"1.weight", "1.bias", "3.bias", "7.bias"}
    for name, norms in found.items():
        assert relative_error(norms, by_name[name]) <= 1e-5


def test_frozen_parameters_are_left_out_unless_they_are_named():
    model = convolutional()
    by_name = oracle(model, IMAGES, LABELS)
    for parameter in model[:4].parameters():
        parameter.requires_grad_(False)
    expected = total({name: by_name[name] for name in ("7.weight", "7.bias")})
    assert relative_error(gradient_norms(model, IMAGES, LABELS), expected) <= 1e-5
    assert relative_error(gradient_norms(model, IMAGES, LABELS, parameters=".*"), total(by_name)) <= 1e-5


def test_the_head_is_the_linear_layer_that_makes_the_logits_not_the_one_defined_last():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier, self.body = nn.Linear(4, 3), nn.Linear(5, 4)

        def forward(self, inputs):
            return self.classifier(torch.tanh(self.body(inputs)))

    found = gradient_norms(Odd(), torch.ones(2, 5), LABELS[:2], parameters="head", per_layer=True)
    assert set(found) == {"classifier.weight", "classifier.bias"}


def test_a_task_is_anything_with_a_per_example_loss():
    class Multilabel:
        def loss(self, outputs, targets):
            return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(1)

    model, targets = convolutional(), torch.eye(3)[LABELS]
    expected = total(oracle(model, IMAGES, targets, lambda o, t: Multilabel().loss(o, t.double())))
    assert relative_error(gradient_norms(model, IMAGES, targets, task=Multilabel()), expected) <= 1e-5


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(5, 3), nn.Linear(2, 3)

    def forward(self, left, right=None):
        return {"logits": self.left(left) + self.right(right)}


class OneDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = TwoInputs()

    def forward(self, batch):
        return self.inner(**batch)["logits"]


def test_a_dict_goes_by_keyword_or_as_a_whole_as_the_signature_says():
    torch.manual_seed(0)
    model = OneDict()
    inputs = {"left": torch.randn(7, 5), "right": torch.randn(7, 2)}
    by_keyword = gradient_norms(model.inner, inputs, LABELS)
    as_a_whole = gradient_norms(model, inputs, LABELS)
    by_hand = gradient_norms(
        model.inner, inputs, LABELS, forward=lambda m, given: m(given["left"], given["right"])
    )
    loss = lambda outputs, targets: cross_entropy(outputs["logits"], targets)  # noqa: E731
    expected = total(oracle(model.inner, inputs, LABELS, loss))
    for found in (by_keyword, as_a_whole, by_hand):
        assert relative_error(found, expected) <= 1e-5


def test_one_object_serves_batches_of_different_sizes():
    norms = GradientNorms(convolutional())
    whole = norms(IMAGES, LABELS)
    torch.testing.assert_close(norms(IMAGES[:3], LABELS[:3]), whole[:3], rtol=1e-5, atol=0)
    by_layer = norms.per_layer(IMAGES, LABELS)
    torch.testing.assert_close(total(by_layer), whole, rtol=1e-6, atol=0)


def test_bfloat16_autocast_ranks_examples_as_float32_does():
    torch.manual_seed(0)
    model = resnet18(4, width=4).eval()
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(24, 3, 12, 12, generator=generator) * torch.linspace(0.2, 3, 24)[:, None, None, None]
    targets = torch.randint(0, 4, (24,), generator=generator)
    exact = gradient_norms(model, inputs, targets)
    half = gradient_norms(model, inputs, targets, autocast=torch.bfloat16)
    assert half.dtype == torch.float32
    assert relative_error(half, exact.double()) < 0.1
    assert spearmanr(exact, half).statistic > 0.98


def test_float16_autocast_agrees_with_float32():
    torch.manual_seed(0)
    model = resnet18(4, width=4).eval()
    inputs = torch.randn(6, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    targets = torch.tensor([0, 1, 2, 3, 0, 1])
    exact = gradient_norms(model, inputs, targets)
    half = gradient_norms(model, inputs, targets, autocast=torch.float16)
    assert half.dtype == torch.float32
    assert relative_error(half, exact.double()) < 0.02


@pytest.mark.parametrize("factor", [1e-5, 1.0, 1e3])
def test_float16_gradients_neither_vanish_nor_overflow(factor):
    """So small that unscaled gradients would vanish, so big that scaled ones overflow."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    inputs, targets = torch.randn(5, 6), torch.tensor([0, 1, 2, 0, 1])

    def loss(logits, labels):
        return factor * torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")

    exact = gradient_norms(model.double(), inputs.double(), targets, loss=loss)
    half = gradient_norms(model.float(), inputs, targets, loss=loss, autocast=torch.float16)
    assert relative_error(half, exact) < 0.02


def test_no_copy_of_the_weight_gradients_is_kept_for_a_wide_layer():
    """Ten examples of a 512 × 512 layer would take 10 MiB each way; their factors take 40 KiB."""
    model = nn.Sequential(nn.Linear(512, 512), nn.Linear(512, 3))
    largest = 0
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            output = func(*args, **(kwargs or {}))
            if isinstance(output, torch.Tensor) and output.untyped_storage().data_ptr() not in owned:
                largest = max(largest, output.numel())
            return output

    owned = {p.untyped_storage().data_ptr() for p in model.parameters()}
    with Largest():
        gradient_norms(model, torch.randn(10, 512), torch.zeros(10, dtype=torch.long))
    assert largest <= 10 * 512


def test_inputs_in_a_mapping_that_is_no_dict_are_taken_and_split_like_a_dict():
    torch.manual_seed(0)
    model, inputs = TwoInputs(), {"left": torch.randn(7, 5), "right": torch.randn(7, 2)}
    expected = gradient_norms(model, inputs, LABELS)
    found = gradient_norms(model, UserDict(inputs), LABELS, verify_independence=True)
    assert torch.equal(found, expected)

    def scarce(module, given):
        if len(given["left"]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return module(**given)

    found = gradient_norms(model, UserDict(inputs), LABELS, forward=scarce)
    torch.testing.assert_close(found, expected)
