"""Norms of models that are checkpointed, compiled, recurrent or complex, and of models that change between batches."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from pergrad_oracle import assert_exact, norms_by_loop, oracle, relative_error, total
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad import GradientNorms, gradient_norms, grand
from datadiet.pergrad.eager import plainly_differentiable
from tiny_models import bert_config

INPUTS = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 2, 1, 0, 1])


def perceptron() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def by_loop(model: nn.Module, inputs: torch.Tensor = INPUTS) -> torch.Tensor:
    loss = lambda i: F.cross_entropy(model(inputs[i : i + 1]), LABELS[i : i + 1])  # noqa: E731
    return norms_by_loop(model, loss, len(inputs))


EXPECTED = total(oracle(perceptron(), INPUTS, LABELS))


# Checkpointing


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.layers, self.reentrant = perceptron(), reentrant

    def forward(self, inputs):
        hidden = checkpoint(self.layers[:2], inputs, use_reentrant=self.reentrant)
        return self.layers[2](hidden)


class CheckpointedInParts(Checkpointed):
    def forward(self, inputs):
        return checkpoint_sequential(self.layers, 2, inputs, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("make", [Checkpointed, CheckpointedInParts])
def test_checkpointed_blocks_are_taken_together_and_exact(make, reentrant, recwarn):
    assert relative_error(gradient_norms(make(reentrant), INPUTS, LABELS), EXPECTED) <= 1e-4
    assert not [w for w in recwarn if "one example at a time" in str(w.message)]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_of_transformers_is_exact(reentrant):
    transformers = pytest.importorskip("transformers")
    config = bert_config(
        vocab_size=11, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model = transformers.BertForSequenceClassification(config).train()
    tokens = {"input_ids": torch.randint(1, 11, (5, 6))}
    expected = total(
        oracle(model, tokens, LABELS, lambda o, t: F.cross_entropy(o.logits, t, reduction="none"))
    )
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    assert relative_error(gradient_norms(model, tokens, LABELS), expected) <= 1e-4


def test_checkpointing_is_as_it_was_afterwards():
    saved = torch.utils.checkpoint.CheckpointFunction
    with pytest.raises(ZeroDivisionError), plainly_differentiable():
        assert torch.utils.checkpoint.CheckpointFunction is not saved
        raise ZeroDivisionError
    assert torch.utils.checkpoint.CheckpointFunction is saved


# Compilation


@pytest.mark.parametrize("warm", [True, False])
def test_compiled_parts_are_exact(warm, recwarn):
    layer = perceptron()
    layer[2] = torch.compile(layer[2], backend="aot_eager", fullgraph=True)
    in_place = perceptron()
    in_place.compile(backend="aot_eager")
    for model in (torch.compile(perceptron(), backend="aot_eager"), in_place, layer):
        if warm:
            model(INPUTS)
        assert relative_error(gradient_norms(model, INPUTS, LABELS), EXPECTED) <= 1e-4
    assert not [w for w in recwarn if "one example at a time" in str(w.message)]


# Contexts


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_norms_are_the_same_where_gradients_are_off(context):
    model = perceptron()
    with context():
        inputs, labels = INPUTS.clone(), LABELS.clone()
        here = gradient_norms(model, inputs, labels, verify_independence=True)
        scores = grand([model], [(range(5), inputs, labels)]).mean
        assert not torch.is_grad_enabled()
    assert relative_error(here, EXPECTED) <= 1e-4
    assert relative_error(torch.tensor(scores), EXPECTED) <= 1e-4
    assert relative_error(gradient_norms(model, inputs, labels), EXPECTED) <= 1e-4


def test_a_model_made_under_inference_mode_is_refused():
    with torch.inference_mode():
        model = perceptron()
    with pytest.raises(BadInputError, match=r"`0.weight` was made under torch.inference_mode\(\)"):
        gradient_norms(model, INPUTS, LABELS)


def test_a_model_without_shapes_yet_is_refused():
    with pytest.raises(BadInputError, match=r"`1\.weight` has no shape yet"):
        gradient_norms(nn.Sequential(nn.Linear(4, 6), nn.LazyLinear(3)), INPUTS, LABELS)


def test_a_model_of_several_processes_trains_on_afterwards():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(perceptron())
        for _ in range(2):
            assert relative_error(gradient_norms(model, INPUTS, LABELS), EXPECTED) <= 1e-4
            F.cross_entropy(model(INPUTS), LABELS).backward()
    finally:
        torch.distributed.destroy_process_group()


# Recurrent networks and modules of several outputs


class Packed(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layers = kind(4, 3, batch_first=True, bidirectional=True)
        self.head = nn.Linear(6, 3)

    def forward(self, tokens):
        lengths = (tokens.abs().sum(2) > 0).sum(1)
        packed = pack_padded_sequence(tokens, lengths, batch_first=True, enforce_sorted=False)
        return self.head(pad_packed_sequence(self.layers(packed)[0], batch_first=True)[0].sum(1))


class Cells(nn.Module):
    def __init__(self, kind: type[nn.RNNCellBase]) -> None:
        super().__init__()
        self.cell, self.head = kind(4, 3), nn.Linear(3, 3)

    def forward(self, tokens):
        state = None
        for step in range(tokens.shape[1]):
            state = self.cell(tokens[:, step], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Twice(nn.Module):
    """A layer whose parameter torch functions do not show, with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(4)), nn.Linear(4, 3)

    def forward(self, inputs):
        class Times(torch.autograd.Function):
            @staticmethod
            def forward(ctx, given, weight):
                ctx.save_for_backward(given, weight)
                return given * weight, given + weight

            @staticmethod
            def backward(ctx, first, second):
                given, weight = ctx.saved_tensors
                return first * weight + second, (first * given + second).sum(0)

        first, second = Times.apply(inputs, self.weight)
        return self.head(first * second)


