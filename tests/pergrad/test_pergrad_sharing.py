"""Parameters that are used more than once, by themselves, through other tensors, or in code of their own."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from pergrad_oracle import assert_exact, oracle, relative_error, total
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad import LowRank, SquaredNorm, gradient_norm_rule, gradient_norms
from datadiet.pergrad.factors import Gram
from datadiet.pergrad.tape import LAYER_RULES


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Gradient norms are taken one example at a time")
        yield


TARGETS = torch.tensor([0, 2, 1, 1, 0, 2])


def test_a_layer_called_twice_gets_its_cross_terms():
    shared = nn.Linear(5, 5)
    assert_exact(nn.Sequential(shared, nn.Tanh(), shared, nn.Linear(5, 3)), torch.randn(6, 5), TARGETS)
    tokens = nn.Sequential(shared, nn.Tanh(), shared, nn.Flatten(), nn.Linear(20, 3))
    assert_exact(tokens, torch.randn(6, 4, 5), TARGETS)


def test_a_convolution_and_a_norm_called_twice_get_their_cross_terms():
    convolution, norm = nn.Conv2d(3, 3, 3, padding=1), nn.GroupNorm(1, 3)
    body = [convolution, norm, nn.Tanh(), convolution, norm]
    assert_exact(nn.Sequential(*body, nn.Flatten(), nn.Linear(75, 3)), torch.randn(6, 3, 5, 5), TARGETS)


def test_a_layer_called_many_times_is_exact_when_its_sum_is_written_out_on_the_way():
    shared = nn.Linear(2, 2)
    body = [module for _ in range(9) for module in (shared, nn.Tanh())]
    assert_exact(nn.Sequential(*body, nn.Flatten(), nn.Linear(14, 3)), torch.randn(6, 7, 2), TARGETS)


class ReadOften(nn.Module):
    """Several maps of the very tensor that is given, wide and narrow, one of them called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.narrow = nn.Linear(9, 9), nn.Linear(9, 9), nn.Linear(9, 1)
        self.head = nn.Linear(19, 3)

    def forward(self, tokens):
        parts = [self.query(tokens), self.key(tokens) * self.key(tokens), self.narrow(tokens)]
        return self.head(torch.cat(parts, -1).tanh().sum(1))


def test_maps_of_one_tensor_share_its_gram_matrices_within_a_batch_alone():
    model, tokens = ReadOften(), torch.randn(6, 3, 9)
    assert_exact(model, tokens, TARGETS)
    tokens.mul_(1.5)  # the same tensor with other contents
    assert_exact(model, tokens, TARGETS)
    old = Gram(mark=object())
    old.readers, old._values = 100, torch.ones(6, 3, 3)
    tokens._datadiet_gram = old  # as a tensor would carry it that the model itself holds on to
    assert_exact(model, tokens, TARGETS)


def test_gram_matrices_are_made_once_and_let_go_after_the_last_reader():
    tokens, gram = torch.randn(2, 3, 4), Gram(mark=None)
    gram.readers = 2
    first = gram.of(tokens)
    assert torch.allclose(first, tokens @ tokens.mT)
    assert gram.of(tokens) is first
    assert torch.equal(gram.of(2 * tokens), 4 * first)


class TiedLanguageModel(nn.Module):
    def __init__(self, positions: bool) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 4)
        self.positions = nn.Embedding(20, 4) if positions else None
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(4, 11, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids):
        hidden = self.tokens(ids)
        if self.positions is not None:
            hidden = hidden + self.positions(torch.arange(ids.shape[1]))
        return self.head(torch.tanh(self.mix(hidden)))


def next_token_loss(outputs, targets):
    return F.cross_entropy(outputs[:, :-1].transpose(1, 2), targets[:, 1:], reduction="none").mean(1)


@pytest.mark.parametrize("positions", [False, True])
def test_tied_embeddings_are_exact_with_repeated_tokens(positions):
    ids = torch.randint(0, 11, (6, 6))
    assert_exact(TiedLanguageModel(positions), ids, ids, loss=next_token_loss)


