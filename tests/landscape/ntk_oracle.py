"""Models and the slow kernel that the tangent kernel is held against, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tiny_models import bert_config, vit_config


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
    config = bert_config(
        vocab_size=20, hidden_size=8, intermediate_size=12, max_position_embeddings=10, num_labels=3
    )
    return randomised(transformers.BertForSequenceClassification(config))


def vit() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = vit_config(
        hidden_size=8, intermediate_size=12, image_size=8, patch_size=4, num_channels=2, num_labels=3
    )
    return randomised(transformers.ViTForImageClassification(config))


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator(99), dtype=torch.float64)


def tokens(*shape: int, words: int) -> torch.Tensor:
    return torch.randint(1, words, shape, generator=generator(98))
