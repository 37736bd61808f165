"""What is in memory -> `datasets.Dataset` rows: arrays, map-style torch data sets, data frames, Arrow tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datadiet.data.arrow import dataset_of, holdable
from datadiet.data.columns.images import Pictures, each_to_pixels, image_column, to_array, to_pixels
from datadiet.data.depth import wide_numbers
from datadiet.foundation.errors import BadInputError


def from_table(table: Any) -> tuple[datasets.Dataset, list[str]]:
    """Rows of a `pyarrow.Table`, and what there is to say of its columns.

    Raises:
        BadInputError: two columns have one name.
    """
    _require_different(table.column_names)
    table, left_out = holdable(table)
    notes = [
        f"Column '{name}' holds {kind}, which cannot be read, and is left out."
        for name, kind in left_out.items()
    ]
    return dataset_of(table), notes


def from_frame(frame: Any) -> tuple[datasets.Dataset, list[str]]:
    """Rows of a `pandas.DataFrame` in their order, and what there is to say of its columns; the index is not read.

    Columns of several levels are called by all of them, with an underscore between any two. A column that mixes
    numbers and texts, or holds what only pandas has, such as periods, is read as texts.

    Raises:
        BadInputError: two columns have one name, or a number and a text mean one.
    """
    names = [
        "_".join(str(part) for part in name if part != "") if isinstance(name, tuple) else str(name)
        for name in frame
    ]
    _require_different(names)
    columns, notes = {}, []
    for place, name in enumerate(names):
        series = frame.iloc[:, place]
        if type(series.dtype).__name__ == "SparseDtype":
            series = series.sparse.to_dense()
        try:
            array = pa.Array.from_pandas(series)
            kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
            if isinstance(kind, pa.BaseExtensionType):
                raise pa.ArrowNotImplementedError(str(array.type))
        except (pa.ArrowException, TypeError, ValueError) as error:
            if series.dtype.kind == "c":
                notes.append(
                    f"Column '{name}' holds complex numbers and is left out; give its parts as two columns."
                )
                continue
            array = _as_texts(series.tolist(), series.isna().tolist(), f"column '{name}'")
            if array is None:
                reason = " ".join(str(error).split())[:100]
                notes.append(f"Column '{name}' cannot be read and is left out ({reason}).")
                continue
            notes.append(
                f"Column '{name}' is read as texts, such as '{next(filter(None, array.to_pylist()), '')}'."
            )
        columns[name] = array
    rows, more = from_table(pa.table(columns))
    return rows, [*notes, *more]


def _require_different(names: Sequence[str]) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise BadInputError(f"Several columns are called '{twice}'; give each a name of its own.")


def _as_texts(values: Sequence[Any], missing: Sequence[bool], where: str) -> Any:
    """Plain values of several types as texts; None if they are not plain.

    Raises:
        BadInputError: two values that differ, such as 1 and "1", would be one text.
    """
    texts: dict[str, Any] = {}
    found: list[str | None] = []
    for value, gone in zip(values, missing, strict=True):
        if gone or value is None:
            found.append(None)
            continue
        if isinstance(value, list | tuple | dict | set | np.ndarray | bytes):
            return None
        text = str(value)
        if texts.setdefault(text, value) != value:
            kinds = " here and ".join(sorted({type(one).__name__ for one in (texts[text], value)}))
            raise BadInputError(f"In {where}, '{text}' is {kinds} there; write it one way.")
        found.append(text)
    return pa.array(found, pa.string())


def from_arrays(inputs: Any, labels: Any, notes: list[str] | None = None) -> datasets.Dataset:
    """Rows from (inputs, labels): texts, vectors (rows, width) or images (rows, [channels,] height, width
    [, channels]) as uint8, as numbers in 0..255, or as floats in 0..1.

    Labels are one a row, or one-hot vectors (rows, classes); rows of 0 and 1 of which some have several or none are
    the labels of a multi-label task. What there is to say is added to `notes`.

    Raises:
        BadInputError: shapes do not match or numbers are not in a known range.

    >>> from_arrays(["good", "bad"], [1, 0]).column_names
    ['text', 'label']
    """
    targets, values = _array(labels), _array(inputs)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    label = (
        _label_array(targets, [] if notes is None else notes) if len(values.shape) and targets.ndim else None
    )
    if label is None or len(values) != len(label):
        raise BadInputError(
            f"Inputs of shape {values.shape} and labels of shape {targets.shape} do not match; "
            "give one label for each row of the inputs."
        )
    if values.dtype.kind in "OUS":
        if values.ndim != 1 or not all(value is None or isinstance(value, str) for value in values.tolist()):
            raise BadInputError("Inputs of objects must be texts; give numbers as one regular array.")
        return dataset_of(pa.table({"text": pa.array(values.tolist(), pa.string()), "label": label}))
    if values.dtype.kind not in "buif":
        kind = "records with fields of their own" if values.dtype.names else str(values.dtype)
        raise BadInputError(
            f"Inputs of type {kind} are neither texts nor numbers; give texts, or numbers as one regular array."
        )
    if values.ndim >= 3:
        return _image_rows(to_pixels(values), label)
    matrix = values[:, None] if values.ndim == 1 else values
    matrix = matrix.astype(np.float32 if matrix.dtype == np.float16 else matrix.dtype, copy=False)
    if matrix.shape[1] == 0:
        raise BadInputError("The input vectors have no columns; give at least one.")
    flat = pa.array(np.ascontiguousarray(matrix).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])
    return dataset_of(pa.table({"features": vectors, "label": label}))


def _label_array(targets: npt.NDArray[Any], notes: list[str]) -> Any:
    """Labels as an Arrow array: numbers, texts, dates, classes of one-hot vectors, or lists of 0 and 1."""
    if targets.ndim == 2 and targets.dtype.kind in "buif":
        if not np.isin(targets, (0, 1)).all():
            row = int(np.flatnonzero(~np.isin(targets, (0, 1)).all(axis=1))[0])
            raise BadInputError(
                f"The label of row {row} is a vector with other numbers than 0 and 1, such as probabilities; give one "
                "class a row."
            )
        if (targets.sum(axis=1) == 1).all():
            notes.append(
                f"Labels are one-hot vectors of {targets.shape[1]} numbers; the place of the 1 is the class."
            )
            return pa.array(targets.argmax(axis=1).astype(np.int64))
        return pa.array(targets.astype(np.int64).tolist())
    if targets.ndim != 1:
        return None
    if targets.dtype.kind not in "OUS":
        return pa.array(targets)
    values = targets.tolist()
    try:
        return pa.array(values)
    except pa.ArrowException as error:
        missing = [value is None or value != value for value in values]
        array = _as_texts(values, missing, "the labels")
        if array is None:
            raise BadInputError("Labels must be texts or whole numbers, one a row.") from error
        notes.append("The labels mix texts and numbers; all are read as texts.")
        return array


def from_map_style(items: Any, notes: list[str] | None = None) -> datasets.Dataset:
    """Rows from a map-style torch data set of (input, label) pairs, or of mappings with two such values.

    Raises:
        BadInputError: an item is no such pair, or the same index gives different inputs.
    """
    if len(items) == 0:
        raise BadInputError("The torch data set is empty; give one with examples.")
    notes = [] if notes is None else notes
    pairs = [_pair(_item(items, index), index) for index in range(len(items))]
    inputs = [value for value, _ in pairs]
    labels = [_plain_label(label) for _, label in pairs]
    first, again = inputs[0], _pair(items[0], 0)[0]
    texts = isinstance(first, str)
    if not (first == again if texts else np.array_equal(first, again, equal_nan=True)):
        raise BadInputError(
            "The torch data set gives different inputs for the same index; take its random transforms out "
            "(augmentation is a setting of the recipe)."
        )
    if texts:
        rows = from_arrays(inputs, labels, notes)
    elif any(value.shape != first.shape for value in inputs):
        if first.ndim < 2:
            index = next(i for i, value in enumerate(inputs) if value.shape != first.shape)
            raise BadInputError(
                f"Item {index} has the shape {inputs[index].shape}, where item 0 has {first.shape}; "
                "vectors must be equally long."
            )
        label = _label_array(_array(labels), notes)
        if label is None:
            raise BadInputError("The labels of the torch data set must be one a row.")
        rows = _image_rows(each_to_pixels(inputs), label)
    else:
        rows = from_arrays(np.stack(inputs), labels, notes)
    return _with_class_names(rows, getattr(items, "classes", None), labels)


def _item(items: Any, index: int) -> Any:
    """An item of somebody's data set, whose own error is told with its place."""
    try:
        return items[index]
    except Exception as error:  # whatever the code behind an item raises
        raise BadInputError(
            f"Item {index} of the torch data set cannot be read ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}); mend it."
        ) from error


