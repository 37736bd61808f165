"""Which columns are the inputs, the label and the tags, and which task they hold: named by the user, or found.

What is found comes from conventional names and from types, and tags of words from whether they line up with words.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from PIL import Image

from datadiet.data import arrow
from datadiet.data.columns.images import IMAGE_FORMATS
from datadiet.data.examples import TAG_TASKS, TASKS, Kind, Task
from datadiet.foundation.errors import BadInputError

Groups = Sequence[Sequence[str]]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _groups(*texts: str) -> Groups:
    return tuple(_words(text) for text in texts)


# In each list, earlier groups win over later ones; two columns of one group are ambiguous.
_LABEL_NAMES = _groups(
    "label labels", "target targets class classes class_label y category intent sentiment topic"
)
_TEXT_NAMES = _groups(
    "text texts", "sentence sentences content utterance query question document review title body"
)
_TEXT_PAIRS = _groups(
    "premise hypothesis",
    "sentence1 sentence2",
    "sentence_1 sentence_2",
    "question1 question2",
    "question sentence",
    "question answer",
    "text1 text2",
    "text_a text_b",
    "sentence_a sentence_b",
)
_IMAGE_NAMES = _groups("image img images", "pixel_values pixels picture photo")
_PATH_NAMES = _words("image img image_path img_path file_name filename file path filepath file_path")
_VECTOR_NAMES = _groups("features vector embedding embeddings x inputs input")
_ROW_NUMBER_NAMES = frozenset(
    ["unnamed: 0", "__index_level_0__", "", *_words("id ids idx index row row_id example_id uid uuid")]
)
_NO_IMAGES = frozenset([".pfm", ".avifs", ".icb", ".vda", ".vst"])
IMAGE_SUFFIXES = (
    frozenset(suffix for suffix, form in Image.registered_extensions().items() if form in IMAGE_FORMATS)
    - _NO_IMAGES
)
_TAG_NAMES = _groups(
    "slots slot_tags slot_labels slot", "tags ner_tags ner bio bio_tags token_labels word_labels"
)
_LABELS = _groups("labels label")
# Tags of the grammar: something to learn only where nothing else is.
_GRAMMAR_NAMES = _groups("pos_tags upos pos xpos chunk_tags")
_WORD_NAMES = _words("tokens words text sentence utterance query")
_NUMBER_NAMES = _words("label labels target targets y score scores rating value")
_SAMPLE_ROWS = 500
_DATE = re.compile(
    r"\d{4}-\d\d?(-\d\d?)?([T ]\d\d?:\d\d.*)?|\d\d?[/.]\d\d?[/.]\d{2,4}( .*)?|\d\d?:\d\d(:\d\d(\.\d+)?)?"
)
_GROUPED = r"(\d{1,3}([,.'\u00a0\u202f ]\d{3})+([.,]\d+)?|\d+,\d+)"  # thousands, or a decimal comma
_UNIT = r"[%$€£¥]"
_NUMERAL = re.compile(
    rf"[-+]?({_UNIT} ?)?{_GROUPED}( ?{_UNIT})?|[-+]?\d+(\.\d+)? ?{_UNIT}|[-+]?{_UNIT} ?\d+(\.\d+)?"
)


@dataclass(frozen=True)
class Roles:
    """The input columns with their kind and form, the label column, the task and its column of tags.

    `form` says how the inputs are stored: "image" (a `datasets.Image` column or a struct of bytes and path),
    "path" (strings that name image files), "array" (nested lists of numbers that are images), "text",
    "tokens" (lists of words), "numbers" (number columns) or "list" (one column of lists of numbers). Where
    words have tags and nothing else is asked, the column of tags is the label. `ignored` are all other columns, and
    `notes` what there is to say of them.
    """

    kind: Kind
    form: str
    inputs: tuple[str, ...]
    label: str
    ignored: tuple[str, ...] = ()
    task: Task = "classification"
    tags: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def used(self) -> tuple[str, ...]:
        """The columns of inputs, label and tags."""
        return (*self.inputs, self.label, *([self.tags] if self.tags is not None else []))

    def ignoring(self, columns: Sequence[str]) -> Roles:
        """These roles with all other columns as those that are ignored."""
        used = set(self.used)
        return replace(self, ignored=tuple(column for column in columns if column not in used))


def find_roles(
    dataset: Dataset,
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
    >>> find_roles(Dataset.from_dict({"text": ["a", "b"], "intent": ["x", "y"]})).inputs
    ('text',)
    >>> rows = {"text": ["to rome", "fly home"], "slots": ["O B-city", "O O"], "intent": ["go", "fly"]}
    >>> find_roles(Dataset.from_dict(rows)).task
    'intent_slots'
    """
    columns = list(dataset.column_names)
    named = [inputs] if isinstance(inputs, str) else None if inputs is None else list(inputs)
    if task is not None and task not in TASKS:
        raise BadInputError(f"There is no task '{task}'; there are {', '.join(TASKS)}.")
    if tags is not None:
        require_column(tags, columns)
        if task is not None and task not in TAG_TASKS:
            raise BadInputError(f"The task '{task}' has no tags; leave out tags, or the task.")
    for wanted in [*([] if label is None else [label]), *(named or [])]:
        require_column(wanted, columns)
    if task is None or task in TAG_TASKS:
        tagged = _find_tagged(dataset, named, label, task, tags)
        if tagged is not None:
            return tagged.ignoring(columns)
    if named is not None and label in named:
        raise BadInputError(f"Column '{label}' cannot be the input and the label at once; name two columns.")
    free = [column for column in columns if column not in (named or [])]
    if label is None and task == "regression":
        label = next((name for name in _NUMBER_NAMES if name in free), None)
    if label is None:
        label = _find_label(dataset, free)
    assert label is not None
    notes: list[str] = []
    if named is None:
        named = _find_inputs(_forms(dataset, [c for c in columns if c != label]), label, notes)
    elif not named:
        raise BadInputError("No input column is named; give at least one.")
    kind, form = input_form(dataset, named)
    if task is None:
        lists = arrow.is_list(dataset.data.schema.field(label).type)
        task = "multilabel" if lists and _has_several(dataset, label) else "classification"
        if lists and task == "classification":
            notes.append(
                f"The lists of column '{label}' hold one label each; with task='multilabel' they are sets."
            )
    return Roles(kind, form, tuple(named), label, task=task, notes=tuple(notes)).ignoring(columns)


