"""The files that a pool leads to: the base with what was picked, or the list of what to label next."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.data import Examples, Part
from datadiet.data.arrow import one_array, rows_at
from datadiet.foundation.atomic import atomic_file, atomic_path, write_json
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.plan import CLASS_TASKS
from datadiet.jobs.export.rows import Chunk, LabelColumn, neutralised, plain, tag_column, with_contents
from datadiet.jobs.pool.hypotheses import PoolPrediction
from datadiet.jobs.pool.rows import PoolRows

#: The column that says where a row of the new data set comes from. It is one column of three fields, because plain
#: number columns would be taken for inputs when vectors are loaded again.
ORIGIN = "datadiet_pool"
#: A folder of its own, so that it can be loaded as it is.
AUGMENTED = "augmented"
#: What a row is called that could have been picked but for `min_confidence`.
POOLED = ("pool.parquet", "pool.json", "to_label.parquet", "to_label.csv", "augmented/*")
NOT_SURE = "not confident enough"
_ROWS = 1024


def write_pooled(
    folder: Path,
    examples: Examples,
    rows: PoolRows,
    prediction: PoolPrediction | None,
    hardness: np.ndarray | None,
    eligible: np.ndarray,
    places: np.ndarray,
    data: Mapping[str, Any],
) -> None:
    """Write the augmented data, or what to label next; then what the models say of every row.

    Args:
        folder: where.
        examples: the base.
        rows: the pool.
        prediction: of the base's models; None where nothing was asked of them.
        hardness: the score that was picked by, over the usable rows; None for random picks.
        eligible: which usable rows are confident enough.
        places: places of the picked among the usable rows, in the order of the list.
        data: for `pool.json`.

    Raises:
        BadInputError: the pool's columns do not go into the base's.
    """
    if rows.weak:
        _write_augmented(folder / AUGMENTED, examples, rows, hardness, np.sort(places))
    else:
        model_columns = _model_columns(examples, prediction, hardness, places)
        _write_to_label(folder, examples, rows, model_columns, places)
    status = np.full(len(rows.dataset), "not picked", dtype=object)
    status[rows.part.ids[~eligible]] = NOT_SURE
    status[rows.part.ids[places]] = "picked"
    status[list(rows.reasons)] = list(rows.reasons.values())
    _write_scored(folder / "pool.parquet", examples, rows, prediction, hardness, status)
    write_json(folder / "pool.json", dict(data))


def _write_augmented(
    folder: Path, examples: Examples, rows: PoolRows, hardness: np.ndarray | None, places: np.ndarray
) -> None:
    import datasets

    dataset = examples.train.dataset
    if ORIGIN in dataset.column_names:
        # The base came out of an earlier round: where its rows came from first is in that round's folder.
        dataset = dataset.remove_columns(ORIGIN)
    names = dataset.column_names
    kinds = {"from": "string", "id": "int64", "score": "float64"}
    fields = {name: datasets.Value(kind) for name, kind in kinds.items()}
    features = datasets.Features({**dataset.features, ORIGIN: fields})
    schema = features.arrow_schema
    with atomic_path(folder / "train.parquet") as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for chunk in _chunks(examples.train, names):
            writer.write_table(_with_origin(chunk.table, "base", chunk.ids, None, schema))
        for chunk in _from_pool(rows.part.take(places), examples, rows, names):
            some = None if hardness is None else hardness[np.searchsorted(rows.part.ids, chunk.ids)]
            writer.write_table(_with_origin(chunk.table, "pool", chunk.ids, some, schema))
    test = examples.test.dataset
    features = datasets.Features({name: test.features[name] for name in names if name in test.features})
    schema = features.arrow_schema
    with atomic_path(folder / "test.parquet") as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for chunk in _chunks(examples.test, list(features)):
            writer.write_table(chunk.table.cast(schema))


def _chunks(part: Part, names: Sequence[str]) -> Iterator[Chunk]:
    """All rows of a part in pieces, with images as bytes."""
    for start in range(0, len(part), _ROWS):
        stop = min(start + _ROWS, len(part))
        chunk = Chunk(
            rows_at(part.dataset, list(names), slice(start, stop)),
            part.ids[start:stop],
            part.labels[start:stop],
        )
        yield from with_contents(chunk, part.input_columns[0]) if part.kind == "image" else (chunk,)


def _from_pool(chosen: Part, examples: Examples, rows: PoolRows, names: Sequence[str]) -> Iterator[Chunk]:
    """The picked rows in pieces, in the columns of the base; a column that the pool lacks is empty."""
    there = chosen.dataset.column_names
    features = examples.train.dataset.features
    values = LabelColumn(examples) if examples.task in CLASS_TASKS else None
    instead = {examples.label_column: rows.roles.label} if values is None else {}
    if rows.roles.tags is not None:
        instead[str(tag_column(examples))] = rows.roles.tags
    for chunk in _chunks(chosen, there):
        columns: dict[str, Any] = {}
        for name in names:
            kind = features.arrow_schema.field(name).type
            source = instead.get(name, name)
            if values is not None and name == examples.label_column:
                columns[name] = pa.array([values.value(int(label)) for label in chunk.labels], kind)
            elif source in there:
                columns[name] = _cast(one_array(chunk.table, source), kind, source, name)
            else:
                columns[name] = pa.nulls(len(chunk), kind)
        yield Chunk(pa.table(columns), chunk.ids, chunk.labels)


def _cast(array: Any, kind: Any, source: str, name: str) -> Any:
    try:
        return array.cast(kind)
    except pa.ArrowException as error:
        raise BadInputError(
            f"Column '{source}' of the pool ({array.type}) does not go into column '{name}' of the base ({kind}); "
            "bring it to the same type."
        ) from error


def _with_origin(table: Any, origin: str, ids: np.ndarray, scores: np.ndarray | None, schema: Any) -> Any:
    """The table with the column that says where its rows come from, in the types of a schema."""
    score = pa.nulls(len(ids), pa.float64()) if scores is None else pa.array(scores, pa.float64())
    fields = [pa.array([origin] * len(ids), pa.string()), pa.array(ids, pa.int64()), score]
    struct = pa.StructArray.from_arrays(fields, names=["from", "id", "score"])
    arrays = [*(table.column(name) for name in table.column_names), struct]
    return pa.table(dict(zip([*table.column_names, ORIGIN], arrays, strict=True))).cast(schema)


def _model_columns(
    examples: Examples, prediction: PoolPrediction | None, hardness: np.ndarray | None, places: np.ndarray
) -> dict[str, Any]:
    """Columns of score, confidence and prediction, as far as there are any."""
    scores = pa.nulls(len(places), pa.float64())
    found: dict[str, Any] = {
        "score": scores if hardness is None else pa.array(hardness[places], pa.float64())
    }
    if prediction is not None:
        found["model_confidence"] = pa.array(prediction.confidence[places], pa.float64())
        if examples.task in CLASS_TASKS:
            found["prediction"] = pa.array([examples.class_names[c] for c in prediction.prediction[places]])
    return found


def _write_to_label(
    folder: Path, examples: Examples, rows: PoolRows, model_columns: Mapping[str, Any], places: np.ndarray
) -> None:
    """What to label next, the first first: all columns of the pool; in the CSV without images."""
    chosen = rows.part.take(np.sort(places))
    whole = [chunk.table for chunk in _chunks(chosen, chosen.dataset.column_names)]
    pool = pa.concat_tables(whole).take(pa.array(np.sort(places).searchsorted(places)))
    columns: dict[str, Any] = {
        "rank": pa.array(np.arange(1, len(places) + 1)),
        "id": pa.array(rows.part.ids[places]),
        **model_columns,
    }
    for name in pool.column_names:
        columns[name if name not in columns else f"pool_{name}"] = pool.column(name)
    table = pa.table(columns)
    with atomic_path(folder / "to_label.parquet") as temporary:
        pq.write_table(table, temporary)
    image = set(examples.input_columns) if examples.kind == "image" else set()
    listed = table.select([name for name in table.column_names if name not in image])
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([neutralised(name) for name in listed.column_names])
    for row in listed.to_pylist():
        writer.writerow([_cell(value) for value in row.values()])
    with atomic_file(folder / "to_label.csv") as file:
        file.write(text.getvalue().encode("utf-8", "replace"))


def _cell(value: Any) -> Any:
    value = plain(value)
    return neutralised(value) if isinstance(value, str) else value


def _write_scored(
    path: Path,
    examples: Examples,
    rows: PoolRows,
    prediction: PoolPrediction | None,
    hardness: np.ndarray | None,
    status: np.ndarray,
) -> None:
    """Every row of the pool: whether it was picked, or why it could not be, and what the models say of it."""
    usable = np.arange(len(rows.part.ids))
    model_columns = _model_columns(examples, prediction, hardness, usable)
    if prediction is not None:
        model_columns |= {
            f"by_{name}": pa.array(values, pa.float64()) for name, values in prediction.hardness.items()
        }
    where = np.full(len(status), -1)
    where[rows.part.ids] = usable
    index = pa.array(where, mask=where < 0)
    columns = {"id": pa.array(np.arange(len(status))), "status": pa.array(status.tolist(), pa.string())}
    columns |= {name: column.take(index) for name, column in model_columns.items()}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