def _plain_label(label: Any) -> Any:
    """A number or text of a label, or a list of a tensor or array of several."""
    if hasattr(label, "detach"):
        label = label.detach().cpu().numpy()
    if isinstance(label, np.ndarray | np.generic):
        return label.item() if label.size == 1 else label.tolist()
    return label


def _image_rows(images: Pictures, label: Any) -> datasets.Dataset:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value(str(label.type))})
    return dataset_of(pa.Table.from_arrays([image_column(images), label], schema=features.arrow_schema))


def _with_class_names(rows: datasets.Dataset, names: Any, labels: Sequence[Any]) -> datasets.Dataset:
    """Keep the `classes` that torchvision's data sets carry, where labels are indices into them."""
    if not isinstance(names, Sequence) or isinstance(names, str) or len(set(map(str, names))) != len(names):
        return rows
    if not all(isinstance(label, int) and 0 <= label < len(names) for label in labels):
        return rows
    return rows.cast_column("label", datasets.ClassLabel(names=[str(name) for name in names]))


def _pair(item: Any, index: int) -> tuple[Any, Any]:
    """The input of an item, a text as it is and anything else as an array, and its label."""
    pair: Sequence[Any] = item if isinstance(item, tuple | list) else ()
    if isinstance(item, Mapping):
        labels = [key for key in ("label", "labels", "target", "y") if key in item]
        pair = [item[key] for key in [*(key for key in item if key not in labels), *labels]]
        pair = pair if len(labels) == 1 else ()
    if len(pair) != 2:
        raise BadInputError(f"Item {index} of the torch data set is no pair of input and label.")
    value, label = pair
    if hasattr(value, "mode") and hasattr(value, "tobytes"):  # a PIL image
        wide = wide_numbers(value)
        return to_array(value) if wide is None else wide, label
    return value if isinstance(value, str) else _array(value), label


def _array(values: Any) -> npt.NDArray[Any]:
    """Arrays, tensors of any device and lists as a NumPy array; what a mask hides is missing."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        # NaN where there are numbers, None among texts and classes.
        real = values.dtype.kind == "f"
        values = np.ma.filled(values if real else values.astype(object), np.nan if real else None)
    try:
        return np.asarray(values)
    except ValueError as error:
        raise BadInputError("The inputs are not equally long; give vectors of one length.") from error
