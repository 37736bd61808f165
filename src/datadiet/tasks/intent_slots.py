"""Joint intent classification and slot filling: one class a sentence and one tag a word."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from datadiet.foundation.errors import BadInputError
from datadiet.tasks.base import IGNORED, Task, mean_of, norm_of_rows, on_cpu, register_task
from datadiet.tasks.classification import cross_entropies, per_word, softmax_errors, softmax_rows
from datadiet.tasks.token_classification import (
    best_tags,
    group_error,
    semantic_error_rate,
    slot_f1,
    smallest_of_words,
    tags_of_words,
)

Pair = Mapping[str, torch.Tensor]


@register_task
@dataclass(frozen=True)
class IntentSlots(Task):
    """An intent and the tags of the words of each sentence.

    Outputs: {"intent": logits (batch, intents), "slots": logits (batch, tokens, tags)}. Targets: {"intent": int64
    (batch,), "slots": int64 (batch, tokens)}, `IGNORED` wherever a token does not begin a word.

    Args:
        tag_names: names of the tags, by their number; "O" is outside of every slot. Metrics need them.
        intent_weight: w in the loss `w intent + (1 - w) slots`.
        label_smoothing: share of the target mass that is spread evenly, for intents and tags, in the loss only.

    Raises:
        BadInputError: the weight is outside [0, 1].

    Source: loss, mask and joint EL2N are those of Attendu and Corbeil, "NLU on Data Diets", 2023, section 3.

    Example:
        >>> task = IntentSlots(("O", "B-city"))
        >>> outputs = {"intent": torch.zeros(1, 2), "slots": torch.zeros(1, 3, 2)}
        >>> targets = {"intent": torch.tensor([0]), "slots": torch.tensor([[IGNORED, 1, IGNORED]])}
        >>> task.measures(outputs, targets)["el2n"]
        tensor([1.0000])
    """

    name: ClassVar[str] = "intent_slots"
    tag_names: tuple[str, ...] = ()
    intent_weight: float = 0.5
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.intent_weight <= 1.0:
            raise BadInputError(f"The weight of the intent is between 0 and 1, not {self.intent_weight}.")

    def loss(self, outputs: Pair, targets: Pair) -> torch.Tensor:
        """`w CE(intent) + (1 - w) mean over words of CE(tag)`, shape (batch,); no word makes the second part 0."""
        return self._weighted(
            cross_entropies(outputs["intent"], targets["intent"], self.label_smoothing),
            cross_entropies(outputs["slots"], targets["slots"], self.label_smoothing),
            targets["slots"] != IGNORED,
        )

    def _weighted(self, intent: torch.Tensor, words: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        return self.intent_weight * intent + (1 - self.intent_weight) * per_word(words, real)

    def error(self, outputs: Pair, targets: Pair) -> torch.Tensor:
        """`p - y` of the intent and of every word, end to end: shape (batch, intents + tokens * tags).

        The gradient, with respect to all logits, of `CE(intent) + sum over words of CE(tag)`: neither weighted by
        `intent_weight`, nor divided by the number of words, nor smoothed. Tokens that begin no word hold 0.
        """
        intent = softmax_errors(outputs["intent"], targets["intent"])
        words = softmax_errors(outputs["slots"], targets["slots"])
        return torch.cat([intent, words.flatten(1)], dim=1)

    def correct(self, outputs: Pair, targets: Pair) -> torch.Tensor:
        """Whether the intent and the tag of every word are right: bool, shape (batch,)."""
        return self._right(self.predictions(outputs, targets), targets)

    @staticmethod
    def _right(found: Pair, targets: Pair) -> torch.Tensor:
        return (found["intent"] == targets["intent"]) & (found["slots"] == targets["slots"]).all(dim=1)

    def measures(self, outputs: Pair, targets: Pair) -> dict[str, torch.Tensor]:
        """Measures of each sentence, shape (batch,).

        - el2n: `sqrt(|p_I - y_I|² + sum_t m_t |p_t - y_t|²)`, m_t masking all but first sub-tokens (the source).

        The others are ours:

        - l1_error: `|p_I - y_I|_1 + sum_t m_t |p_t - y_t|_1`.
        - loss: as `loss`, never smoothed.
        - probability: `exp(-loss)`, the weighted geometric mean of the probabilities of intent and tags.
        - entropy: entropy of the intent plus the mean over words of the entropies of their tags.
        - margin, logit_margin: the smallest over the intent and all words.
        - prediction: the intent, int32.
        - correct: as `correct`.
        """
        intent = softmax_rows(outputs["intent"], targets["intent"])
        words = softmax_rows(outputs["slots"], targets["slots"])
        loss = self._weighted(intent.loss, words.loss, words.real)
        return {
            "probability": torch.exp(-loss),
            "el2n": norm_of_rows(torch.cat([intent.el2n.unsqueeze(1), words.el2n], dim=1)),
            "l1_error": intent.l1_error + words.l1_error.sum(1),
            "entropy": intent.entropy + per_word(words.entropy, words.real),
            "loss": loss,
            "margin": smallest_of_words(words.margin, words.real, intent.margin),
            "logit_margin": smallest_of_words(words.logit_margin, words.real, intent.logit_margin),
            "prediction": intent.prediction.to(torch.int32),
            "correct": intent.correct & (words.correct | ~words.real).all(dim=1),
        }

    def predictions(self, outputs: Pair, targets: Pair) -> dict[str, torch.Tensor]:
        """`intent` int64 (batch,) and `slots` int64 (batch, tokens), `IGNORED` where the targets have it."""
        return {
            "intent": outputs["intent"].argmax(dim=-1),
            "slots": best_tags(outputs["slots"], targets["slots"]),
        }

    def metrics(
        self, predictions: Sequence[Pair], truths: Sequence[Pair], groups: Sequence[Hashable] | None = None
    ) -> dict[str, float]:
        """Metrics over all batches.

        - accuracy, full_sequence_accuracy: the intent and all tags right.
        - intent_accuracy.
        - slot_f1: micro F1 of slots as entities (`datadiet.tasks.slot_f1`).
        - semantic_error_rate: `datadiet.tasks.semantic_error_rate`.
        - domain_error, with groups: share of sentences whose intent is put into another domain.

        Args:
            predictions: what `predictions` gave, by batch.
            truths: the targets, by batch.
            groups: the domain of each intent, by the intent's number.

        Raises:
            BadInputError: seqeval is not installed.
        """
        sides = on_cpu(predictions), on_cpu(truths)
        pairs = list(zip(*sides, strict=True))
        whole = mean_of([self._right(found, truth) for found, truth in pairs])
        found_tags, true_tags = (tags_of_words([b["slots"] for b in side], self.tag_names) for side in sides)
        found, true = ([intent for b in side for intent in b["intent"].tolist()] for side in sides)
        metrics = {
            "accuracy": whole,
            "intent_accuracy": mean_of([found["intent"] == truth["intent"] for found, truth in pairs]),
            "slot_f1": slot_f1(found_tags, true_tags, self.tag_names),
            "full_sequence_accuracy": whole,
            "semantic_error_rate": semantic_error_rate(found_tags, true_tags, found, true, self.tag_names),
        }
        if groups is not None:
            metrics["domain_error"] = group_error(found, true, groups)
        return metrics
