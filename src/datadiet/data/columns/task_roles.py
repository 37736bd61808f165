"""Which task the columns of a data set hold: tags beside words, lists of labels, or a class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from datadiet.data.columns.arrow import is_list, list_lengths, one_array, rows_at, words_of
from datadiet.data.columns.roles import Roles, find_label, find_roles, label_or_none, require_column
from datadiet.data.examples import TAG_TASKS, TASKS, Task
from datadiet.foundation.errors import BadInputError

if TYPE_CHECKING:
    import datasets


# In each list, earlier groups win over later ones; two columns of one group are ambiguous.
_TAG_NAMES = (
    ("slots", "slot_tags", "slot_labels", "slot"),
    ("tags", "ner_tags", "ner", "bio", "bio_tags", "token_labels", "word_labels"),
)
_LABELS = ("labels", "label")
# Tags of the grammar: something to learn only where nothing else is.
_GRAMMAR_NAMES = (("pos_tags", "upos", "pos", "xpos", "chunk_tags"),)
_WORD_NAMES = (("tokens", "words"), ("text", "sentence", "utterance", "query"))
_NUMBER_NAMES = ("label", "labels", "target", "targets", "y", "score", "scores", "rating", "value")
_SAMPLE_ROWS = 500


def find_task_roles(
    dataset: datasets.Dataset,
    *,
    inputs: str | Sequence[str] | None = None,
    label: str | None = None,
    task: Task | None = None,
    tags: str | None = None,
) -> Roles:
    """The roles of a data set's columns and the task that they hold, found where it is not named.

    A column of tags is one with a tag for each word in at least half of the first 500 rows (a column named
    `labels` or `label`: in nine of ten, where not all texts have the same number of words).

    Raises:
        BadInputError: a named column does not exist, or the roles cannot be told from the names and types.

    >>> import datasets
    >>> rows = {"text": ["to rome", "fly home"], "slots": ["O B-city", "O O"], "intent": ["go", "fly"]}
    >>> find_task_roles(datasets.Dataset.from_dict(rows)).task
    'intent_slots'
    """
    if task is not None and task not in TASKS:
        raise BadInputError(f"There is no task '{task}'; there are {', '.join(TASKS)}.")
    if tags is not None:
        require_column(tags, dataset.column_names)
        if task is not None and task not in TAG_TASKS:
            raise BadInputError(f"The task '{task}' has no tags; leave out tags, or the task.")
    if label is not None:
        require_column(label, dataset.column_names)
    named = [inputs] if isinstance(inputs, str) else list(inputs) if inputs is not None else None
    for column in named or ():
        require_column(column, dataset.column_names)
    if task in TAG_TASKS or tags is not None:
        return _with_named_tags(dataset, named, label, task, tags)
    if task is None and (pair := _tagged(dataset, named, label)) is not None:
        only_tags = pair[1] == label
        return _tag_roles(dataset, *pair, label, "token_classification" if only_tags else None)
    if task == "regression" and label is None:
        numbers = [
            name for name in _NUMBER_NAMES if name in dataset.column_names and name not in (named or ())
        ]
        label = numbers[0] if numbers else None
    found = find_roles(dataset, inputs=inputs, label=label)
    if task is None:
        several = is_list(dataset.data.schema.field(found.label).type)
        task = "multilabel" if several else "classification"
    return dataclasses.replace(found, task=task)


def _with_named_tags(
    dataset: datasets.Dataset,
    inputs: list[str] | None,
    label: str | None,
    task: Task | None,
    tags: str | None,
) -> Roles:
    """Roles where the user says that words have tags."""
    if tags is None and task == "token_classification" and label is not None:
        tags, label = label, None
    words = inputs[0] if inputs else None
    if tags is None:
        pair = _tagged(dataset, inputs, label, asked=True)
        if pair is None:
            raise BadInputError(
                f"No column with a tag for each word is to be found for the task '{task}'; name it with tags."
            )
        return _tag_roles(dataset, *pair, label, task)
    if words is None:
        there = [c for c in _word_columns(dataset) if c not in (tags, label)]
        lined_up = [column for column in there if _lines_up(dataset, column, tags, 0.5)]
        if not there:
            raise BadInputError("No column of texts or words is to be found; name it with input.")
        words = (lined_up or there)[0]
    return _tag_roles(dataset, words, tags, label, task)


def _tag_roles(
    dataset: datasets.Dataset, words: str, tags: str, label: str | None, task: Task | None
) -> Roles:
    """Roles of a column of words and one of tags, with the intent if there is one and it is wanted."""
    schema = dataset.data.schema
    if not (_is_text(schema.field(words).type) or _is_words(schema.field(words).type)):
        raise BadInputError(f"Tags need words, but column '{words}' holds {schema.field(words).type}.")
    if label == tags:
        label = None
    intent = label
    if label is None and task != "token_classification":
        others = [c for c in dataset.column_names if c not in (words, tags)]
        others = [c for c in others if not is_list(schema.field(c).type)]
        intent = find_label(dataset, others) if task == "intent_slots" else label_or_none(dataset, others)
    elif task == "token_classification":
        intent = None
    form = "tokens" if _is_words(schema.field(words).type) else "text"
    found: Task = "token_classification" if intent is None else "intent_slots"
    return Roles("text", form, (words,), intent or tags, task=found, tags=tags)


def _tagged(
    dataset: datasets.Dataset, inputs: list[str] | None, label: str | None, *, asked: bool = False
) -> tuple[str, str] | None:
    """The column of words and the column of their tags, if there are such."""
    if inputs is not None and len(inputs) != 1:
        return None
    words = _word_columns(dataset) if inputs is None else inputs
    words = [column for column in words if column != label]
    if label is not None:
        by_label = _first(dataset, words, [[label]], 0.9)
        if by_label is not None and not asked:
            return by_label
    if (found := _first(dataset, words, _named_groups(dataset, _TAG_NAMES), 0.5)) is not None:
        return found
    if (
        label is None
        and (found := _first(dataset, words, _named_groups(dataset, (_LABELS,)), 0.9)) is not None
    ):
        return found
    alone = label is None and not label_or_none_quietly(dataset)
    if alone or asked:
        return _first(dataset, words, _named_groups(dataset, _GRAMMAR_NAMES), 0.5)
    return None


def label_or_none_quietly(dataset: datasets.Dataset) -> bool:
    """Whether some column could be the label of a classification."""
    try:
        return label_or_none(dataset, list(dataset.column_names)) is not None
    except BadInputError:
        return True


def _named_groups(dataset: datasets.Dataset, groups: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[c for c in dataset.column_names if c.strip().lower() in group] for group in groups]


def _first(
    dataset: datasets.Dataset, words: Sequence[str], groups: Sequence[Sequence[str]], share: float
) -> tuple[str, str] | None:
    """The first column of words that a column of a group lines up with, and that column."""
    for group in groups:
        pairs = [
            (column, tags)
            for tags in group
            for column in words
            if tags != column and _lines_up(dataset, column, tags, share)
        ]
        several = sorted({tags for _, tags in pairs})
        if len(several) > 1:
            raise BadInputError(
                f"Both '{several[0]}' and '{several[1]}' could be the tags of the words; name one with tags."
            )
        if pairs:
            return pairs[0]
    return None


def _word_columns(dataset: datasets.Dataset) -> list[str]:
    """Columns that may hold words: lists of strings first, then texts, conventional names before others."""
    schema = dataset.data.schema
    lists = [c for c in dataset.column_names if _is_words(schema.field(c).type)]
    texts = [c for c in dataset.column_names if _is_text(schema.field(c).type)]
    tags = {name for group in (*_TAG_NAMES, *_GRAMMAR_NAMES, _LABELS) for name in group}
    found = [c for c in [*lists, *texts] if c.strip().lower() not in tags]
    names = [name for group in _WORD_NAMES for name in group]
    place = {name: index for index, name in enumerate(names)}
    return sorted(found, key=lambda column: place.get(column.strip().lower(), len(names)))


def _lines_up(dataset: datasets.Dataset, words: str, tags: str, share: float) -> bool:
    """Whether as many tags as words stand in that share of the first rows, and not only in one-word rows."""
    kind = dataset.data.schema.field(tags).type
    if not (_is_text(kind) or (is_list(kind) and _is_tag(kind.value_type))):
        return False
    table = rows_at(dataset, [words, tags], slice(0, _SAMPLE_ROWS))
    texts, column = one_array(table, words), one_array(table, tags)
    counts = [len(row) for row in words_of(texts)]
    found = list_lengths(column).tolist() if is_list(kind) else [len(row) for row in words_of(column)]
    rows = [(a, b) for a, b in zip(counts, found, strict=True) if a and b]
    equal = [a for a, b in rows if a == b]
    if share > 0.5 and len(set(equal)) < 2:
        return False
    return bool(equal) and max(equal) > 1 and len(equal) >= share * len(rows)


def _is_tag(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or _is_text(kind) or pa.types.is_dictionary(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_words(kind: Any) -> bool:
    return is_list(kind) and _is_text(kind.value_type)