def _has_several(dataset: Dataset, label: str) -> bool:
    """Whether the lists of a label column are not only lists of one."""
    lengths = arrow.list_lengths(arrow.whole_column(dataset, label).drop_null())
    return not len(lengths) or bool((lengths != 1).any())


def conventional_label(columns: Sequence[str]) -> str | None:
    """The first of the columns that are called as label columns are, None if none is.

    >>> conventional_label(["text", "topic", "label"]), conventional_label(["a", "b"])
    ('label', None)
    """
    return next((found[0] for group in _LABEL_NAMES if (found := _named_in(columns, group))), None)


def require_column(wanted: str, columns: Sequence[str], where: str = "the data") -> None:
    """Raise a BadInputError with the nearest name and the list if a column does not exist."""
    if wanted not in columns:
        nearest = difflib.get_close_matches(wanted, columns, n=1, cutoff=0.5)
        hint = f" (did you mean '{nearest[0]}'?)" if nearest else ""
        raise BadInputError(
            f"There is no column '{wanted}' in {where}{hint}; its columns are {listed(columns)}."
        )


def input_form(dataset: Dataset, columns: Sequence[str]) -> tuple[Kind, str]:
    """The kind of the examples and the form (see `Roles`) of input columns.

    Raises:
        BadInputError: the columns do not go together.
    """
    plain = {"date": "text", "numeral": "text", "code": "number"}
    forms = {column: plain.get(form, form) for column, form in _forms(dataset, columns).items()}
    found = set(forms.values())
    if found == {"number"}:
        return "vector", "numbers"
    if found == {"text"} and len(columns) <= 2:
        return "text", "text"
    if len(columns) == 1:
        form = found.pop()
        if form in ("list", "tokens"):
            return "vector" if form == "list" else "text", form
        if form in ("image", "path", "array"):
            return "image", form
    stated = ", ".join(f"'{column}' ({form})" for column, form in forms.items())
    raise BadInputError(
        f"The columns {stated} cannot be inputs together; use one image column, one or two text columns, "
        "number columns, or one column of lists."
    )