class BareParameters(nn.Module):
    """A class token, sliced positions, a layer scale, a temperature, an einsum and learned queries."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.randn(5, 4))
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.positions = nn.Parameter(torch.randn(1, 9, 4))
        self.scale = nn.Parameter(torch.rand(4))
        self.queries = nn.Parameter(torch.randn(2, 4))
        self.temperature = nn.Parameter(torch.tensor(1.3))
        self.head = nn.Linear(4, 3)

    def forward(self, inputs):
        hidden = torch.einsum("btd,de->bte", inputs, self.mixing)
        hidden = torch.cat([self.token.expand(len(inputs), -1, -1), hidden], 1)
        hidden = hidden + self.positions[:, : hidden.shape[1]]
        weights = torch.softmax(self.queries @ hidden.transpose(1, 2), -1)
        return self.head(self.scale * (weights @ hidden).mean(1) + self.token[0, 0]) / self.temperature


@pytest.mark.parametrize("tokens", [1, 5, 6])
def test_bare_parameters_are_exact_whatever_the_forward_does_with_them(tokens):
    assert_exact(BareParameters(), torch.randn(6, tokens, 5), TARGETS)


def test_weights_computed_from_parameters_are_traced_to_them():
    normalised = nn.utils.parametrizations.weight_norm(nn.Linear(5, 6))
    spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6)).eval()
    convolution = nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 2, 3))
    model = nn.Sequential(normalised, nn.Tanh(), spectral, nn.Unflatten(1, (1, 6)), convolution, nn.Flatten())
    assert_exact(nn.Sequential(model, nn.Linear(8, 3)).eval(), torch.randn(6, 5), TARGETS)


def test_slices_of_one_parameter_that_overlap_and_that_do_not_are_exact():
    class Sliced(nn.Module):
        def __init__(self, second: slice) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 4))
            self.second = second

        def forward(self, inputs):
            return F.linear(torch.tanh(F.linear(inputs, self.weight[:4])), self.weight[self.second][:3])

    assert_exact(Sliced(slice(4, 6)), torch.randn(6, 4), TARGETS % 2)
    assert_exact(Sliced(slice(2, 5)), torch.randn(6, 4), TARGETS)


def test_a_bucketed_bias_that_has_no_batch_dimension_is_exact():
    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.buckets = nn.Embedding(3, 2)
            self.inner, self.head = nn.Linear(4, 4), nn.Linear(8, 3)

        def forward(self, inputs):
            distance = (torch.arange(4)[:, None] - torch.arange(4)).clamp(-1, 1) + 1
            bias = self.buckets(distance).permute(2, 0, 1)[None]
            hidden = self.inner(inputs)
            scores = (hidden @ hidden.transpose(1, 2)).unsqueeze(1) + bias
            return self.head((torch.softmax(scores, -1) @ hidden.unsqueeze(1)).mean(2).flatten(1))

    assert_exact(Biased(), torch.randn(6, 4, 4), TARGETS)
    assert_exact(Biased(), torch.randn(4, 4, 4), TARGETS[:4])


class Windows(nn.Module):
    """Windows of each sequence become rows of the batch, as in Swin; `minor` puts them the other way."""

    def __init__(self, minor: bool) -> None:
        super().__init__()
        self.minor = minor
        self.inner, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)
        self.bias = nn.Parameter(torch.randn(3, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, inputs):
        batch = len(inputs)
        rows = inputs.reshape(batch, 2, 3, 4)
        rows = rows.transpose(0, 1).reshape(-1, 3, 4) if self.minor else rows.reshape(-1, 3, 4)
        rows = self.norm(torch.tanh(self.inner(rows)) + self.bias)
        rows = rows.reshape(2, batch, 3, 4).transpose(0, 1) if self.minor else rows.reshape(batch, 2, 3, 4)
        return self.head(rows.amax((1, 2)))


@pytest.mark.parametrize("minor", [False, True])
@pytest.mark.parametrize("batch", [2, 3, 6])
def test_rows_merged_into_the_batch_dimension_go_back_to_their_examples(minor, batch):
    assert_exact(Windows(minor), torch.randn(batch, 6, 4), TARGETS[:batch])


class Cube(torch.autograd.Function):
    """`x³ w`, opaque to torch functions and without a batching rule."""

    @staticmethod
    def forward(ctx, inputs, weight):
        ctx.save_for_backward(inputs, weight)
        return inputs**3 * weight

    @staticmethod
    def backward(ctx, gradient):
        inputs, weight = ctx.saved_tensors
        return 3 * inputs**2 * weight * gradient, (gradient * inputs**3).sum(tuple(range(gradient.dim() - 1)))


class CubeLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width))

    def forward(self, inputs):
        return Cube.apply(inputs, self.weight)


def test_a_custom_autograd_function_falls_back_for_its_module_alone():
    model = nn.Sequential(nn.Linear(5, 4), CubeLayer(4), nn.Linear(4, 3))
    assert_exact(model, torch.randn(6, 5), TARGETS)
    first = nn.Sequential(CubeLayer(5), nn.Linear(5, 3))
    assert_exact(first, torch.randn(6, 5), TARGETS)


def test_a_registered_rule_is_used_for_its_class_and_can_be_low_rank():
    calls = []

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 5))

        def forward(self, inputs):
            return inputs @ self.weight.T

    @gradient_norm_rule(Outer)
    def outer_rule(layer, inputs, output_gradient):
        calls.append(layer)
        return {"weight": LowRank(output_gradient.unsqueeze(1), inputs[0].unsqueeze(1))}

    try:
        assert_exact(nn.Sequential(nn.Linear(5, 5), Outer(), nn.Linear(4, 3)), torch.randn(6, 5), TARGETS)
        assert calls
    finally:
        LAYER_RULES.pop(Outer)


def test_a_rule_with_a_wrong_shape_or_a_missing_parameter_is_named():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5))

        def forward(self, inputs):
            return inputs * self.weight

    model = nn.Sequential(Odd(), nn.Linear(5, 3))
    for returned, words in (({}, "returned nothing"), ({"weight": torch.zeros(6, 4)}, r"shape \(6, 4\)")):
        gradient_norm_rule(Odd)(lambda *_, found=returned: found)
        try:
            with pytest.raises(BadInputError, match=words):
                gradient_norms(model, torch.randn(6, 5), TARGETS)
        finally:
            LAYER_RULES.pop(Odd)


def test_a_rule_that_gives_only_norms_is_refused_for_a_layer_called_twice():
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5))

        def forward(self, inputs):
            return inputs * self.weight

    gradient_norm_rule(Scale)(lambda layer, x, g: {"weight": SquaredNorm((g * x[0]).square().sum(1))})
    try:
        scale = Scale()
        assert_exact(nn.Sequential(scale, nn.Linear(5, 3)), torch.randn(6, 5), TARGETS)
        with pytest.raises(BadInputError, match="more than once"):
            gradient_norms(nn.Sequential(scale, scale, nn.Linear(5, 3)), torch.randn(6, 5), TARGETS)
    finally:
        LAYER_RULES.pop(Scale)


def test_routed_experts_whose_rows_mix_examples_are_taken_one_at_a_time_and_said_so():
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
            self.head = nn.Linear(4, 3)

        def forward(self, inputs):
            rows = inputs.reshape(-1, 4)
            outputs = torch.zeros_like(rows)
            for index, expert in enumerate(self.experts):
                chosen = (rows[:, 0] > 0).long() == index
                outputs = outputs.masked_scatter(chosen[:, None], torch.tanh(expert(rows[chosen])))
            return self.head(outputs.reshape(inputs.shape).mean(1))

    model, inputs = Experts(), torch.randn(6, 5, 4)
    with pytest.warns(UserWarning, match="one example at a time"):
        found = gradient_norms(model, inputs, TARGETS)
    assert relative_error(found, total(oracle(model, inputs, TARGETS))) <= 1e-4
