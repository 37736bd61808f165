"""Hashed n-grams into an embedding bag and a linear layer: plain text without a pre-trained model."""

from __future__ import annotations

import torch
from torch import nn

from datadiet.models.context import ModelContext
from datadiet.models.registry import model


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
