"""Tagging of words: one tag a word, no class of the sentence; and the entities that tags spell."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from datadiet.foundation.errors import BadInputError
from datadiet.tasks.base import IGNORED, Task, mean_of, norm_of_rows, on_cpu, register_task
from datadiet.tasks.classification import cross_entropies, per_word, softmax_errors, softmax_rows

Entity = tuple[str, int, int]
_PREFIXES = ("B-", "I-", "E-", "S-")


def are_spans(tag_names: Sequence[str], *sentences: Sequence[Sequence[str]]) -> bool:
    """Whether the tags mark spans: each is "O" or a type after "B-", "I-", "E-" or "S-".

    Args:
        tag_names: all tags there are; if left out, those that occur in the sentences.
        sentences: the tags of the words of each sentence, any number of times.

    Example:
        >>> are_spans(("O", "B-city", "I-city")), are_spans(("O", "NOUN", "VERB"))
        (True, False)
    """
    names = tag_names or {tag for rows in sentences for row in rows for tag in row}
    return all(tag == "O" or (tag.startswith(_PREFIXES) and len(tag) > 2) for tag in names)


def entities(tags: Sequence[str], spans: bool = True) -> list[Entity]:
    """The entities of one sentence, each (type, first word, last word), from left to right.

    A span begins at "B-" and "S-", after "O", "E-" and "S-", and where the type changes, as in seqeval's default
    mode: an "I-" without a beginning is one. Without spans every word that is not "O" is an entity of its own.

    Example:
        >>> entities(["B-city", "I-city", "O", "I-day"])
        [('city', 0, 1), ('day', 3, 3)]
    """
    if not spans:
        return [(tag, word, word) for word, tag in enumerate(tags) if tag != "O"]
    found: list[Entity] = []
    before, kind_before = "O", ""
    for word, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if prefix != "O":
            if prefix in "BS" or before in "OES" or kind != kind_before:
                found.append((kind, word, word))
            else:
                found[-1] = (kind, found[-1][1], word)
        before, kind_before = prefix, kind
    return found


def tags_of_words(batches: Sequence[torch.Tensor], tag_names: Sequence[str]) -> list[list[str]]:
    """The tags of each sentence's words by name; positions that are `IGNORED` are left out.

    Args:
        batches: int64 tensors (batch, tokens), of any length each.
        tag_names: names by number; a number without a name is written as it is.
    """
    names = dict(enumerate(tag_names))
    return [
        [names.get(tag, str(tag)) for tag in row if tag != IGNORED]
        for rows in batches
        for row in rows.tolist()
    ]


def best_tags(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The tag of the largest logit of each token, int64 (batch, tokens); `IGNORED` where the targets have it."""
    return torch.where(targets == IGNORED, targets, logits.argmax(dim=-1))