def padded_tokens() -> torch.Tensor:
    tokens = torch.randn(5, 7, 4)
    for example in range(5):
        tokens[example, 3 + example :] = 0
    return tokens


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Packed(nn.LSTM), padded_tokens()),
        (Packed(nn.GRU), padded_tokens()),
        (Cells(nn.LSTMCell), torch.randn(5, 3, 4)),
        (Cells(nn.GRUCell), torch.randn(5, 3, 4)),
        (Twice(), INPUTS),
    ],
    ids=["packed LSTM", "packed GRU", "LSTMCell", "GRUCell", "custom function"],
)
@pytest.mark.filterwarnings("ignore:Gradient norms are taken one example at a time")
def test_what_cannot_be_taken_together_is_taken_alone(model, inputs):
    assert_exact(model, inputs, LABELS)
    assert_exact(model, inputs[:1], LABELS[:1])


def test_one_at_a_time_is_said_once_for_many_batches(recwarn):
    norms = GradientNorms(Packed(nn.LSTM))
    for _ in range(3):
        norms(padded_tokens(), LABELS)
    assert len([w for w in recwarn if "one example at a time" in str(w.message)]) == 1


@pytest.mark.filterwarnings("ignore:Gradient norms are taken one example at a time")
def test_sparse_gradients_have_a_norm_when_taken_alone():
    class Bag(Cells):
        def __init__(self) -> None:
            super().__init__(nn.LSTMCell)
            self.table = nn.Embedding(9, 4, sparse=True)

        def forward(self, tokens):
            return super().forward(self.table(tokens))

    model, tokens = Bag(), torch.randint(0, 3, (5, 6))
    dense = copy.deepcopy(model)
    dense.table.sparse = False
    assert relative_error(gradient_norms(model, tokens, LABELS), by_loop(dense, tokens)) <= 1e-4


# Complex numbers


class ComplexWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(4, 6, dtype=torch.cfloat)), nn.Linear(6, 3)

    def forward(self, inputs):
        return self.head((inputs.to(self.weight.dtype) @ self.weight).abs())


