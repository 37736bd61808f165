"""The smaller data set, written as a whole: planned, checked, written beside the target, and put in its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import Unpack

from datadiet.data import Examples
from datadiet.data.arrow import chunks_of, one_array
from datadiet.data.sources.exported import MANIFEST_JSON, is_export
from datadiet.engine.reloading import read_examples
from datadiet.foundation.atomic import mend_folder, whole_folder
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import with_options
from datadiet.foundation.outputs import check_folder, check_target, is_of_workspace, usable_name
from datadiet.foundation.progress import ProgressDisplay
from datadiet.jobs.export.formats import (
    FORMATS,
    FormatCard,
    Job,
    Write,
    WriteResult,
    check_format,
)
from datadiet.jobs.export.manifest import write_classes, write_manifest
from datadiet.jobs.export.plan import make_plan, sha256_of
from datadiet.jobs.export.rows import LabelColumn, content_sizes
from datadiet.jobs.options import ExportOptions
from datadiet.jobs.outputs import inputs_of, read_results
from datadiet.scores import ScoreTable


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        folder: where it is.
        format: how it was written.
        kept: training examples that stay, relabelled ones included.
        dropped: training examples that do not.
        relabelled: training examples that stay with another label.
        total: training examples of the source.
        test: test examples that are in the export, relabelled ones included.
        bytes_before: of the inputs of all training examples (encoded images, texts, numbers).
        bytes_after: of those that stay.
        bytes_on_disk: of all files of the export but its manifest.
        test_dropped: test examples that were dropped by decision.
        test_relabelled: test examples that stay with another label.
        neutralised: examples with a text that a spreadsheet would have run.
        notes: sentences for people.
    """

    folder: str
    format: str
    kept: int
    dropped: int
    relabelled: int
    total: int
    test: int
    bytes_before: int
    bytes_after: int
    bytes_on_disk: int
    test_dropped: int = 0
    test_relabelled: int = 0
    neutralised: int = 0
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "notes": list(self.notes)}

    def __str__(self) -> str:
        saved = self.bytes_before - self.bytes_after
        share = f" ({saved / self.bytes_before:.0%})" if self.bytes_before else ""
        relabelled = f", {self.relabelled:,} of them relabelled" if self.relabelled else ""
        test = ""
        if self.test_dropped or self.test_relabelled:
            test = (
                f", and {self.test:,} of {self.test + self.test_dropped:,} test examples, {self.test_relabelled:,} of "
                "them relabelled"
            )
        elif self.test:
            test = f", and {self.test:,} test examples whole"
        return " ".join(
            [
                f"{self.kept:,} of {self.total:,} training examples stay{relabelled}{test}: {self.folder}",
                f"({self.format}, {_size(self.bytes_on_disk)}).",
                f"Saved: {self.dropped:,} examples, {_size(saved)} of {_size(self.bytes_before)}{share}.",
                *self.notes,
            ]
        )


@with_options(workspace=None)
def export(source: Any, to: str | Path, **options: Unpack[ExportOptions]) -> Exported:
    """Write what stays of a data set into a new folder, with a manifest; the source is only read.

    Args:
        source: the data, as for `datadiet.load`, or `Examples`.
        to: the folder that is made.

    Raises:
        BadInputError: what stays cannot be told, belongs to other data, or cannot be written in that format;
            or the target is not empty, or touches the source.
        RunFailedError: the disk is full; nothing is left of the export.

    Example:
        >>> import tempfile
        >>> from datadiet.data import load
        >>> folder = tempfile.mkdtemp()
        >>> data = (["good", "fine", "bad", "poor", "awful", "great"], [1, 1, 0, 0, 0, 1])
        >>> examples = load(data, test_fraction=0.4)
        >>> print(export(examples, folder, kept=examples.train.ids[:3], format="jsonl").kept)
        3
    """
    format, load_options = options["format"], dict(options["load_options"] or {})
    kept, decisions, scores = options["kept"], options["decisions"], options["scores"]
    card = FORMATS[format]
    if card.needs_scores and scores is None:
        raise BadInputError(
            f"The format {format} needs the score table whose models give probabilities (--scores)."
        )
    inputs = inputs_of(options, source, files=(kept, decisions, scores))
    read = [*inputs.files, *(path for path in inputs.data if path.exists())]
    _checked_target(to, options["overwrite"], read)  # before the data is read
    display = options["display"] or ProgressDisplay(enabled=False)
    if (mended := mend_folder(Path(to).expanduser().resolve())) is not None:
        display.say(mended)
    for path in inputs.files:
        read_results(path)
    # Nothing is decoded that is only copied.
    examples = read_examples(
        source, ({} if card.needs_scores else {"memory_limit": 0}) | load_options, display
    )
    origin = examples.origin
    target = _checked_target(to, options["overwrite"], [*origin.paths, *read])
    before = _manifest_of(target)
    label = LabelColumn(examples)
    check_format(examples, label, origin.form if format == "same" else format)
    if kept is None and decisions is None and card.needs_scores:
        kept = examples.train.ids
    plan = make_plan(examples, kept, decisions, options["include_test"] and not card.train_only)
    plan.facts["scores_sha256"] = plan.facts.get("kept", {}).get("scores_sha256")
    if scores is not None:
        ScoreTable.read(scores).check_data(examples.fingerprint)
        plan.facts["scores_sha256"] = sha256_of(scores)
    if target.exists():
        _refuse_linked_images(target, examples)
    content = content_sizes(examples.train)
    replaces = None if before is None else lambda there: _manifest_of(there) == before
    with whole_folder(target, replaces) as folder:
        with display.step("export", sum(map(len, plan.parts)), unit="examples/s") as advance:
            job = Job(
                plan,
                label,
                origin,
                folder,
                advance,
                format,
                options["shard_size"],
                options["keep_formulas"],
                scores,
                {
                    **(options["machine"] or {}),
                    **{name: options[name] for name in ("workspace", "model")},
                    "display": display,
                },
            )
            result = _written(job, card.write)
        sizes = {
            "bytes_before": int(content.sum()),
            "bytes_after": int(content[plan.train.rows].sum()),
            "bytes_on_disk": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        }
        if plan.unseen:
            result.load_options["on_bad_example"] = "skip"
        notes = _notes(job, result, card)
        write_classes(job, result)
        write_manifest(job, result, sizes, options["command"], notes)
    return _outcome(target, job, result, sizes, notes)


