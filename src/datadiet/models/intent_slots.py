"""Intents and slots from one encoder of texts: a head on one token that has seen all, and a head on every token."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class IntentSlotModel(nn.Module):
    """A `transformers` encoder with two linear heads on its last hidden states, each after dropout.

    The intent is read from the first token (the classification token of BERT and RoBERTa), or from the last one of
    the text where the encoder only looks back (GPT-2, Llama), so that a first token knows nothing of what follows.
    Tags are read from every token; the targets say which tokens count. Texts are padded on the right.

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
        self.looks_back = only_looks_back(encoder)
        self.dropout = nn.Dropout(_dropout_of(config))
        self.intent_head = nn.Linear(config.hidden_size, num_intents)
        self.slot_head = nn.Linear(config.hidden_size, num_tags)
        for head in (self.intent_head, self.slot_head):
            nn.init.normal_(head.weight, std=getattr(config, "initializer_range", None) or 0.02)
            nn.init.zeros_(head.bias)

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Token tensors (batch, tokens) -> {"intent": (batch, intents), "slots": (batch, tokens, tags)}."""
        hidden = self.encoder(**inputs).last_hidden_state
        whole = hidden[:, 0]
        if self.looks_back:
            last = inputs["attention_mask"].sum(dim=1).clamp(min=1) - 1
            whole = hidden[torch.arange(len(hidden), device=hidden.device), last]
        return {
            "intent": self.intent_head(self.dropout(whole)),
            "slots": self.slot_head(self.dropout(hidden)),
        }


def only_looks_back(encoder: nn.Module) -> bool:
    """Whether what an encoder says of the first token stays the same whatever comes after it.

    Found by trying: two texts of three tokens that differ in the last one. Its mode stays what it was.
    """
    place = next(encoder.parameters()).device
    texts = torch.tensor([[0, 1, 0], [0, 1, 1]], device=place)
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            hidden = encoder(input_ids=texts, attention_mask=torch.ones_like(texts)).last_hidden_state
    finally:
        encoder.train(training)
    return bool(torch.equal(hidden[0, 0], hidden[1, 0]) and not torch.equal(hidden[0, 2], hidden[1, 2]))


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