def smallest_of_words(words: torch.Tensor, real: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
    """The smallest of one number an example and one number a word, shape (batch,).

    Args:
        words: (batch, tokens).
        real: (batch, tokens) bool, which tokens are words.
        beside: (batch,).
    """
    masked = torch.where(real, words, torch.full_like(words, float("inf")))
    return torch.cat([masked, beside.unsqueeze(1)], dim=1).amin(dim=1)


def slot_f1(
    found: Sequence[Sequence[str]], true: Sequence[Sequence[str]], tag_names: Sequence[str] = ()
) -> float:
    """Micro F1 of the entities of all sentences: type and both ends have to agree.

    With tags that mark spans it is seqeval's; with plain tags (parts of speech) it is the F1 over words with equal
    tags, "O" left out. Where no sentence has an entity and none is predicted it is 1: nothing was missed.

    Args:
        found: predicted tags of the words of each sentence.
        true: their true tags, as many.
        tag_names: all tags there are, which decide whether tags mark spans; those that occur if left out.

    Raises:
        BadInputError: seqeval is not installed.

    Example:
        >>> round(slot_f1([["B-a", "O", "B-b"]], [["B-a", "O", "O"]]), 4)
        0.6667
    """
    if all(tag == "O" for rows in (found, true) for row in rows for tag in row):
        return 1.0
    if are_spans(tag_names, found, true):
        try:
            from seqeval.metrics import f1_score
        except ImportError as error:
            raise BadInputError(
                "The F1 of slots needs the package seqeval: pip install 'datadiet[transformers]'."
            ) from error
        with warnings.catch_warnings():
            # Of zero divisions: no entity predicted, or none true, is an F1 of 0.
            warnings.simplefilter("ignore")
            return float(f1_score([list(row) for row in true], [list(row) for row in found]))
    right = made = there = 0
    for tags, truth in zip(found, true, strict=True):
        right += sum(tag == wanted != "O" for tag, wanted in zip(tags, truth, strict=True))
        made += sum(tag != "O" for tag in tags)
        there += sum(tag != "O" for tag in truth)
    return 2 * right / (made + there)


def slot_errors(found: Sequence[Entity], true: Sequence[Entity]) -> tuple[int, int, int]:
    """Insertions, deletions and substitutions that lead from the true slots of a sentence to the predicted ones.

    Slots with the same type and the same words are right. Of the rest, a true and a predicted slot that share a
    word - the same words under another type, or other ends - are one substitution; each slot is in at most one, and
    there are as many as there can be. What remains is a deletion if true and an insertion if predicted. Published
    definitions leave the pairing open; this one is ours.

    Args:
        found: predicted entities (type, first word, last word) of one sentence, no two of which overlap.
        true: the true ones.

    Example:
        >>> slot_errors([("city", 0, 1), ("day", 4, 4)], [("city", 0, 0), ("hour", 2, 2)])
        (1, 1, 1)
    """
    same = set(found) & set(true)
    wrong, missed = (
        sorted((slot for slot in slots if slot not in same), key=lambda slot: slot[1])
        for slots in (found, true)
    )
    # Slots of one side never overlap: pairing from the left, whenever two meet, gives the most pairs.
    pairs = at = 0
    for _, first, last in missed:
        while at < len(wrong) and wrong[at][2] < first:
            at += 1
        if at < len(wrong) and wrong[at][1] <= last:
            pairs += 1
            at += 1
    return len(wrong) - pairs, len(missed) - pairs, pairs


def semantic_error_rate(
    found: Sequence[Sequence[str]],
    true: Sequence[Sequence[str]],
    intents_pred: Sequence[int],
    intents_true: Sequence[int],
    tag_names: Sequence[str] = (),
) -> float:
    """`(slot insertions + deletions + substitutions + intent errors) / (true slots + one intent a sentence)`.

    How slot errors are counted is said at `slot_errors`. It may exceed 1. NaN where there is no sentence.

    Args:
        found: predicted tags of the words of each sentence.
        true: their true tags.
        intents_pred: predicted intent of each sentence.
        intents_true: its true intent.
        tag_names: all tags there are, which decide whether tags mark spans; those that occur if left out.

    Source: the industrial practice behind "Entropy and margin based scoring metrics", 2023.

    Example:
        >>> semantic_error_rate([["B-city", "O"]], [["B-day", "O"]], [3], [3])
        0.5
    """
    spans = are_spans(tag_names, found, true)
    errors = reference = 0
    for tags, truth, intent, wanted in zip(found, true, intents_pred, intents_true, strict=True):
        slots = entities(truth, spans)
        errors += sum(slot_errors(entities(tags, spans), slots)) + (intent != wanted)
        reference += len(slots) + 1
    return errors / reference if reference else float("nan")


def group_error(
    intents_pred: Sequence[int], intents_true: Sequence[int], groups: Sequence[Hashable]
) -> float:
    """Share of sentences whose predicted intent lies in another group than the true one; NaN without sentences.

    With the domains of the intents as groups it is the domain-classification error.

    Args:
        intents_pred: predicted intent of each sentence.
        intents_true: its true intent.
        groups: the group of each intent, by the intent's number.

    Raises:
        BadInputError: an intent has no group.

    Example:
        >>> group_error([0, 1, 2], [1, 1, 1], ["music", "music", "weather"])
        0.3333333333333333
    """
    highest = max([*intents_pred, *intents_true], default=-1)
    if highest >= len(groups):
        raise BadInputError(
            f"Groups are given for {len(groups)} intents, and intent {highest} occurs; give one for each intent."
        )
    wrong = [groups[a] != groups[b] for a, b in zip(intents_pred, intents_true, strict=True)]
    return sum(wrong) / len(wrong) if wrong else float("nan")


@register_task
@dataclass(frozen=True)
class TokenClassification(Task):
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

    name: ClassVar[str] = "token_classification"
    tag_names: tuple[str, ...] = ()
    label_smoothing: float = 0.0

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
        return (best_tags(outputs, targets) == targets).all(dim=1)

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
            beside = torch.where(some, float("inf"), without).to(of_words.dtype)
            return smallest_of_words(of_words, words.real, beside)

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
        return {"tags": best_tags(outputs, targets)}

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
            "accuracy": mean_of([(tags == truth).all(dim=1) for tags, truth in pairs]),
            "token_accuracy": mean_of([(tags == truth)[truth != IGNORED] for tags, truth in pairs]),
            "token_f1": slot_f1(
                tags_of_words(found, self.tag_names), tags_of_words(truths, self.tag_names), self.tag_names
            ),
        }
