"""Arrays and map-style torch data sets -> `datasets.Dataset` rows with the columns `input` and `label`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datadiet.data.arrow import dataset_of
from datadiet.data.columns.images import Pictures, each_to_pixels, image_column, to_array, to_pixels
from datadiet.data.depth import wide_numbers
from datadiet.foundation.errors import BadInputError


def from_arrays(inputs: Any, labels: Any) -> datasets.Dataset:
    """Rows from (inputs, labels): texts, vectors (rows, width) or images (rows, [channels,] height, width
    [, channels]) as uint8, as numbers in 0..255, or as floats in 0..1.

    Raises:
        BadInputError: shapes do not match or numbers are not in a known range.

    >>> from_arrays(["good", "bad"], [1, 0]).column_names
    ['text', 'label']
    """
    targets, values = _array(labels), _array(inputs)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1 or values.ndim == 0 or len(values) != len(targets):
        raise BadInputError(
            f"Inputs of shape {values.shape} and labels of shape {targets.shape} do not match; "
            "give one label for each row of the inputs."
        )
    label = pa.array(targets.tolist() if targets.dtype.kind in "OUS" else targets)
    if values.dtype.kind in "OUS":
        if values.ndim != 1 or not all(value is None or isinstance(value, str) for value in values.tolist()):
            raise BadInputError("Inputs of objects must be texts; give numbers as one regular array.")
        return dataset_of(pa.table({"text": pa.array(values.tolist(), pa.string()), "label": label}))
    if values.dtype.kind not in "buif":
        raise BadInputError(f"Inputs of type {values.dtype} are neither texts nor numbers.")
    if values.ndim >= 3:
        return _image_rows(to_pixels(values), label)
    matrix = values[:, None] if values.ndim == 1 else values
    matrix = matrix.astype(np.float32 if matrix.dtype == np.float16 else matrix.dtype, copy=False)
    if matrix.shape[1] == 0:
        raise BadInputError("The input vectors have no columns; give at least one.")
    flat = pa.array(np.ascontiguousarray(matrix).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])
    return dataset_of(pa.table({"features": vectors, "label": label}))


def from_map_style(items: Any) -> datasets.Dataset:
    """Rows from a map-style torch data set of (input, label) pairs, or of mappings with two such values.

    Raises:
        BadInputError: an item is no such pair, or the same index gives different inputs.
    """
    if len(items) == 0:
        raise BadInputError("The torch data set is empty; give one with examples.")
    pairs = [_pair(items[index], index) for index in range(len(items))]
    inputs = [value for value, _ in pairs]
    labels = [label.item() if hasattr(label, "item") else label for _, label in pairs]
    first, again = inputs[0], _pair(items[0], 0)[0]
    texts = isinstance(first, str)
    if not (first == again if texts else np.array_equal(first, again, equal_nan=True)):
        raise BadInputError(
            "The torch data set gives different inputs for the same index; take its random transforms out "
            "(augmentation is a setting of the recipe)."
        )
    if texts:
        rows = from_arrays(inputs, labels)
    elif any(value.shape != first.shape for value in inputs):
        if first.ndim < 2:
            index = next(i for i, value in enumerate(inputs) if value.shape != first.shape)
            raise BadInputError(
                f"Item {index} has the shape {inputs[index].shape}, where item 0 has {first.shape}; "
                "vectors must be equally long."
            )
        rows = _image_rows(each_to_pixels(inputs), pa.array(labels))
    else:
        rows = from_arrays(np.stack(inputs), labels)
    return _with_class_names(rows, getattr(items, "classes", None), labels)


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
    """Arrays, tensors of any device and lists as a NumPy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise BadInputError("The inputs are not equally long; give vectors of one length.") from error
