"""The neural tangent kernel against Jacobians taken one logit at a time in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ntk_oracle import (
    Tied,
    bert,
    convolutional,
    gram_by_loop,
    mlp,
    noise,
    randomised,
    recurrent,
    tokens,
    vit,
)
from torch import nn

from datadiet.landscape import ntk_gram
from datadiet.landscape.gram import blocks_of

CASES = {
    "mlp": lambda: (mlp(), noise(5, 6)),
    "convolutions and BatchNorm": lambda: (convolutional(), noise(4, 2, 6, 6)),
    "tied weights": lambda: (randomised(Tied()), noise(4, 5)),
    "recurrent": lambda: (recurrent(), tokens(4, 6, words=9)),
    "bert": lambda: (
        bert(),
        {
            "input_ids": tokens(3, 6, words=20),
            "attention_mask": torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] * 5 + [0]]),
        },
    ),
    "vit": lambda: (vit(), {"pixel_values": noise(3, 2, 8, 8)}),
}


@pytest.mark.parametrize("method", ["explicit", "implicit", "auto"])
@pytest.mark.parametrize("case", CASES)
def test_the_kernel_is_that_of_jacobians_taken_one_logit_at_a_time(case, method):
    model, inputs = CASES[case]()
    expected = gram_by_loop(model, inputs)
    found = ntk_gram(model, inputs, method=method)
    assert found.dtype == torch.float64
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_the_kernel_is_that_of_torch_functional_jacobians():
    model, inputs = mlp(), noise(5, 6)
    names = [name for name, _ in model.named_parameters()]

    def logits(*values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (inputs,))

    jacobians = torch.autograd.functional.jacobian(logits, tuple(p.detach() for p in model.parameters()))
    flat = torch.cat([j.reshape(15, -1) for j in jacobians], dim=1)
    torch.testing.assert_close(ntk_gram(model, inputs), flat @ flat.T, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("chunk_size", [1, 7, 50, 10_000])
def test_the_chunk_size_never_changes_the_kernel(chunk_size):
    model, inputs = convolutional(), noise(4, 2, 6, 6)
    expected = gram_by_loop(model, inputs)
    torch.testing.assert_close(
        ntk_gram(model, inputs, chunk_size=chunk_size), expected, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("max_memory", [4_000, 20_000, 1_000_000])
@pytest.mark.parametrize("method", ["explicit", "implicit", "auto"])
def test_the_memory_never_changes_the_kernel(method, max_memory):
    model, inputs = convolutional(), noise(4, 2, 6, 6)
    expected = gram_by_loop(model, inputs)
    found = ntk_gram(model, inputs, method=method, max_memory=max_memory)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_the_jacobian_block_never_takes_more_than_the_memory_given(monkeypatch):
    from datadiet.landscape import gram as explicit

    widths = []
    original = explicit._add_products
    monkeypatch.setattr(
        explicit,
        "_add_products",
        lambda gram, jacobian: (widths.append(jacobian.numel() * 8), original(gram, jacobian)),
    )
    ntk_gram(convolutional(), noise(4, 2, 6, 6), method="explicit", max_memory=12_000)
    assert len(widths) > 1
    assert max(widths) <= 12_000


def test_many_rows_are_mirrored_below_the_diagonal():
    model, inputs = mlp(), noise(200, 6)
    found = ntk_gram(model, inputs)
    assert found.shape == (600, 600)
    torch.testing.assert_close(found, gram_by_loop(model, inputs), rtol=1e-10, atol=1e-12)
    assert torch.equal(found, found.T)


def test_auto_takes_the_implicit_form_when_blocks_outnumber_examples(monkeypatch):
    from datadiet.landscape import ntk

    taken = []
    for name in ("explicit_gram", "implicit_gram"):
        original = getattr(ntk, name)
        monkeypatch.setattr(
            ntk, name, lambda *a, _name=name, _original=original: (taken.append(_name), _original(*a))[1]
        )
    model, inputs = mlp(), noise(5, 6)
    size = sum(p.numel() for p in model.parameters())
    ntk_gram(model, inputs)
    ntk_gram(model, inputs, max_memory=15 * 15 * 16 + 15 * 8 * (size // 10))
    assert taken == ["explicit_gram", "implicit_gram"]


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(5)), st.sampled_from(["explicit", "implicit"]))
def test_the_order_of_the_inputs_permutes_the_kernel(order, method):
    model, inputs = mlp(), noise(5, 6)
    kernel = ntk_gram(model, inputs).view(5, 3, 5, 3)
    found = ntk_gram(model, inputs[order], method=method).view(5, 3, 5, 3)
    torch.testing.assert_close(found, kernel[order][:, :, order], rtol=1e-10, atol=1e-12)


def test_the_kernel_is_positive_semi_definite():
    values = torch.linalg.eigvalsh(ntk_gram(convolutional(), noise(6, 2, 6, 6)))
    assert values.min() > -1e-10 * values.max()


def test_float32_and_bfloat16_models_give_float32_kernels_near_the_exact_one():
    model, inputs = convolutional(), noise(4, 2, 6, 6)
    exact = gram_by_loop(model, inputs)
    single = ntk_gram(model.float(), inputs.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-4 * float(exact.abs().max()))
    half = ntk_gram(model.bfloat16(), inputs.bfloat16())
    assert half.dtype == torch.float32
    assert (half.double() - exact).norm() < 0.1 * exact.norm()


def test_autocast_gives_nearly_the_kernel_of_the_full_precision():
    model, inputs = convolutional().float(), noise(4, 2, 6, 6).float()
    exact = ntk_gram(model, inputs)
    found = ntk_gram(model, inputs, autocast=torch.bfloat16)
    assert found.dtype == torch.float32
    assert 0 < (found - exact).norm() < 0.1 * exact.norm()


@pytest.mark.parametrize(
    "selection", ["^8\\.", lambda name, _: name.startswith("8.")], ids=["pattern", "predicate"]
)
def test_a_pattern_or_a_predicate_chooses_parameters(selection):
    model, inputs = convolutional(), noise(4, 2, 6, 6)
    expected = gram_by_loop(model, inputs, names={"8.weight", "8.bias"})
    torch.testing.assert_close(
        ntk_gram(model, inputs, parameters=selection), expected, rtol=1e-10, atol=1e-12
    )


def test_all_leaves_out_frozen_parameters_and_a_pattern_takes_them():
    model, inputs = mlp(), noise(5, 6)
    model[0].requires_grad_(False)
    torch.testing.assert_close(
        ntk_gram(model, inputs), gram_by_loop(model, inputs, names={"3.weight", "3.bias"})
    )
    torch.testing.assert_close(ntk_gram(model, inputs, parameters=".*"), gram_by_loop(model, inputs))


def test_outputs_choose_logits_in_the_order_given():
    model, inputs = mlp(), noise(5, 6)
    torch.testing.assert_close(
        ntk_gram(model, inputs, outputs=[2, 0]), gram_by_loop(model, inputs, columns=[2, 0])
    )


def test_forward_says_how_to_call_the_model():
    model, inputs = mlp(), noise(5, 6)
    found = ntk_gram(model, {"features": inputs}, forward=lambda m, batch: 2 * m(batch["features"]))
    torch.testing.assert_close(found, 4 * gram_by_loop(model, inputs))


class Doubling(torch.autograd.Function):
    """A function that vmap has no rule for: it looks at a value."""

    @staticmethod
    def forward(ctx, values):
        return 2 * values

    @staticmethod
    def backward(ctx, gradient):
        assert gradient.sum().item() == gradient.sum().item()
        return 2 * gradient


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)

    def forward(self, inputs):
        return Doubling.apply(torch.tanh(self.inner(inputs)))


@pytest.mark.parametrize("method", ["explicit", "implicit"])
def test_functions_that_cannot_be_batched_are_pulled_back_one_by_one(method):
    model, inputs = randomised(Custom()), noise(5, 6)
    torch.testing.assert_close(ntk_gram(model, inputs, method=method), gram_by_loop(model, inputs))


def test_progress_goes_up_to_the_total():
    for method in ("explicit", "implicit"):
        seen = []
        ntk_gram(
            mlp(),
            noise(5, 6),
            method=method,
            progress=lambda done, total, seen=seen: seen.append((done, total)),
        )
        assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))


def test_blocks_cover_every_parameter_once_and_hold_no_more_than_told():
    sizes = {"a": 5, "b": 1, "c": 11}
    for columns in range(1, 20):
        blocks = blocks_of(sizes, columns)
        covered = [(p.name, k) for block in blocks for p in block for k in range(p.start, p.stop)]
        assert covered == [(name, k) for name, size in sizes.items() for k in range(size)]
        assert all(sum(p.stop - p.start for p in block) <= columns for block in blocks)
        for block in blocks:
            filled = [p.column + k for p in block for k in range(p.stop - p.start)]
            assert filled == list(range(len(filled)))