def _find_label(dataset: Dataset, columns: Sequence[str], *, required: bool = True) -> str | None:
    """The label column among the given ones, by its name or its class names; several are an error."""
    for group in _LABEL_NAMES:
        found = _named_in(columns, group)
        if len(found) > 1:
            raise BadInputError(
                f"Both {listed(found, ' and ')} could be the label column; name one with label='...'."
            )
        if found:
            return found[0]
    features = dataset.features
    class_labels = [c for c in columns if hasattr(features[c], "names")]
    if len(class_labels) > 1:
        raise BadInputError(
            f"Any of {listed(class_labels)} could be the label column; name one with label='...'."
        )
    if required and not class_labels:
        raise BadInputError(
            f"No label column is to be found among {listed(columns)}; name it with label='...'."
        )
    return class_labels[0] if class_labels else None


def _find_inputs(forms: dict[str, str], label: str, notes: list[str]) -> list[str]:
    """Input columns by type and convention; what there is to say of others is added to `notes`."""

    def of_form(*wanted: str) -> list[str]:
        return [column for form in wanted for column, found in forms.items() if found == form]

    images = of_form("image", "array") or _named_in(of_form("path"), _PATH_NAMES)
    if images:
        return [_only(images, _IMAGE_NAMES, "image")]
    texts = of_form("text", "path")
    if len(found := _named_in(texts, _TEXT_NAMES[0])) == 1:
        return found
    lowered = {_plain(column): column for column in texts}
    for pair in _TEXT_PAIRS:
        if all(name in lowered for name in pair):
            return [lowered[name] for name in pair]
    numerals = of_form("numeral")
    if numerals:
        raise BadInputError(
            f"Column '{numerals[0]}' holds numbers with separators or units, so texts; write them plainly, "
            "such as 1234.5, or name the input columns with input='...'."
        )
    codes = of_form("code")
    if codes:
        notes.append(
            f"{listed(codes)} {'holds' if len(codes) == 1 else 'hold'} whole numbers beyond 2^53, as ids are, and "
            f"{'is no input' if len(codes) == 1 else 'are no inputs'}; name columns with input='...' to choose."
        )
    rows = _named_in(of_form("number"), _ROW_NUMBER_NAMES)
    numbers = [column for column in of_form("number") if column not in rows]
    lists = of_form("list")
    if texts and (any(_named_in(texts, group) for group in _TEXT_NAMES) or not (numbers or lists)):
        return [_only(texts, _TEXT_NAMES, "text")]
    if texts:
        raise BadInputError(
            f"The inputs could be text ({listed(texts)}) or numbers ({listed(numbers + lists)}); "
            "name them with input='...'."
        )
    if lists:
        if numbers and not _named_in(lists, _VECTOR_NAMES[0]):
            raise BadInputError(
                f"The inputs could be lists ({listed(lists)}) or numbers ({listed(numbers)}); "
                "name them with input='...'."
            )
        return [_only(lists, _VECTOR_NAMES, "vector")]
    if numbers:
        return numbers
    if words := _named_in(of_form("tokens"), ("tokens", "words")):
        return [_only(words, (), "words")]
    raise BadInputError(
        f"No input column is to be found beside the label '{label}' (columns: {listed(list(forms))}); "
        "name image, text or number columns with input='...'."
    )


def _only(columns: Sequence[str], names: Groups, what: str) -> str:
    """The one column, or the one with a conventional name."""
    named = next((found for group in names if (found := _named_in(columns, group))), columns)
    for candidates in (columns, named):
        if len(candidates) == 1:
            return candidates[0]
    raise BadInputError(
        f"Any of the {what} columns {listed(columns)} could be the input; name one with input='...'."
    )


def _forms(dataset: Dataset, columns: Sequence[str]) -> dict[str, str]:
    """What each of some columns holds."""
    features = dataset.features  # a copy of all of them at every call
    return {column: _form(dataset, column, features[column]) for column in columns}


