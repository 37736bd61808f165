"""Slots as entities: their spans, F1, and the semantic error rate of intents and slots together."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence

import torch

from datadiet.errors import BadInputError
from datadiet.tasks.base import IGNORED

Entity = tuple[str, int, int]
_PREFIXES = ("B-", "I-", "E-", "S-")


def are_spans(tag_names: Sequence[str]) -> bool:
    """Whether the tags mark spans: each is "O" or a type after "B-", "I-", "E-" or "S-".

    Example:
        >>> are_spans(("O", "B-city", "I-city")), are_spans(("O", "NOUN", "VERB"))
        (True, False)
    """
    return all(tag == "O" or (tag.startswith(_PREFIXES) and len(tag) > 2) for tag in tag_names)


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
    names = tag_names or sorted({tag for rows in (found, true) for row in rows for tag in row})
    if all(tag == "O" for rows in (found, true) for row in rows for tag in row):
        return 1.0
    if are_spans(names):
        try:
            from seqeval.metrics import f1_score
        except ImportError as error:
            raise BadInputError(
                "The F1 of slots needs the package seqeval: pip install 'datadiet[transformers]'."
            ) from error
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of zero divisions: no entity predicted, or none true, is an F1 of 0
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
    wrong = sorted((entity for entity in found if entity not in same), key=lambda entity: entity[1])
    missed = sorted((entity for entity in true if entity not in same), key=lambda entity: entity[1])
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
    names = tag_names or sorted({tag for rows in (found, true) for row in rows for tag in row})
    spans = are_spans(names)
    errors = reference = 0
    sentences = zip(found, true, intents_pred, intents_true, strict=True)
    for tags, truth, intent, wanted in sentences:
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
