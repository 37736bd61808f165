"""Small networks that train from nothing: a multilayer perceptron, hashed n-grams, a convolutional net, a tiny BERT."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.models.context import ONE_ROW_TASKS, WORD_TASKS, ModelContext
from datadiet.models.pretrained import IntentSlotModel, LogitsOf, check_depth, import_transformers
from datadiet.models.registry import model


class MLP(nn.Module):
    """Flatten, then linear layers with ReLU between them.

    Example:
        >>> MLP(4, (3,), hidden=(8,))(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self, num_classes: int, input_shape: tuple[int, ...], hidden: tuple[int, ...] = (256, 256)
    ) -> None:
        super().__init__()
        sizes = [math.prod(input_shape), *hidden]
        layers: list[nn.Module] = []
        for size_in, size_out in itertools.pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(batch, ...) -> logits (batch, num_classes)."""
        return self.head(self.body(inputs.flatten(1)))  # type: ignore[no-any-return]


@model("mlp", kinds=("vector", "image"), summary="two hidden layers of 256")
def mlp(context: ModelContext, hidden: tuple[int, ...] = (256, 256)) -> MLP:
    """`MLP` for the data at hand."""
    return MLP(context.num_outputs, context.input_shape, tuple(hidden))


class NgramClassifier(nn.Module):
    """Mean of the embeddings of the n-grams that are there, then a linear layer. Index 0 is padding.

    Example:
        >>> net = NgramClassifier(2, vocabulary=16)
        >>> short, padded = torch.tensor([[3, 5]]), torch.tensor([[3, 5, 0, 0]])
        >>> torch.equal(net(short), net(padded))
        True
    """

    def __init__(self, num_classes: int, vocabulary: int, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.EmbeddingBag(vocabulary, width, mode="mean", padding_idx=0)
        self.head = nn.Linear(width, num_classes)

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        """(batch, longest) int64 -> logits (batch, num_classes)."""
        return self.head(self.embed(indices))  # type: ignore[no-any-return]


@model("ngrams", kinds=("text",), summary="hashed word n-grams, embedding bag, linear layer")
def ngrams(context: ModelContext, width: int = 64) -> NgramClassifier:
    """`NgramClassifier` for the data at hand."""
    return NgramClassifier(context.num_outputs, context.vocabulary, width)


class ConvBlock(nn.Module):
    """conv - pool - BatchNorm - ReLU - conv - BatchNorm - ReLU; pools only where there is room to."""

    def __init__(self, channels_in: int, channels_out: int, *, pool: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channels_in, h, w) -> (batch, channels_out, h // 2 or h, w // 2 or w)."""
        hidden = self.relu(self.norm1(self.pool(self.conv1(images))))
        return self.relu(self.norm2(self.conv2(hidden)))  # type: ignore[no-any-return]


class SmallCNN(nn.Module):
    """Fixed 2x2 whitening convolution, three convolutional blocks (one for each width), global max pool, linear head.

    Args:
        num_classes: width of the logits.
        input_shape: (channels, height, width) of an image.
        widths: channels of the blocks.
        sample: images (n, channels, height, width) that the whitening filters are computed from; without
            them the filters are random orthogonal ones.

    Example:
        >>> net = SmallCNN(10, (1, 8, 8))
        >>> net(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        widths: tuple[int, ...] = (32, 64, 64),
        sample: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        channels, height, width = input_shape
        patch = channels * 4
        self.whiten = nn.Conv2d(channels, 2 * patch, 2)
        self.whiten.requires_grad_(False)
        self.relu = nn.ReLU()
        side = min(height, width) - 1
        blocks, channels_in = [], 2 * patch
        for channels_out in widths:
            blocks.append(ConvBlock(channels_in, channels_out, pool=side >= 4))
            side = side // 2 if side >= 4 else side
            channels_in = channels_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1], num_classes)
        self._whiten_from(sample)

    @torch.no_grad()
    def _whiten_from(self, sample: torch.Tensor | None) -> None:
        """Set the first layer to plus and minus the whitening filters of 2x2 patches."""
        weight, bias = self.whiten.weight, self.whiten.bias
        patch = weight[0].numel()
        if sample is None:
            filters = torch.linalg.qr(torch.randn(patch, patch))[0]
        else:
            patches = nn.functional.unfold(sample.float().cpu(), 2).transpose(1, 2).reshape(-1, patch)
            patches = patches.double() - patches.double().mean(dim=0)
            values, vectors = torch.linalg.eigh(patches.T @ patches / max(len(patches) - 1, 1))
            filters = (vectors / torch.sqrt(values.clamp_min(0) + 1e-2 * values.mean() + 1e-8)).T.float()
        filters = filters.reshape(patch, *weight.shape[1:])
        weight.copy_(torch.cat([filters, -filters]))
        assert bias is not None
        bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channels, height, width) -> logits (batch, num_classes)."""
        hidden = self.blocks(self.relu(self.whiten(images)))
        return self.head(hidden.amax(dim=(2, 3)))  # type: ignore[no-any-return]


@model("smallcnn", kinds=("image",), summary="whitening convolution, three blocks: minutes on a CPU")
def smallcnn(context: ModelContext, widths: tuple[int, ...] | None = None) -> SmallCNN:
    """`SmallCNN` for the data at hand, whitened on a sample of it; two narrow blocks for images below 16 pixels."""
    if widths is None:
        widths = (32, 64, 64) if min(context.input_shape[1:]) >= 16 else (16, 32)
    return SmallCNN(context.num_outputs, context.input_shape, tuple(widths), context.sample)


@model(
    "tiny-bert",
    kinds=("text",),
    tasks=(*ONE_ROW_TASKS, *WORD_TASKS),
    summary="BERT of 2 layers and width 64 from random weights, on a tokenizer trained on the texts",
)
def tiny_bert(
    context: ModelContext,
    layers: int = 2,
    hidden: int = 64,
    heads: int = 2,
    intermediate: int | None = None,
    dropout: float = 0.1,
    max_length: int = 512,
) -> nn.Module:
    """BERT from a configuration, with the head that the task wants.

    Args:
        context: says the task, the widths of the outputs, and `vocabulary`, the number of token ids; id 0 is
            padding.
        layers: transformer layers.
        hidden: width of the hidden states.
        heads: attention heads; `hidden` has to be a multiple.
        intermediate: width inside a layer's feed-forward part; four times `hidden` unless given.
        dropout: of hidden states, attention and heads.
        max_length: the longest text, in tokens.

    Raises:
        BadInputError: no vocabulary, a width that the heads do not divide, or transformers is not installed.

    Example:
        >>> tiny_bert(ModelContext("text", 3, vocabulary=50), hidden=8).classifier.num_labels
        3
    """
    transformers = import_transformers()
    check_depth("layers", layers)
    if context.vocabulary < 1:
        raise BadInputError(
            "tiny-bert needs to know the size of the vocabulary: set ModelContext.vocabulary."
        )
    if heads < 1 or hidden % heads:
        raise BadInputError(f"The width of tiny-bert, {hidden}, must be a multiple of its {heads} heads.")
    tagging = context.task == "token_classification"
    config: Any = transformers.BertConfig(
        vocab_size=context.vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate or 4 * hidden,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=max_length,
        num_labels=context.num_tags if tagging else context.num_outputs,
    )
    if context.task == "intent_slots":
        encoder = transformers.BertModel(config, add_pooling_layer=False)
        return IntentSlotModel(encoder, context.num_outputs, context.num_tags)
    kind = transformers.BertForTokenClassification if tagging else transformers.BertForSequenceClassification
    return LogitsOf(kind(config))