def _form(dataset: Dataset, column: str, feature: Any) -> str:
    """What a column holds: image, path, array, text, tokens, number, list, or other.

    Texts that name images are paths; those that are dates, or numbers with separators, are "date" and "numeral";
    whole numbers beyond those that a float64 tells apart are "code".
    """
    if type(feature).__name__ == "Image":
        return "image"
    if type(feature).__name__.startswith("Array") and len(getattr(feature, "shape", ())) in (2, 3):
        return "array"
    kind = dataset.data.schema.field(column).type
    if pa.types.is_struct(kind):
        return "image" if {field.name for field in kind} == {"bytes", "path"} else "other"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "image" if any(_named_in([column], group) for group in _IMAGE_NAMES) else "other"
    if arrow.is_text(kind):
        return _text_form(dataset, column)
    if arrow.is_words(kind):
        return "tokens"
    depth = 0
    while arrow.is_list(kind):
        depth, kind = depth + 1, kind.value_type
    if depth > 3 or not (arrow.is_number(kind) or pa.types.is_boolean(kind)):
        return "other"
    if depth == 0 and kind in (pa.int64(), pa.uint64()):
        ends = pc.min_max(arrow.whole_column(dataset, column)).as_py()
        if max(abs(ends["min"] or 0), abs(ends["max"] or 0)) > 2**53:
            return "code"
    return ("number", "list", "array", "array")[depth]


def _text_form(dataset: Dataset, column: str) -> str:
    """Whether the first texts of a column are paths of images, dates, numbers in a spelling of their own, or text."""
    values = arrow.rows_at(dataset, [column], slice(0, 20))[column].to_pylist()
    present = [value.strip() for value in values if value and value.strip()]
    if not present:
        return "text"
    if all(PurePath(value).suffix.lower() in IMAGE_SUFFIXES for value in present):
        return "path"
    if all(map(_DATE.fullmatch, present)):
        return "date"
    return "numeral" if all(map(_NUMERAL.fullmatch, present)) else "text"


def require_alike(train: Dataset, test: Dataset, columns: Sequence[str]) -> None:
    """Raise a BadInputError if a column of the test part holds something else than that of the train part."""
    words = {"number": "numbers", "text": "texts", "list": "lists of numbers", "tokens": "lists of texts"}
    words |= {"image": "images", "array": "arrays"}
    plain = {"path": "text", "date": "text", "numeral": "text", "code": "number"}
    of_parts = [_forms(part, columns) for part in (train, test)]
    for column in columns:
        forms = [plain.get(found[column], found[column]) for found in of_parts]
        empty = pa.types.is_null(test.data.schema.field(column).type)
        if forms[0] == forms[1] or empty or set(forms) == {"text", "image"}:
            continue
        values = arrow.whole_column(test, column).to_pylist()
        there = [(row, value) for row, value in enumerate(values) if value is not None]
        row, value = next(
            (found for found in there if not _is_number(found[1])), there[0] if there else (0, None)
        )
        here, elsewhere = (words.get(form, form) for form in reversed(forms))
        raise BadInputError(
            f"Column '{column}' holds {here} in the test part (row {row}: {str(value)[:40]!r}), where the train part "
            f"holds {elsewhere}; write both parts alike."
        )


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _find_tagged(
    dataset: Dataset, inputs: list[str] | None, label: str | None, task: Task | None, tags: str | None
) -> Roles | None:
    """Roles where words have tags, which is asked for or found; None where nobody asks and none are found."""
    if task == "token_classification" and tags is None:
        tags, label = label, None
    if tags is None:
        pair = _tags_beside_words(dataset, inputs, label, asked=task is not None)
        if pair is None and task is not None:
            raise BadInputError(
                f"No column with a tag for each word is to be found for the task '{task}'; name it with tags='...'."
            )
        if pair is None:
            return None
        words, tags = pair
        if task is None and tags == label:
            task = "token_classification"
    elif inputs:
        words = inputs[0]
    else:
        there = [column for column in _word_columns(dataset) if column not in (tags, label)]
        if not there:
            raise BadInputError("No column of texts or words is to be found; name it with input='...'.")
        words = next((column for column in there if _lines_up(dataset, column, tags, 0.5)), there[0])
    schema = dataset.data.schema
    kind = schema.field(words).type
    if not (arrow.is_text(kind) or arrow.is_words(kind)):
        raise BadInputError(f"Tags need words, but column '{words}' holds {kind}.")
    intent = None if label == tags else label
    if task == "token_classification":
        intent = None
    elif intent is None:
        others = [column for column in dataset.column_names if column not in (words, tags)]
        others = [column for column in others if not arrow.is_list(schema.field(column).type)]
        intent = _find_label(dataset, others, required=task == "intent_slots")
    form = "tokens" if arrow.is_words(kind) else "text"
    found: Task = "token_classification" if intent is None else "intent_slots"
    return Roles("text", form, (words,), intent or tags, task=found, tags=tags)


