"""What was written as text or shards is read again: what a format could not hold is noted, or refused.

Which texts a reader takes for numbers, or which numbers for others, is not foretold here: it is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.data.arrow import (
    dataset_of,
    is_list,
    is_text,
    numeric_matrix,
    one_array,
    rows_at,
    rows_with,
    whole_column,
    words_of,
)
from datadiet.data.columns.labels import label_values, match_names
from datadiet.data.columns.roles import find_roles
from datadiet.data.sources.exported import ExportedClasses
from datadiet.data.sources.shards import read_abouts
from datadiet.data.sources.tables import Reading, read_tables, too_large, with_written
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.formats import Job, WriteResult
from datadiet.jobs.export.manifest import written_classes
from datadiet.jobs.export.plan import PartPlan
from datadiet.jobs.export.rows import Chunk, kept_chunks, neutralised

Bools = npt.NDArray[np.bool_]
_SHOWN = 60


class NotAsWrittenError(BadInputError):
    """What was written is not read again as the examples that stay."""


@dataclass
class _Difference:
    """The values of a column that are read again as others: how many of how many, and the first of them."""

    id: int
    before: Any
    after: Any
    kinds: tuple[Any, Any]
    count: int = 0

    def __str__(self) -> str:
        shown = " as ".join(_shown(value) for value in (self.before, self.after))
        kinds = f"; {self.kinds[0]} as {self.kinds[1]}" if self.kinds[0] != self.kinds[1] else ""
        return f"{self.count:,} values are read again as others, {shown} (example {self.id}){kinds}"


def check_written(job: Job, result: WriteResult, abouts: Mapping[str, Sequence[bytes]] | None = None) -> None:
    """Read again what was written, and note the columns that come back otherwise and the options of loading.

    Args:
        job: what was written.
        result: where it is; notes are added to it.
        abouts: part -> the `.json` of each of its samples; None where it is in tables.

    Raises:
        NotAsWrittenError: it cannot be read, or inputs, labels, tags or numbers to predict come back otherwise.
    """
    files = {plan.name: _files(job, result, plan) for plan in job.plan.parts}
    if any(too_large(paths) for paths in files.values()):
        result.notes.append(
            "What was written is larger than is read into memory at once, so it was not compared with the source; "
            "this format may hold other columns as other types."
        )
        return
    found: dict[str, _Difference] = {}
    like = None
    for plan in job.plan.parts:
        try:
            if abouts is None:
                numbers = job.plan.examples.task == "regression"
                classes, label = written_classes(job, result), result.label_column or job.label.name
                called = {real: name for name, real in classes.columns.items()}
                reading = Reading(called.get(label, label), numbers, like=like)
                rows, _ = read_tables(files[plan.name], reading)
                roles = {*plan.part.input_columns, reading.label, job.label.tags}
                others = [name for name in rows.column_names if name not in roles]
                rows = with_written(rows, files[plan.name], reading, others)
                rows = classes.named(rows)
            else:
                rows = _samples(job, result, plan, read_abouts(abouts[plan.name], job.folder))
            if len(rows) != len(plan):
                raise NotAsWrittenError(
                    f"{len(plan):,} {plan.name} examples would be read again as {len(rows):,}; {_others(job)}."
                )
            _check_classes(job, result, plan, rows)
            _compare(job, result, plan, rows, found)
            if like is None:
                like = rows.data.schema
                result.load_options = options_to_load(job, result, rows)
        except NotAsWrittenError:
            raise
        except (BadInputError, pa.ArrowException, KeyError, ValueError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            reason = reason.replace(f"{job.folder}/", "").replace(str(job.folder), "the export")
            raise NotAsWrittenError(
                f"What would be written could not be loaded again ({reason}); {_others(job)}."
            ) from error
    result.columns_changed |= {column: str(difference) for column, difference in found.items()}
    for column, feature in job.plan.examples.train.dataset.features.items():
        if column in job.label.list_names:
            result.columns_changed.setdefault(
                column,
                "its names are written for its numbers; names without rows and their order are not kept",
            )
        elif _has_names(feature) and column != job.label.name:
            result.columns_changed.setdefault(column, "the class names of its numbers are not kept")


def options_to_load(job: Job, result: WriteResult, rows: Any) -> dict[str, Any]:
    """The fewest arguments of `datadiet.load` with which the columns have the roles that they have in the source.

    Args:
        job: what is written.
        result: what its columns are called.
        rows: as they are read again.

    Raises:
        NotAsWrittenError: there are none.
    """
    examples = job.plan.examples
    label = result.label_column or job.label.name
    inputs = result.input_columns or examples.input_columns
    tags = label if job.label.tags == job.label.name else job.label.tags
    wanted = {"kind": examples.kind, "inputs": inputs, "label": label, "task": examples.task, "tags": tags}
    every = {name: wanted[name] for name in ("task", "label", "tags", "inputs") if wanted[name] is not None}
    if examples.task == "token_classification":
        del every["label"]
    for size in range(len(every) + 1):
        for chosen in combinations(every, size):
            asked: dict[str, Any] = {name: every[name] for name in chosen}
            try:
                roles = find_roles(rows, **asked)
            except BadInputError:
                continue
            if all(getattr(roles, name) == value for name, value in wanted.items()):
                if "inputs" in asked:
                    asked["input"] = inputs[0] if len(inputs) == 1 else list(inputs)
                    del asked["inputs"]
                return asked
    shown = ", ".join(repr(column) for column in (*inputs[:3], label))
    raise NotAsWrittenError(
        f"The columns {shown} are not read again as what they are in the source; {_others(job)}."
    )


def _others(job: Job) -> str:
    form = job.origin.form if job.format == "same" else job.format
    return f"the format {form} cannot hold these data, so export them to parquet or datasets"


def _files(job: Job, result: WriteResult, plan: PartPlan) -> list[Path]:
    names = result.files[plan.name]
    return [job.folder / name for name in dict.fromkeys([names] if isinstance(names, str) else names)]


def _samples(job: Job, result: WriteResult, plan: PartPlan, table: Any) -> Any:
    """Rows of shards from what their `.json` say, with the inputs that have files; images without their bytes."""
    examples = job.plan.examples
    if result.input_columns[0] not in table.column_names:
        inputs = rows_with(plan.part.dataset.select_columns(list(examples.input_columns)), plan.rows)
        if examples.kind == "image":
            column = pa.array([{"bytes": b"", "path": None}] * len(plan), datasets.Image().pa_type)
        elif examples.kind == "text":
            column = whole_column(inputs, examples.input_columns[0])
        else:
            matrix = numeric_matrix(inputs.with_format("arrow")[:], examples.input_columns)
            column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])
        table = table.append_column(result.input_columns[0], column)
    features = datasets.Features.from_arrow_schema(table.schema)
    if examples.kind == "image":
        features[result.input_columns[0]] = datasets.Image()
    label = result.label_column or job.label.name
    # The manifest says the names of the classes and their order.
    return ExportedClasses(examples.class_names, label_column=label).named(dataset_of(table, features))


def _check_classes(job: Job, result: WriteResult, plan: PartPlan, rows: Any) -> None:
    """Raise an error unless each row has its class, and the classes have their order."""
    if not job.label.has_classes:
        return
    column, class_names = result.label_column or job.label.name, job.plan.examples.class_names
    names, indices, _ = label_values(whole_column(rows, column), rows.features[column], column)
    labels = match_names(names, indices, class_names)
    wrong = np.flatnonzero(labels != plan.labels)
    if len(wrong):
        place = int(wrong[0])
        read = repr(names[indices[place]]) if indices[place] >= 0 else "no label"
        raise NotAsWrittenError(
            f"The label {class_names[plan.labels[place]]!r} of example {plan.ids[place]} (column "
            f"'{job.label.name}') would be read again as {read}; {_others(job)}."
        )
    places = [class_names.index(name) for name in names]
    if places != sorted(places):
        shown = ", ".join(map(repr, names[:5]))
        raise NotAsWrittenError(f"The classes would be read again as others ({shown}, ...); {_others(job)}.")


def _compare(job: Job, result: WriteResult, plan: PartPlan, rows: Any, found: dict[str, _Difference]) -> None:
    """Note the values of a part that are read again as others; those of inputs and targets are an error."""
    examples, label = job.plan.examples, job.label
    inputs = result.input_columns or examples.input_columns
    needed = {} if examples.kind != "text" else dict(zip(examples.input_columns, inputs, strict=True))
    if not label.has_classes:
        needed[label.name] = result.label_column or label.name
    if label.tags is not None:
        needed[label.tags] = (
            result.label_column if label.tags == label.name and result.label_column else label.tags
        )
    skipped = {label.name, *examples.input_columns} - set(needed)
    names = plan.part.dataset.column_names
    columns = needed | {c: c for c in names if c not in skipped | set(needed)}
    harmless = np.array(result.neutralised.get(plan.name, []), dtype=np.int64)
    start = 0
    for chunk in kept_chunks(plan, label):
        here = slice(start, start + len(chunk))
        start = here.stop
        if examples.kind == "vector":
            _check_numbers(job, chunk, examples.input_columns, rows, inputs, here)
        for column, written in columns.items():
            if column == label.name and examples.task == "regression":
                _check_numbers(job, chunk, (column,), rows, (written,), here)
                continue
            before = one_array(chunk.table, column)
            if written not in rows.column_names:
                differs, after = np.ones(len(chunk), dtype=bool), pa.nulls(len(chunk))
            else:
                after = one_array(rows_at(rows, [written], here), written)
                differs = _differing(job, column, before, after)
            for place in np.flatnonzero(differs & np.isin(chunk.ids, harmless)).tolist():
                differs[place] = not _made_harmless(before[place].as_py(), after[place].as_py())
            if not differs.any():
                continue
            place = int(np.flatnonzero(differs)[0])
            values = (before[place].as_py(), after[place].as_py())
            new = _Difference(int(chunk.ids[place]), *values, (before.type, after.type))
            difference = found.setdefault(column, new)
            difference.count += int(differs.sum())
            if column in needed:
                raise NotAsWrittenError(
                    f"Column {column!r} would not come back: {_shown(values[0])} of example {new.id} would be read "
                    f"again as {_shown(values[1])}; {_others(job)}."
                )


def _check_numbers(
    job: Job, chunk: Chunk, columns: Sequence[str], rows: Any, written: Sequence[str], here: slice
) -> None:
    before = numeric_matrix(chunk.table, columns)
    after = numeric_matrix(rows_at(rows, written, here), written)
    # Decimals go through text; the last bit of a number depends on who reads it.
    decimal = any(pa.types.is_decimal(chunk.table.schema.field(column).type) for column in columns)
    room = 2 * np.spacing(np.abs(before)) if decimal else 0.0
    if before.shape != after.shape or not (np.abs(before - after) <= room).all():
        raise NotAsWrittenError(
            f"The numbers of column {columns[0]!r} would be read again as others; {_others(job)}."
        )


def _differing(job: Job, column: str, before: Any, after: Any) -> Bools:
    """Which values of a column are read again as others."""
    if (
        is_list(before.type)
        and is_text(after.type)
        and column in (*job.plan.examples.input_columns, job.label.tags)
    ):
        # Words in one text: they are told apart by white space where they have tags, and are not where they have none.
        words = [[str(job.label.plain(column, [word])[0]) for word in row] for row in words_of(before)]
        texts = after.to_pylist()
        pairs = zip(words, texts, strict=True)
        if job.label.tags is not None:
            return np.array([text is None or row != text.split() for row, text in pairs], dtype=bool)
        return np.array([text is None or " ".join(row) != text for row, text in pairs], dtype=bool)
    if column in job.label.list_names:
        named = [job.label.plain(column, value) for value in before.to_pylist()]
        return np.array([not _same(*pair) for pair in zip(named, after.to_pylist(), strict=True)], dtype=bool)
    return differing_values(before, after)


def differing_values(before: Any, after: Any) -> Bools:
    """Which values of two equally long Arrow arrays are not the same.

    Numbers of any width are the same if they are equal, NaN is itself, and nothing is the same as what is missing.

    >>> before = pa.array(["07", None, "x"])
    >>> differing_values(before, pa.array(["07", "", "x"])).tolist()
    [False, True, False]
    >>> differing_values(pa.array([1.0, float("nan")]), pa.array([1, None])).tolist()
    [False, True]
    """
    before, after = (a.dictionary_decode() if pa.types.is_dictionary(a.type) else a for a in (before, after))
    for is_one, common in (
        (is_text, pa.large_string()),
        (pa.types.is_boolean, pa.bool_()),
        (pa.types.is_signed_integer, pa.int64()),
    ):
        if is_one(before.type) and is_one(after.type):
            same = pc.equal(before.cast(common), after.cast(common))
            both_missing = pc.and_(before.is_null(), after.is_null())
            return ~np.asarray(
                pc.or_kleene(same, both_missing).fill_null(False).to_numpy(zero_copy_only=False)
            )
    if pa.types.is_floating(before.type) and pa.types.is_floating(after.type):
        return _differing_floats(before, after)
    return np.array(
        [not _same(*pair) for pair in zip(before.to_pylist(), after.to_pylist(), strict=True)], dtype=bool
    )


def _differing_floats(before: Any, after: Any) -> Bools:
    missing = [np.asarray(array.is_null().to_numpy(zero_copy_only=False)) for array in (before, after)]
    one, other = (
        np.asarray(array.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False))
        for array in (before, after)
    )
    same = ((one == other) & (np.signbit(one) == np.signbit(other))) | (np.isnan(one) & np.isnan(other))
    return np.asarray(~same | (missing[0] != missing[1]))


def _same(before: Any, after: Any) -> bool:
    """Whether two plain values are the same; a truth value is no number."""
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(
            _same(value, after[key]) for key, value in before.items()
        )
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return len(before) == len(after) and all(map(_same, before, after))
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (before, after)]
    if all(numbers):
        if math.isnan(before) or math.isnan(after):
            return math.isnan(before) and math.isnan(after)
        return bool(before == after) and math.copysign(1, before) == math.copysign(1, after)
    return type(before) is type(after) and bool(before == after)


def _made_harmless(before: Any, after: Any) -> bool:
    """Whether a text came back with the apostrophe that was put before it."""
    if isinstance(before, list):
        before = " ".join(map(str, before))
    if not isinstance(before, str):
        return False
    return after in (neutralised(before), neutralised(before.lstrip()))


def _has_names(feature: Any) -> bool:
    return hasattr(getattr(feature, "feature", feature), "names")


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
