"""A very small BERT with random weights, for every task on texts: no download, minutes on a CPU."""

from __future__ import annotations

from typing import Any

from torch import nn

from datadiet.errors import BadInputError
from datadiet.models.context import ONE_ROW_TASKS, WORD_TASKS, ModelContext
from datadiet.models.intent_slots import IntentSlotModel
from datadiet.models.pretrained import LogitsOf, import_transformers
from datadiet.models.registry import model


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
