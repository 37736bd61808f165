"""Every rule against the loop, over shapes and options."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pergrad_oracle import assert_exact, lively
from torch import nn

few = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    database=None,
)
batches = st.integers(1, 5)
seeds = st.integers(0, 2**16)


class MeanPool(nn.Module):
    """Everything between the batch and the features is averaged; the first of a tuple is taken."""

    def __init__(self, channels_first: bool = False) -> None:
        super().__init__()
        self.channels_first = channels_first

    def forward(self, inputs):
        if isinstance(inputs, tuple):
            inputs = inputs[0]
        if self.channels_first:
            return inputs.flatten(2).mean(2)
        return inputs.reshape(len(inputs), -1, inputs.shape[-1]).mean(1)


def seeded(seed: int) -> torch.Generator:
    torch.manual_seed(seed)  # layers draw their weights from the global generator
    return torch.Generator().manual_seed(seed + 1)


def labels(batch: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(0, 3, (batch,), generator=generator)


@few
@given(
    batch=batches,
    leading=st.lists(st.integers(1, 6), max_size=2),
    width=st.integers(1, 9),
    bias=st.booleans(),
    seed=seeds,
)
def test_linear_takes_any_number_of_leading_dimensions(batch, leading, width, bias, seed):
    generator = seeded(seed)
    model = nn.Sequential(
        nn.Linear(4, width, bias=bias), nn.Tanh(), nn.Linear(width, 5), nn.GELU(), MeanPool(), nn.Linear(5, 3)
    )
    assert_exact(model, torch.randn(batch, *leading, 4, generator=generator), labels(batch, generator))


@few
@given(
    data=st.data(),
    dims=st.integers(1, 3),
    batch=batches,
    groups=st.sampled_from([1, 2, 4]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    padding=st.one_of(st.integers(0, 2), st.sampled_from(["same", "valid"])),
    mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    channels=st.sampled_from([4, 24]),
    seed=seeds,
)
def test_convolutions_are_exact_for_all_their_options(
    data, dims, batch, groups, kernel, stride, dilation, padding, mode, channels, seed
):
    if dims == 3 and mode == "reflect":
        mode = "circular"
    if padding == "same":
        stride = 1
    generator = seeded(seed)
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    sizes = [data.draw(st.integers(5, 7)) for _ in range(dims)]
    model = nn.Sequential(
        layer(2, 4, 1),
        layer(4, channels, kernel, stride, padding, dilation, groups, padding_mode=mode),
        nn.ReLU(inplace=True),
        MeanPool(channels_first=True),
        nn.Linear(channels, 3),
    )
    assert_exact(model, torch.randn(batch, 2, *sizes, generator=generator), labels(batch, generator))


@few
@given(
    dims=st.integers(1, 3),
    batch=batches,
    groups=st.sampled_from([1, 2]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    dilation=st.integers(1, 2),
    extra=st.booleans(),
    seed=seeds,
)
def test_transposed_convolutions_are_exact(
    dims, batch, groups, kernel, stride, padding, dilation, extra, seed
):
    generator = seeded(seed)
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1]
    extra_size = 1 if extra and max(stride, dilation) > 1 else 0
    model = nn.Sequential(
        nn.Linear(5, 5),
        layer(2, 4, kernel, stride, padding, extra_size, groups, True, dilation),
        nn.Tanh(),
        MeanPool(channels_first=True),
        nn.Linear(4, 3),
    )
    sizes = [4] * (dims - 1) + [5]
    assert_exact(model, torch.randn(batch, 2, *sizes, generator=generator), labels(batch, generator))


def test_depthwise_separable_convolutions_are_exact():
    generator = seeded(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(inplace=True),
        nn.Conv2d(8, 16, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.Conv2d(16, 32, 5, 2, 2, groups=16),
        nn.SiLU(),
        MeanPool(channels_first=True),
        nn.Linear(32, 3),
    )
    assert_exact(lively(model), torch.randn(4, 3, 16, 16, generator=generator), labels(4, generator))


def test_both_contractions_of_a_convolution_agree_with_the_loop():
    generator = seeded(1)
    wide = nn.Sequential(
        nn.Conv2d(2, 48, 3, padding=1), nn.Conv2d(48, 40, 3, 2, 1), nn.Flatten(), nn.Linear(160, 3)
    )
    long = nn.Sequential(
        nn.Conv2d(2, 2, 3), nn.Conv2d(2, 3, 3), MeanPool(channels_first=True), nn.Linear(3, 3)
    )
    assert_exact(wide, torch.randn(3, 2, 4, 4, generator=generator), labels(3, generator))
    assert_exact(long, torch.randn(3, 2, 16, 16, generator=generator), labels(3, generator))


@few
@given(
    batch=batches,
    tokens=st.integers(1, 7),
    padding=st.sampled_from([None, 0, 2, -1]),
    seed=seeds,
)
def test_embeddings_count_repeated_tokens_and_leave_out_padding(batch, tokens, padding, seed):
    generator = seeded(seed)
    model = nn.Sequential(
        nn.Embedding(5, 4, padding_idx=padding), nn.Linear(4, 4), MeanPool(), nn.Linear(4, 3)
    )
    ids = torch.randint(0, 5, (batch, tokens), generator=generator)
    assert_exact(model, ids, labels(batch, generator))


@few
@given(
    batch=batches,
    mode=st.sampled_from(["sum", "mean", "max"]),
    padding=st.sampled_from([None, 1, -1]),
    seed=seeds,
)
def test_embedding_bags_are_exact_in_every_mode(batch, mode, padding, seed):
    generator = seeded(seed)
    model = nn.Sequential(nn.EmbeddingBag(5, 4, mode=mode, padding_idx=padding), nn.Tanh(), nn.Linear(4, 3))
    ids = torch.randint(0, 5, (batch, 4), generator=generator)
    assert_exact(model, ids, labels(batch, generator))


@few
@given(
    batch=batches,
    layer=st.sampled_from(["layer", "layer2", "rms", "group", "instance", "instance_tracked", "batch"]),
    size=st.integers(2, 4),
    seed=seeds,
)
def test_normalisation_layers_are_exact(batch, layer, size, seed):
    generator = seeded(seed)
    made = {
        "layer": lambda: nn.LayerNorm(size),
        "layer2": lambda: nn.LayerNorm([size, size]),
        "rms": lambda: nn.RMSNorm(size),
        "group": lambda: nn.GroupNorm(2, 4),
        "instance": lambda: nn.InstanceNorm2d(4, affine=True),
        "instance_tracked": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        "batch": lambda: nn.BatchNorm2d(4),
    }[layer]()
    model = nn.Sequential(nn.Conv2d(2, 4, 1), made, nn.Tanh(), MeanPool(channels_first=True), nn.Linear(4, 3))
    assert_exact(
        lively(model), torch.randn(batch, 2, size, size, generator=generator), labels(batch, generator)
    )


@few
@given(batch=batches, dims=st.sampled_from([0, 1, 3]), seed=seeds)
def test_batch_norm_in_evaluation_mode_is_exact_for_vectors_sequences_and_volumes(batch, dims, seed):
    generator = seeded(seed)
    layer = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 3: nn.BatchNorm3d}[dims]
    model = nn.Sequential(layer(4), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 2**dims, 3))
    shape = (batch, 4, *([2] * dims))
    assert_exact(lively(model), torch.randn(shape, generator=generator), labels(batch, generator))


@few
@given(batch=batches, channels=st.sampled_from([1, 4]), dims=st.integers(0, 2), seed=seeds)
def test_prelu_is_exact_with_one_slope_and_with_one_a_channel(batch, channels, dims, seed):
    generator = seeded(seed)
    model = nn.Sequential(nn.PReLU(channels), nn.Flatten(), nn.Linear(4 * 3**dims, 3))
    assert_exact(model, torch.randn(batch, 4, *([3] * dims), generator=generator), labels(batch, generator))


class Attention(nn.Module):
    def __init__(self, own_sizes: bool, first: bool, extra: bool, cross: bool) -> None:
        super().__init__()
        sizes = {"kdim": 6, "vdim": 5} if own_sizes else {}
        self.first, self.cross = first, cross
        self.attention = nn.MultiheadAttention(
            4, 2, batch_first=first, add_bias_kv=extra, add_zero_attn=extra, **sizes
        )
        self.key = nn.Linear(4, 6 if own_sizes else 4)
        self.value = nn.Linear(4, 5 if own_sizes else 4)
        self.own_sizes = own_sizes
        self.head = nn.Linear(4, 3)

    def forward(self, inputs):
        key = self.key(inputs) if self.cross or self.own_sizes else inputs
        value = self.value(inputs) if self.cross or self.own_sizes else inputs
        parts = [inputs, key, value]
        if not self.first:
            parts = (
                [part.transpose(0, 1) for part in parts]
                if key is not inputs
                else [inputs.transpose(0, 1)] * 3
            )
        mixed, _ = self.attention(*parts)
        return self.head(mixed.mean(1 if self.first else 0))


@few
@given(
    batch=batches,
    tokens=st.integers(1, 5),
    own_sizes=st.booleans(),
    first=st.booleans(),
    extra=st.booleans(),
    cross=st.booleans(),
    seed=seeds,
)
def test_multihead_attention_is_exact_in_all_its_forms(batch, tokens, own_sizes, first, extra, cross, seed):
    generator = seeded(seed)
    model = Attention(own_sizes, first, extra, cross)
    assert_exact(lively(model), torch.randn(batch, tokens, 4, generator=generator), labels(batch, generator))


@few
@given(batch=batches, tokens=st.integers(1, 5), norm_first=st.booleans(), seed=seeds)
def test_transformer_encoder_layers_are_exact(batch, tokens, norm_first, seed):
    generator = seeded(seed)
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=norm_first)
    model = nn.Sequential(
        nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), MeanPool(), nn.Linear(4, 3)
    )
    assert_exact(lively(model), torch.randn(batch, tokens, 4, generator=generator), labels(batch, generator))


@few
@given(
    batch=st.integers(1, 4),
    kind=st.sampled_from(["lstm", "projected", "gru", "tanh", "relu"]),
    layers=st.integers(1, 2),
    both=st.booleans(),
    bias=st.booleans(),
    first=st.booleans(),
    seed=seeds,
)
def test_recurrent_layers_are_exact(batch, kind, layers, both, bias, first, seed):
    generator = seeded(seed)
    options = {"num_layers": layers, "bidirectional": both, "bias": bias, "batch_first": first}
    layer = {
        "lstm": lambda: nn.LSTM(3, 4, **options),
        "projected": lambda: nn.LSTM(3, 4, proj_size=2, **options),
        "gru": lambda: nn.GRU(3, 4, **options),
        "tanh": lambda: nn.RNN(3, 4, **options),
        "relu": lambda: nn.RNN(3, 4, nonlinearity="relu", **options),
    }[kind]()
    width = (2 if kind == "projected" else 4) * (2 if both else 1)

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent, self.head = layer, nn.Linear(width, 3)

        def forward(self, inputs):
            outputs, _ = self.recurrent(inputs if first else inputs.transpose(0, 1))
            return self.head(outputs.mean(1 if first else 0))

    assert_exact(Classifier(), torch.randn(batch, 5, 3, generator=generator), labels(batch, generator))


def test_the_last_state_of_an_lstm_is_as_exact_as_its_outputs():
    generator = seeded(3)

    class LastState(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(7, 3, padding_idx=0)
            self.recurrent, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(8, 3)

        def forward(self, ids):
            _, (hidden, cell) = self.recurrent(self.embedding(ids))
            return self.head(torch.cat([hidden[0], cell[0]], -1))

    assert_exact(LastState(), torch.randint(0, 7, (4, 4), generator=generator), labels(4, generator))
