"""Intents and slots from one encoder of texts: a head on the first token, and a head on every token."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class IntentSlotModel(nn.Module):
    """A `transformers` encoder with two linear heads on its last hidden states, each after dropout.

    The intent is read from the first token (the classification token of BERT and RoBERTa; texts are padded on the
    right), tags from every token; the targets say which tokens count.

    Args:
        encoder: gives `last_hidden_state` (batch, tokens, hidden), and has a `config` that says `hidden_size`. Its
            dropout is that of the config's classifier, or of its hidden layers.
        num_intents: width of the intent's logits.
        num_tags: width of the logits of each token.

    Source: Chen, Zhuo, Wang, "BERT for Joint Intent Classification and Slot Filling", 2019; here without the CRF.
    """

    def __init__(self, encoder: nn.Module, num_intents: int, num_tags: int) -> None:
        super().__init__()
        config: Any = encoder.config
        self.encoder = encoder
        self.dropout = nn.Dropout(_dropout_of(config))
        self.intent_head = nn.Linear(config.hidden_size, num_intents)
        self.slot_head = nn.Linear(config.hidden_size, num_tags)
        for head in (self.intent_head, self.slot_head):
            nn.init.normal_(head.weight, std=getattr(config, "initializer_range", None) or 0.02)
            nn.init.zeros_(head.bias)

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Token tensors (batch, tokens) -> {"intent": (batch, intents), "slots": (batch, tokens, tags)}."""
        hidden = self.encoder(**inputs).last_hidden_state
        return {
            "intent": self.intent_head(self.dropout(hidden[:, 0])),
            "slots": self.slot_head(self.dropout(hidden)),
        }


def _dropout_of(config: Any) -> float:
    """The dropout before a classifier, by the names that configurations give it; 0.1 where none does."""
    for name in (
        "classifier_dropout",
        "seq_classif_dropout",
        "hidden_dropout_prob",
        "hidden_dropout",
        "dropout",
    ):
        value = getattr(config, name, None)
        if isinstance(value, int | float):
            return float(value)
    return 0.1
