"""Tagging of words: one tag a word, no class of the sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from datadiet.tasks.base import IGNORED, norm_of_rows, on_cpu, share
from datadiet.tasks.entities import slot_f1, tags_of_words
from datadiet.tasks.softmax_rows import cross_entropies, per_word, softmax_errors, softmax_rows


@dataclass(frozen=True)
class TokenClassification:
    """The tags of the words of each sentence.

    Outputs: logits (batch, tokens, tags). Targets: int64 (batch, tokens), `IGNORED` wherever a token does not begin
    a word.

    Args:
        tag_names: names of the tags, by their number; "O" is outside of every entity. Metrics need them.
        label_smoothing: share of the target mass that is spread evenly over the tags, in the loss only.

    Example:
        >>> task = TokenClassification(("O", "B-city"))
        >>> task.loss(torch.zeros(1, 3, 2), torch.tensor([[IGNORED, 1, 0]]))
        tensor([0.6931])
    """

    tag_names: tuple[str, ...] = ()
    label_smoothing: float = 0.0
    name: str = "token_classification"

    @property
    def single_label(self) -> bool:
        """False: measures come from `measures`."""
        return False

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean over words of the cross-entropy of the tag, shape (batch,); 0 where there is no word."""
        return per_word(cross_entropies(outputs, targets, self.label_smoothing), targets != IGNORED)

    def error(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """`p_t - y_t` of every word, end to end: shape (batch, tokens * tags); 0 where a token begins no word.

        The gradient, with respect to all logits, of the *sum* over words of the cross-entropy, not smoothed: joint
        EL2N (Attendu and Corbeil 2023) without its intent. That the sum stands here and not the mean is our choice.
        """
        return softmax_errors(outputs, targets).flatten(1)

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Whether the tag of every word is right: bool, shape (batch,)."""
        return self._right(outputs.argmax(dim=-1), targets)

    @staticmethod
    def _right(tags: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return ((tags == targets) | (targets == IGNORED)).all(dim=1)

    def measures(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Measures of each sentence, shape (batch,); all are ours, by the derivation of joint EL2N.

        - el2n: `sqrt(sum_t m_t |p_t - y_t|²)`, m_t masking all but first sub-tokens; l1_error likewise.
        - loss: as `loss`, never smoothed.
        - probability: `exp(-loss)`, the geometric mean of the probabilities of the words' tags.
        - entropy: mean over words of the entropies of their tags.
        - margin, logit_margin: the smallest over all words; 1 and 0 where there is no word.
        - prediction: the number of words with a wrong tag, int32; 0 if and only if `correct`.
        - correct: as `correct`.
        """
        words = softmax_rows(outputs, targets)
        loss = per_word(words.loss, words.real)
        some = words.real.any(dim=1)

        def smallest(of_words: torch.Tensor, without: float) -> torch.Tensor:
            masked = torch.where(words.real, of_words, torch.full_like(of_words, float("inf")))
            beside = torch.where(some, float("inf"), without).to(of_words.dtype)
            return torch.cat([masked, beside.unsqueeze(1)], dim=1).amin(dim=1)

        wrong = (words.real & ~words.correct).sum(1)
        return {
            "probability": torch.exp(-loss),
            "el2n": norm_of_rows(words.el2n),
            "l1_error": words.l1_error.sum(1),
            "entropy": per_word(words.entropy, words.real),
            "loss": loss,
            "margin": smallest(words.margin, 1.0),
            "logit_margin": smallest(words.logit_margin, 0.0),
            "prediction": wrong.to(torch.int32),
            "correct": wrong == 0,
        }

    def predictions(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """`tags` int64 (batch, tokens), `IGNORED` where the targets have it."""
        return {"tags": torch.where(targets == IGNORED, targets, outputs.argmax(dim=-1))}

    def metrics(
        self, predictions: Sequence[Mapping[str, torch.Tensor]], truths: Sequence[torch.Tensor]
    ) -> dict[str, float]:
        """Metrics over all batches: `accuracy` (every tag of the sentence right), `token_accuracy` over words, and
        `token_f1`, the micro F1 of entities (`datadiet.tasks.slot_f1`).

        Raises:
            BadInputError: seqeval is not installed.
        """
        found, truths = [batch["tags"] for batch in on_cpu(predictions)], on_cpu(truths)
        pairs = list(zip(found, truths, strict=True))
        return {
            "accuracy": share([self._right(tags, truth) for tags, truth in pairs]),
            "token_accuracy": share([(tags == truth)[truth != IGNORED] for tags, truth in pairs]),
            "token_f1": slot_f1(
                tags_of_words(found, self.tag_names), tags_of_words(truths, self.tag_names), self.tag_names
            ),
        }