def _checked_target(to: str | Path, overwrite: bool, read: Sequence[Path]) -> Path:
    """The folder that an export goes to: a new one, or with `overwrite` that of an earlier export.

    Raises:
        BadInputError: nothing can be written there, or it is read, or holds something else.
    """
    try:
        path = usable_name(to)
        if is_of_workspace(path):
            raise BadInputError(
                f"The target '{path}' is where a workspace keeps its trainings and caches; give another folder."
            )
        target = check_target(path, overwrite, read)
        check_folder(target.parent)
    except BadInputError as error:
        raise BadInputError(str(error).replace("--out", "--to")) from error
    if target.is_dir() and any(target.iterdir()) and not is_export(target):
        raise BadInputError(
            f"The target '{target}' holds files that no export wrote, which are never replaced; give another folder."
        )
    return target


def _manifest_of(folder: Path) -> bytes | None:
    """The manifest of the export that is in a folder, as it is written; None for none."""
    path = folder / MANIFEST_JSON
    return path.read_bytes() if path.is_file() else None


def _written(job: Job, write: Write) -> WriteResult:
    """What a format writes.

    Raises:
        BadInputError: it has no place for a type or a text of the data.
    """
    try:
        return write(job)
    except (pa.ArrowException, UnicodeError) as error:
        if isinstance(error, pa.ArrowCancelled):
            raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise BadInputError(
            f"The format {job.format} cannot hold these data ({reason}); choose another with --format, or leave that "
            "column out of the source."
        ) from error


def _notes(job: Job, result: WriteResult, card: FormatCard) -> list[str]:
    """What people should know of an export: what the format could not hold, and what was renamed."""
    notes = [*job.plan.notes, *result.notes]
    if card.train_only:
        notes.append("This format holds the train part only.")
    if result.columns_left_out:
        notes.append(f"Columns without a place in this format: {_some(map(repr, result.columns_left_out))}.")
    if result.columns_changed:
        changed = [f"'{column}' ({what})" for column, what in result.columns_changed.items()]
        notes.append(
            f"Columns that this format cannot hold as they are (columns_changed in {MANIFEST_JSON}): "
            f"{_some(changed, '; ')}."
        )
    for what, names in (("classes", result.class_names), ("columns", result.column_names)):
        if names:
            shown = _some(f"'{real}' as '{written}'" for written, real in names.items())
            back = "" if card.tool else "; datadiet.load gives the real names back, other tools do not"
            notes.append(f"Some {what} have another name in the files: {shown}{back}.")
    if job.plan.unseen and not card.tool:
        notes.append(
            f"{job.plan.unseen:,} test examples have a class, label or tag that no training example has; they are "
            "left out when the export is loaded."
        )
    if result.load_options and not card.tool:
        options = (
            f"{name}={value!r} (--{name.replace('_', '-')} {','.join(value) if isinstance(value, list) else value})"
            for name, value in result.load_options.items()
        )
        notes.append(f"To load the export, say {', '.join(options)}.")
    touched = sum(len(ids) for ids in result.neutralised.values())
    if touched:
        notes.append(
            f"{touched:,} examples have a text that a spreadsheet would run as a formula; an apostrophe stands "
            "before it (--keep-formulas leaves it as it was)."
        )
    return notes


def _some(items: Iterable[str], joint: str = ", ") -> str:
    """The first five, and how many more there are."""
    shown = list(items)
    more = [f"and {len(shown) - 5:,} more"] if len(shown) > 5 else []
    return joint.join([*shown[:5], *more])


def _outcome(
    target: Path, job: Job, result: WriteResult, sizes: Mapping[str, int], notes: Sequence[str]
) -> Exported:
    train, *tests = job.plan.parts
    touched = sum(len(ids) for ids in result.neutralised.values())
    return Exported(
        folder=str(target),
        format=job.format,
        kept=len(train),
        dropped=len(train.part) - len(train),
        relabelled=int(train.relabelled.sum()),
        total=len(train.part),
        test=sum(len(part) for part in tests),
        test_dropped=sum(len(part.part) - len(part) for part in tests),
        test_relabelled=sum(int(part.relabelled.sum()) for part in tests),
        neutralised=touched,
        notes=tuple(notes),
        **sizes,
    )


def _refuse_linked_images(target: Path, examples: Examples) -> None:
    """The folder that is replaced must not hold what the source only links to.

    Raises:
        BadInputError: it does.
    """
    if examples.kind != "image":
        return
    column = examples.input_columns[0]
    inside = f"{target}/"
    for part in (examples.train, examples.test):
        for _, table in chunks_of(part.dataset, [column]):
            array = one_array(table, column)
            in_files = array.filter(pc.invert(pc.is_valid(pc.struct_field(array, "bytes"))))
            if pc.any(pc.starts_with(pc.struct_field(in_files, "path"), inside)).as_py():
                raise BadInputError(
                    f"The target '{target}' holds images of the source; nothing of it is ever deleted. Give "
                    "another folder."
                )


def _size(count: int) -> str:
    """Bytes for people.

    >>> _size(1_500_000), _size(12)
    ('1.5 MB', '12 bytes')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