class Filtered(nn.Module):
    """Mixes frequencies by weights that are stored as real numbers."""

    def __init__(self, mix) -> None:
        super().__init__()
        self.mix, self.head = mix, nn.Linear(4, 3)
        self.weight = nn.Parameter(torch.randn(3, 3, 2))

    def forward(self, inputs):
        weight = torch.view_as_complex(self.weight)
        return self.head(torch.fft.irfft(self.mix(torch.fft.rfft(inputs), weight), n=4))


@pytest.mark.filterwarnings("ignore:Gradient norms are taken one example at a time")
@pytest.mark.parametrize("examples", [5, 1])
def test_complex_weights_count(examples):
    model = ComplexWeight()
    found = gradient_norms(model, INPUTS[:examples], LABELS[:examples], per_layer=True)
    assert set(found) == {"weight", "head.weight", "head.bias"}
    assert relative_error(total(found), by_loop(model, INPUTS[:examples])) <= 1e-4


@pytest.mark.parametrize(
    "mix",
    [
        lambda spectrum, weight: spectrum * weight[0],
        lambda spectrum, weight: spectrum @ weight,
        lambda spectrum, weight: torch.einsum("bi,io->bo", spectrum, weight),
        lambda spectrum, weight: F.linear(spectrum, weight),
        lambda spectrum, weight: (
            F.linear(torch.stack([spectrum, spectrum.roll(1, 1)], 1), weight) * torch.tensor([[1.0], [1j]])
        ).sum(1),
    ],
)
def test_complex_functions_of_real_weights_are_exact(mix, recwarn):
    model = Filtered(mix)
    assert relative_error(gradient_norms(model, INPUTS, LABELS), by_loop(model)) <= 1e-4
    assert not [w for w in recwarn if "one example at a time" in str(w.message)]


# Changes between batches


def test_norms_kept_while_layers_are_frozen_replaced_and_tied_see_the_model_as_it_is():
    model = perceptron()
    model.extend([nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)])
    norms, of_head = GradientNorms(model), GradientNorms(model, parameters="head")

    def is_right() -> bool:
        head = copy.deepcopy(model)
        head.requires_grad_(False)[-1].requires_grad_(True)
        right = relative_error(norms(INPUTS, LABELS), by_loop(model)) <= 1e-4
        return right and relative_error(of_head(INPUTS, LABELS), by_loop(head)) <= 1e-4

    assert is_right()
    model[0].requires_grad_(False)
    assert is_right()
    model[0].requires_grad_(True)
    assert is_right()
    model[2] = nn.Linear(6, 3)
    assert is_right()
    model[2].weight = nn.Parameter(torch.randn(3, 6))
    assert is_right()
    model[4].weight = model[2].weight = nn.Parameter(torch.randn(3, 6))
    model[4] = nn.Linear(3, 3)
    assert is_right()
    model[6] = nn.Linear(3, 3)
    assert is_right()


def test_norms_kept_while_the_precision_changes_have_the_new_one():
    model = perceptron()
    norms = GradientNorms(model)
    norms(INPUTS, LABELS)
    model.double()
    found = norms(INPUTS.double(), LABELS)
    assert found.dtype == torch.float64
    assert relative_error(found, EXPECTED) <= 1e-9


class Windows(nn.Module):
    """Cuts each example into pieces that are rows of a larger batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, inputs):
        pieces = self.layer(inputs.reshape(-1, 4)).tanh()
        return self.head(pieces.reshape(len(inputs), -1, 4).mean(1))


def test_other_examples_of_the_same_shape_are_taken_together_too(recwarn):
    model = Windows()
    norms = GradientNorms(model)
    for _ in range(3):
        inputs = torch.randn(5, 5, 4)
        assert relative_error(norms(inputs, LABELS), by_loop(model, inputs)) <= 1e-4
    assert not [w for w in recwarn if "one example at a time" in str(w.message)]
