"""Export formats by name, each with a card; what a format is given to write (where the source lies), what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datadiet.data import TASKS, Examples
from datadiet.data.examples import IGNORED, TAG_TASKS
from datadiet.data.origin import Origin
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.registry import Registry
from datadiet.jobs.export.plan import Plan
from datadiet.jobs.export.rows import LabelColumn, lie_in_files


@dataclass(frozen=True, eq=False)
class Job:
    """What a format is given to write.

    Args:
        plan: what stays.
        label: the label column of the source.
        origin: the files of the source, where it has some.
        folder: an empty folder.
        advance: to be called with the number of examples that were written.
        format: the name that was asked for.
        shard_size: bytes that a shard may have.
        keep_formulas: leave texts in CSV as they are that a spreadsheet would run.
        scores: a score table whose models give probabilities, or its file.
        machine: arguments of `datadiet.engine.setup.prepare`, for these models.
    """

    plan: Plan
    label: LabelColumn
    origin: Origin
    folder: Path
    advance: Callable[[int], Any]
    format: str
    shard_size: int = 1 << 30
    keep_formulas: bool = False
    scores: Any = None
    machine: Mapping[str, Any] = field(default_factory=dict)

    @property
    def copies(self) -> bool:
        """Whether the tables of the source are to be copied, without the rows that leave, instead of made anew."""
        in_files = any(lie_in_files(plan.part) for plan in self.plan.parts)
        return self.format == "same" and bool(self.origin.files) and not in_files


@dataclass(eq=False)
class WriteResult:
    """Which file holds which example, and what is to be said about it.

    Args:
        files: part -> one path below the folder for each example that stays, or one for all; a part that
            is not written is missing.
        class_names: name of a class folder, or label in a table -> name of the class, of those that differ.
        column_names: name in a table -> name of the column, of those that differ.
        input_columns: what the inputs are called that are read again; empty for the names of the source.
        label_column: what the label column is called that is read again; empty for the name of the source.
        own_columns: columns that are read again and are none of the source.
        columns_left_out: columns of the source that the format has no place for.
        columns_changed: column -> what of it is read again as something else, in one sentence.
        load_options: arguments of `datadiet.load` without which other columns would be taken for input or label.
        neutralised: part -> ids of the examples with a text that a spreadsheet would have run as a formula.
        notes: sentences for people.
        keeps_names: whether reading the format again gives class names and their order by itself.
    """

    files: dict[str, list[str] | str] = field(default_factory=dict)
    class_names: dict[str, str] = field(default_factory=dict)
    column_names: dict[str, str] = field(default_factory=dict)
    input_columns: tuple[str, ...] = ()
    label_column: str = ""
    own_columns: tuple[str, ...] = ()
    columns_left_out: tuple[str, ...] = ()
    columns_changed: dict[str, str] = field(default_factory=dict)
    load_options: dict[str, Any] = field(default_factory=dict)
    neutralised: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    keeps_names: bool = False


Write = Callable[[Job], WriteResult]


@dataclass(frozen=True)
class FormatCard:
    """What there is to know of an export format before anything is written.

    Args:
        name: what `export(format=...)` calls it.
        about: what is written, in one sentence.
        write: the function that writes it.
        tasks: the tasks whose labels it can hold.
        kinds: the kinds of data whose tasks are looked at; of other kinds the writer says itself that it has no place.
        refusal: what is said of another task, with places for the `{name}` and `{task}` of the data and its column
            `{label}`.
        check: refuses data whose labels it cannot hold for another reason; given the data, its label column, the name.
        tool: whether it is for another tool, and not to be loaded again.
        train_only: whether the test part has no place in it.
        needs_scores: whether it is made with the models of a score table.
    """

    name: str
    about: str
    write: Write
    tasks: tuple[str, ...] = TASKS
    kinds: tuple[str, ...] = ("image", "text", "vector")
    refusal: str = ""
    check: Callable[[Examples, LabelColumn, str], None] | None = None
    tool: bool = False
    train_only: bool = False
    needs_scores: bool = False


FORMATS: Registry[FormatCard] = Registry("format")


def export_format(name: str, about: str, **card: Any) -> Callable[[Write], Write]:
    """Register the function below as the writer of a format.

    Args:
        name: of the format.
        about: what is written, in one sentence.
        card: further fields of `FormatCard`.

    Example:
        >>> @export_format("nothing", "No file at all.", tool=True)
        ... def write_nothing(job: Job) -> WriteResult:
        ...     return WriteResult()
        >>> FORMATS["nothing"].about
        'No file at all.'
        >>> FORMATS.forget("nothing")
    """

    def register(write: Write) -> Write:
        FORMATS.add(name, FormatCard(name, about, write, **card))
        return write

    return register


@export_format(
    "same", "The source's own format; what is in memory, or comes from the hub, becomes `datasets`."
)
def write_same(job: Job) -> WriteResult:
    """What the format of the source writes; tables are copied, see `Job.copies`."""
    return FORMATS[job.origin.form].write(job)


def check_format(examples: Examples, label: LabelColumn, format: str) -> None:
    """Refuse a format that cannot say what the labels of these examples are.

    Args:
        examples: the data.
        label: its label column.
        format: what is written; where the source's own is, the form of the source.

    Raises:
        BadInputError: lists, numbers or untagged words where the format has no place for them.
    """
    if format == "mixed":
        raise BadInputError(
            f"'{examples.source}' holds tables of several formats; say which to write with --format."
        )
    card = FORMATS[format]
    if examples.task not in card.tasks and examples.kind in card.kinds:
        raise BadInputError(
            card.refusal.format(name=examples.name, task=examples.task, label=label.name, format=format)
        )
    if card.check is not None:
        card.check(examples, label, format)


def refuse_untagged(examples: Examples, label: LabelColumn, format: str) -> None:
    """Raise `BadInputError` where some words have no tag: for formats that cannot say so."""
    parts = (examples.train, examples.test) if examples.task in TAG_TASKS else ()
    if any(part.targets is not None and (part.targets.values == IGNORED).any() for part in parts):
        raise BadInputError(
            f"Some words have no tag ({IGNORED} in column '{label.tags}'), which {format} cannot say of tags with "
            "names; export it to parquet or datasets."
        )


def refuse_untagged_names(examples: Examples, label: LabelColumn, format: str) -> None:
    """The same where tags are class numbers, which are replaced by their names."""
    if label.tags in label.list_names:
        refuse_untagged(examples, label, format)
