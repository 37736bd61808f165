"""Which columns are the inputs and which is the label: named by the user, or found by convention."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from datadiet.data.columns.arrow import is_list, rows_at
from datadiet.data.examples import Kind, Task
from datadiet.foundation.errors import BadInputError

if TYPE_CHECKING:
    import datasets


# In each list, earlier groups win over later ones; two columns of one group are ambiguous.
_LABEL_NAMES = (
    ("label", "labels"),
    ("target", "targets", "class", "classes", "class_label", "y", "category", "intent", "sentiment", "topic"),
)
_TEXT_NAMES = (
    ("text", "texts"),
    (
        "sentence",
        "sentences",
        "content",
        "utterance",
        "query",
        "question",
        "document",
        "review",
        "title",
        "body",
    ),
)
_TEXT_PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "answer"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence_a", "sentence_b"),
)
_IMAGE_NAMES = (("image", "img", "images"), ("pixel_values", "pixels", "picture", "photo"))
_PATH_NAMES = (
    "image",
    "img",
    "image_path",
    "img_path",
    "file_name",
    "filename",
    "file",
    "path",
    "filepath",
    "file_path",
)
_VECTOR_NAMES = (("features", "vector", "embedding", "embeddings", "x", "inputs", "input"),)
_ROW_NUMBER_NAMES = frozenset(
    {
        "id",
        "ids",
        "idx",
        "index",
        "row",
        "row_id",
        "example_id",
        "uid",
        "uuid",
        "unnamed: 0",
        "__index_level_0__",
        "",
    }
)
IMAGE_SUFFIXES = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".avif",
    }
)


@dataclass(frozen=True)
class Roles:
    """The input columns with their kind and form, the label column, the task and its column of tags.

    `form` says how the inputs are stored: "image" (a `datasets.Image` column or a struct of bytes and path),
    "path" (strings that name image files), "array" (nested lists of numbers that are images), "text",
    "tokens" (lists of words), "numbers" (number columns) or "list" (one column of lists of numbers). Where
    words have tags and nothing else is asked, the column of tags is the label.
    """

    kind: Kind
    form: str
    inputs: tuple[str, ...]
    label: str
    ignored: tuple[str, ...] = ()
    task: Task = "classification"
    tags: str | None = None


def find_roles(
    dataset: datasets.Dataset, *, inputs: str | Sequence[str] | None = None, label: str | None = None
) -> Roles:
    """The roles of a data set's columns.

    Raises:
        BadInputError: a named column does not exist, or the roles cannot be told from the names and types.

    >>> import datasets
    >>> find_roles(datasets.Dataset.from_dict({"text": ["a", "b"], "intent": ["x", "y"]})).inputs
    ('text',)
    """
    columns = list(dataset.column_names)
    named = [inputs] if isinstance(inputs, str) else list(inputs) if inputs is not None else None
    for wanted in [*(named or []), *([label] if label is not None else [])]:
        require_column(wanted, columns)
    if named is not None and label is not None and label in named:
        raise BadInputError(f"Column '{label}' cannot be the input and the label at once; name two columns.")
    label = (
        label if label is not None else find_label(dataset, [c for c in columns if c not in (named or [])])
    )
    forms = {column: _form(dataset, column) for column in columns if column != label}
    if named is None:
        named, ignored = _find_inputs(forms, label)
    else:
        if not named:
            raise BadInputError("No input column is named; give at least one.")
        ignored = []
    return _roles(named, forms, label, ignored)


def require_column(wanted: str, columns: Sequence[str], where: str = "the data") -> None:
    """Raise a BadInputError with the nearest name and the list if a column does not exist."""
    if wanted not in columns:
        nearest = difflib.get_close_matches(wanted, columns, n=1, cutoff=0.5)
        hint = f" (did you mean '{nearest[0]}'?)" if nearest else ""
        raise BadInputError(
            f"There is no column '{wanted}' in {where}{hint}; its columns are {_listed(columns)}."
        )


def _roles(named: Sequence[str], forms: dict[str, str], label: str, ignored: Sequence[str]) -> Roles:
    """Check that the input columns go together."""
    kinds = {forms[column] for column in named}
    if kinds <= {"number", "list"} and (kinds == {"number"} or len(named) == 1):
        form = "numbers" if kinds == {"number"} else "list"
        return Roles("vector", form, tuple(named), label, tuple(ignored))
    if kinds == {"text"} and len(named) <= 2:
        return Roles("text", "text", tuple(named), label, tuple(ignored))
    if kinds == {"tokens"} and len(named) == 1:
        return Roles("text", "tokens", tuple(named), label, tuple(ignored))
    if len(named) == 1 and kinds <= {"image", "path", "array"}:
        return Roles("image", kinds.pop(), tuple(named), label, tuple(ignored))
    stated = ", ".join(f"'{column}' ({forms[column]})" for column in named)
    raise BadInputError(
        f"The columns {stated} cannot be inputs together; use one image column, one or two text columns, "
        "number columns, or one column of lists."
    )


def find_label(dataset: datasets.Dataset, columns: Sequence[str]) -> str:
    """The label column among the given ones, by its name or its class names.

    Raises:
        BadInputError: there is none, or several would do equally well.
    """
    found = label_or_none(dataset, columns)
    if found is None:
        raise BadInputError(f"No label column is to be found among {_listed(columns)}; name it with label.")
    return found


def label_or_none(dataset: datasets.Dataset, columns: Sequence[str]) -> str | None:
    """The label column among the given ones, None if there is none.

    Raises:
        BadInputError: several would do equally well.
    """
    for group in _LABEL_NAMES:
        found = _named_in(columns, group)
        if len(found) > 1:
            raise BadInputError(
                f"Both {_listed(found, ' and ')} could be the label column; name one with label."
            )
        if found:
            return found[0]
    class_labels = [c for c in columns if hasattr(dataset.features[c], "names")]
    if len(class_labels) == 1:
        return class_labels[0]
    if class_labels:
        raise BadInputError(f"Any of {_listed(class_labels)} could be the label column; name one with label.")
    return None


def _find_inputs(forms: dict[str, str], label: str) -> tuple[list[str], list[str]]:
    """Input columns by type and convention, and the columns that look like row numbers."""
    by_form: dict[str, list[str]] = {}
    for column, form in forms.items():
        by_form.setdefault(form, []).append(column)
    images = by_form.get("image", []) + by_form.get("array", [])
    paths = [column for column in by_form.get("path", []) if _plain(column) in _PATH_NAMES]
    if images or paths:
        return [_only(images or paths, _IMAGE_NAMES, "image")], []
    texts = by_form.get("text", []) + by_form.get("path", [])
    lowered = {_plain(column): column for column in texts}
    for group in _TEXT_NAMES[:1]:
        if len(found := _named_in(texts, group)) == 1:
            return found, []
    for first, second in _TEXT_PAIRS:
        if first in lowered and second in lowered:
            return [lowered[first], lowered[second]], []
    rows = [column for column in by_form.get("number", []) if _plain(column) in _ROW_NUMBER_NAMES]
    numbers = [column for column in by_form.get("number", []) if column not in rows]
    lists = by_form.get("list", [])
    if texts and (any(_named_in(texts, group) for group in _TEXT_NAMES) or not (numbers or lists)):
        return [_only(texts, _TEXT_NAMES, "text")], []
    if texts:
        raise BadInputError(
            f"The inputs could be text ({_listed(texts)}) or numbers ({_listed(numbers + lists)}); "
            "name them with input."
        )
    if lists:
        if numbers and not any(_named_in(lists, group) for group in _VECTOR_NAMES):
            raise BadInputError(
                f"The inputs could be lists ({_listed(lists)}) or numbers ({_listed(numbers)}); "
                "name them with input."
            )
        return [_only(lists, _VECTOR_NAMES, "vector")], []
    if numbers:
        return numbers, rows
    if words := _named_in(by_form.get("tokens", []), ("tokens", "words")):
        return [_only(words, (), "words")], []
    raise BadInputError(
        f"No input column is to be found beside the label '{label}' (columns: {_listed(list(forms))}); "
        "name image, text or number columns with input."
    )


def _only(columns: Sequence[str], names: Sequence[Sequence[str]], what: str) -> str:
    """The one column, or the one with a conventional name."""
    if len(columns) == 1:
        return columns[0]
    for group in names:
        found = _named_in(columns, group)
        if len(found) == 1:
            return found[0]
        if found:
            break
    raise BadInputError(
        f"Any of the {what} columns {_listed(columns)} could be the input; name one with input."
    )


def _form(dataset: datasets.Dataset, column: str) -> str:
    """What a column holds: image, path, array, text, tokens, number, list, or other."""
    feature = dataset.features[column]
    if type(feature).__name__ == "Image":
        return "image"
    if type(feature).__name__.startswith("Array") and len(getattr(feature, "shape", ())) in (2, 3):
        return "array"
    kind = dataset.data.schema.field(column).type
    if pa.types.is_struct(kind):
        fields = {kind.field(index).name for index in range(kind.num_fields)}
        return "image" if fields == {"bytes", "path"} else "other"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "image" if _plain(column) in {name for group in _IMAGE_NAMES for name in group} else "other"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "path" if _are_image_paths(dataset, column) else "text"
    if _is_number(kind):
        return "number"
    if is_list(kind) and (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)):
        return "tokens"
    depth = 0
    while is_list(kind):
        depth, kind = depth + 1, kind.value_type
    if depth and _is_number(kind):
        return "list" if depth == 1 else "array" if depth <= 3 else "other"
    return "other"


def _is_number(kind: Any) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def _are_image_paths(dataset: datasets.Dataset, column: str) -> bool:
    values = rows_at(dataset, [column], slice(0, 20))[column].to_pylist()
    present = [value for value in values if value]
    return bool(present) and all(PurePath(value).suffix.lower() in IMAGE_SUFFIXES for value in present)


def _plain(column: str) -> str:
    return column.strip().lower()


def _named_in(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    return [column for column in columns if _plain(column) in names]


def _listed(columns: Sequence[str], joint: str = ", ") -> str:
    shown = [f"'{column}'" for column in columns[:20]]
    return (
        joint.join(shown) + (f" and {len(columns) - 20} more" if len(columns) > 20 else "")
        if columns
        else "none"
    )