def _tags_beside_words(
    dataset: Dataset, inputs: list[str] | None, label: str | None, *, asked: bool
) -> tuple[str, str] | None:
    """The first column of words that a column of tags lines up with, and that column, if there are such."""
    if inputs is not None and len(inputs) != 1:
        return None
    words = [c for c in (_word_columns(dataset) if inputs is None else inputs) if c != label]
    columns = dataset.column_names
    searches = [([_named_in(columns, group) for group in _TAG_NAMES], 0.5)]
    if label is None:
        searches.append(([_named_in(columns, group) for group in _LABELS], 0.9))
    elif not asked:
        searches.insert(0, ([[label]], 0.9))
    named = any(_named_in(columns, group) for group in _LABEL_NAMES)
    has_label = named or any(hasattr(feature, "names") for feature in dataset.features.values())
    if asked or (label is None and not has_label):
        searches.append(([_named_in(columns, group) for group in _GRAMMAR_NAMES], 0.5))
    for group, share in ((group, share) for groups, share in searches for group in groups):
        pairs = [
            (column, tags)
            for tags in group
            for column in words
            if tags != column and _lines_up(dataset, column, tags, share)
        ]
        several = sorted({tags for _, tags in pairs})
        if len(several) > 1:
            raise BadInputError(
                f"Both '{several[0]}' and '{several[1]}' could be the tags of the words; name one with tags='...'."
            )
        if pairs:
            return pairs[0]
    return None


def _word_columns(dataset: Dataset) -> list[str]:
    """Columns that may hold words: conventional names before others, then lists of strings before texts."""
    schema = dataset.data.schema
    lists = [c for c in dataset.column_names if arrow.is_words(schema.field(c).type)]
    texts = [c for c in dataset.column_names if arrow.is_text(schema.field(c).type)]
    tags = {name for group in (*_TAG_NAMES, *_GRAMMAR_NAMES, *_LABELS) for name in group}
    found = [c for c in [*lists, *texts] if _plain(c) not in tags]
    place = {name: index for index, name in enumerate(_WORD_NAMES)}
    return sorted(found, key=lambda column: place.get(_plain(column), len(place)))


def _lines_up(dataset: Dataset, words: str, tags: str, share: float) -> bool:
    """Whether as many tags as words stand in that share of the first rows, and not only in one-word rows."""
    kind, of_tags = (dataset.data.schema.field(column).type for column in (words, tags))
    if not (arrow.is_text(kind) or arrow.is_list(kind)):
        return False
    tag = of_tags.value_type if arrow.is_list(of_tags) else None
    numbered = tag is not None and (pa.types.is_integer(tag) or pa.types.is_dictionary(tag))
    if not (arrow.is_text(of_tags) or arrow.is_words(of_tags) or numbered):
        return False
    table = arrow.rows_at(dataset, [words, tags], slice(0, _SAMPLE_ROWS))
    counts, tag_counts = (
        arrow.word_counts(arrow.one_array(table, words)),
        arrow.word_counts(arrow.one_array(table, tags)),
    )
    both = (counts > 0) & (tag_counts > 0)
    equal = counts[both & (counts == tag_counts)]
    if share > 0.5 and len(set(equal.tolist())) < 2:
        return False
    return len(equal) > 0 and bool(equal.max() > 1) and len(equal) >= share * int(both.sum())


def _plain(column: str) -> str:
    return column.strip().lower()


def _named_in(columns: Sequence[str], names: Sequence[str] | frozenset[str]) -> list[str]:
    return [column for column in columns if _plain(column) in names]


def listed(columns: Sequence[str], joint: str = ", ") -> str:
    """Names in quotes, the first 20 of them."""
    more = f" and {len(columns) - 20} more" if len(columns) > 20 else ""
    return (joint.join(f"'{column}'" for column in columns[:20]) or "none") + more
