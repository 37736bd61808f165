"""The neural tangent kernel against Jacobians taken one logit at a time in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from datadiet.errors import BadInputError
from datadiet.landscape import ntk_gram
from datadiet.landscape.explicit import blocks_of


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Float64, evaluation mode, weights and running statistics drawn from a local generator."""
    model = model.double().eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                draw = torch.randn(tensor.shape, generator=generator(seed), dtype=torch.float64)
                tensor.copy_(0.4 * draw)
                seed += 1
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.abs_().add_(0.5)
    return model


def gram_by_loop(model, inputs, names=None, columns=None):
    """One backward pass for each logit of each example alone, on a copy, and a product of all rows."""
    model = copy.deepcopy(model)
    parameters = [p for name, p in model.named_parameters() if names is None or name in names]
    for parameter in parameters:
        parameter.requires_grad_(True)
    size = len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)
    rows = []
    for i in range(size):
        if isinstance(inputs, dict):
            logits = model(**{key: value[i : i + 1] for key, value in inputs.items()})
        else:
            logits = model(inputs[i : i + 1])
        logits = getattr(logits, "logits", logits).reshape(-1)
        for c in range(len(logits)) if columns is None else columns:
            gradients = torch.autograd.grad(logits[c], parameters, retain_graph=True, allow_unused=True)
            rows.append(
                torch.cat(
                    [
                        (torch.zeros_like(p) if g is None else g).reshape(-1)
                        for p, g in zip(parameters, gradients, strict=True)
                    ]
                )
            )
    jacobian = torch.stack(rows)
    return jacobian @ jacobian.T


class Tied(nn.Module):
    """A weight used twice, once transposed, and a layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 4, bias=False)
        self.middle = nn.Linear(4, 4)
        self.same = self.middle
        self.unused = nn.Linear(2, 2)

    def forward(self, inputs):
        hidden = torch.tanh(self.embed(inputs))
        hidden = torch.tanh(self.same(torch.tanh(self.middle(hidden))))
        return hidden @ self.embed.weight


def mlp() -> nn.Module:
    return randomised(nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Dropout(0.5), nn.Linear(7, 3)))


def convolutional() -> nn.Module:
    return randomised(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 3, 2, bias=False),
            nn.BatchNorm2d(3),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(12, 3),
        )
    )


def recurrent() -> nn.Module:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(9, 4)
            self.rnn = nn.GRU(4, 5, batch_first=True)
            self.head = nn.Linear(5, 3)

        def forward(self, tokens):
            return self.head(self.rnn(self.words(tokens))[0][:, -1])

    return randomised(Last())


def bert() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=10,
        num_labels=3,
    )
    return randomised(transformers.BertForSequenceClassification(config))


def vit() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        image_size=8,
        patch_size=4,
        num_channels=2,
        num_labels=3,
    )
    return randomised(transformers.ViTForImageClassification(config))


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator(99), dtype=torch.float64)


def tokens(*shape: int, words: int) -> torch.Tensor:
    return torch.randint(1, words, shape, generator=generator(98))


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
    from datadiet.landscape import explicit

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


class Counting(nn.Module):
    """Counts its calls in a buffer, draws at random, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)
        self.frozen = nn.Linear(6, 3).requires_grad_(False)
        self.register_buffer("calls", torch.zeros(()))
        self.fails_at = -1

    def forward(self, inputs):
        self.calls += 1
        torch.rand(3)
        if int(self.calls) == self.fails_at:
            raise KeyError("as told")
        return self.inner(inputs) + self.frozen(inputs)


@pytest.mark.parametrize("fails_at", [-1, 1, 2, 5])
@pytest.mark.parametrize("method", ["explicit", "implicit"])
def test_the_model_is_left_as_it_was_found_also_after_an_exception(method, fails_at):
    model, inputs = randomised(Counting()), noise(5, 6)
    with torch.no_grad():
        model.calls.zero_()
    model.fails_at = fails_at
    model.inner.weight.grad = torch.ones_like(model.inner.weight)
    inputs.requires_grad_(True)
    state = copy.deepcopy(model.state_dict())
    rng = torch.get_rng_state()
    if fails_at > 0:
        with pytest.raises(KeyError, match="as told"):
            ntk_gram(model, inputs, method=method)
    else:
        ntk_gram(model, inputs, method=method)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [True, True, False, False]
    assert torch.equal(model.inner.weight.grad, torch.ones_like(model.inner.weight))
    assert model.inner.bias.grad is None and inputs.grad is None
    assert not model.training
    assert torch.equal(torch.get_rng_state(), rng)


def test_it_works_where_gradients_are_switched_off():
    model, inputs = mlp(), noise(5, 6)
    expected = gram_by_loop(model, inputs)
    with torch.no_grad():
        torch.testing.assert_close(ntk_gram(model, inputs), expected)
        torch.testing.assert_close(ntk_gram(model, inputs, method="implicit"), expected)


def test_a_module_in_training_mode_is_refused_by_name():
    model = convolutional()
    model[5].train()
    with pytest.raises(BadInputError, match=r"`5` \(BatchNorm2d\) is in training mode"):
        ntk_gram(model, noise(4, 2, 6, 6))
    with pytest.raises(BadInputError, match=r"`2` \(Dropout\) is in training mode"):
        ntk_gram(mlp().train(), noise(4, 6))


def test_batch_norm_without_running_statistics_is_refused_by_name():
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, track_running_stats=False)).double().eval()
    with pytest.raises(BadInputError, match=r"`1` \(BatchNorm1d\) keeps no running statistics"):
        ntk_gram(model, noise(4, 6))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"parameters": "nothing"}, "no name matches"),
        ({"parameters": "("}, "not a regular expression"),
        ({"parameters": lambda *_: False}, "accepts none"),
        ({"outputs": []}, "different positions"),
        ({"outputs": [0, 0]}, "different positions"),
        ({"outputs": [3]}, "from 0 to 2"),
        ({"method": "guess"}, "not one of"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"chunk_size": 5, "method": "implicit"}, "explicit form"),
        ({"max_memory": 0}, "max_memory"),
        ({"max_memory": 100}, "The Gram matrix of 5 examples x 3 logits"),
        ({"forward": lambda m, x: m(x).detach()}, "do not depend"),
        ({"forward": lambda m, x: (m(x),)}, "without logits"),
        ({"forward": lambda m, x: m(x)[0]}, "first dimension must be the examples"),
        ({"forward": lambda m, x: m(x).argmax(1)}, "first dimension must be the examples"),
    ],
)
def test_bad_options_are_refused(options, told):
    with pytest.raises(BadInputError, match=told):
        ntk_gram(mlp(), noise(5, 6), **options)


@pytest.mark.parametrize("inputs", [torch.zeros(0, 6), {}, {"a": torch.zeros(2, 6), "b": torch.zeros(3)}])
def test_inputs_without_a_common_number_of_examples_are_refused(inputs):
    with pytest.raises(BadInputError, match="inputs"):
        ntk_gram(mlp().float(), inputs)


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
