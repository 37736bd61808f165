"""Which formats can hold the labels of which task."""

from __future__ import annotations

from datadiet.classification_only import require_classification
from datadiet.data import Examples
from datadiet.data.target_rows import IGNORED, TAG_TASKS
from datadiet.errors import BadInputError
from datadiet.exporting.label_column import LabelColumn

_INSTEAD = "export it to parquet, datasets, jsonl or webdataset"


def check_format(examples: Examples, label: LabelColumn, format: str) -> None:
    """Refuse a format that cannot say what the labels of these examples are.

    Args:
        examples: the data.
        label: its label column.
        format: what is written; where the source's own is, the form of the source.

    Raises:
        BadInputError: lists, numbers or untagged words where the format has no place for them.
    """
    if format == "cleanlab":
        require_classification(examples, "The export for cleanlab", "choose another --format")
    if format in ("imagefolder", "fiftyone") and examples.kind == "image" and not label.has_classes:
        raise BadInputError(
            f"The format {format} has one class an image, and '{examples.name}' is of the task "
            f"'{examples.task}'; {_INSTEAD}."
        )
    if format == "csv" and examples.task == "multilabel":
        raise BadInputError(f"CSV has no lists, and '{label.name}' holds lists of labels; {_INSTEAD}.")
    if examples.task in TAG_TASKS:
        _check_tags(examples, label, format)


def _check_tags(examples: Examples, label: LabelColumn, format: str) -> None:
    parts = (examples.train, examples.test)
    untagged = any(part.targets is not None and (part.targets.values == IGNORED).any() for part in parts)
    named = label.tags in label.list_names
    if untagged and (format == "csv" or (named and format in ("jsonl", "webdataset"))):
        raise BadInputError(
            f"Some words have no tag ({IGNORED} in column '{label.tags}'), which {format} cannot say of tags with "
            "names; export it to parquet or datasets."
        )
    taken = ("id", "label") if label.has_classes else ("id",)
    if format == "webdataset" and label.tags in taken:
        raise BadInputError(
            f"The column of tags is called '{label.tags}', which means something else in a shard; rename it, or "
            "export it to parquet, datasets or jsonl."
        )
