"""Arrays and map-style torch data sets -> `datasets.Dataset` rows with the columns `input` and `label`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datadiet.data.checks.images import cores, encode_png
from datadiet.data.columns.arrow import dataset_of
from datadiet.foundation.errors import BadInputError

if TYPE_CHECKING:
    import datasets


_CHANNELS = (1, 3, 4)


def from_arrays(inputs: Any, labels: Any) -> datasets.Dataset:
    """Rows from (inputs, labels): texts, vectors (rows, width) or images (rows, [channels,] height, width
    [, channels]) as uint8, as numbers in 0..255, or as floats in 0..1.

    Raises:
        BadInputError: shapes do not match or numbers are not in a known range.

    >>> from_arrays(["good", "bad"], [1, 0]).column_names
    ['text', 'label']
    """
    targets = _array(labels)
    values = _array(inputs)
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
    inputs: list[Any] = []
    labels: list[Any] = []
    for index in range(len(items)):
        value, label = _pair(items[index], index)
        inputs.append(_plain(value))
        labels.append(label.item() if hasattr(label, "item") else label)
    again = _plain(_pair(items[0], 0)[0])
    if not _same(inputs[0], again):
        raise BadInputError(
            "The torch data set gives different inputs for the same index; take its random transforms out "
            "(augmentation is a setting of the recipe)."
        )
    names = getattr(items, "classes", None)
    target: Any = labels
    if isinstance(inputs[0], str):
        rows = from_arrays(inputs, target)
    elif any(value.shape != inputs[0].shape for value in inputs):
        if inputs[0].ndim < 2:
            index = next(i for i, value in enumerate(inputs) if value.shape != inputs[0].shape)
            raise BadInputError(
                f"Item {index} has the shape {inputs[index].shape}, where item 0 has {inputs[0].shape}; "
                "vectors must be equally long."
            )
        rows = _image_rows(each_to_pixels(inputs), pa.array(labels))
    else:
        rows = from_arrays(np.stack(inputs), target)
    return _with_names(rows, names, labels)


def each_to_pixels(images: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[np.uint8]]:
    """Images of several sizes as uint8; what range their numbers have is told from all of them together."""
    brightest = max(float(image.max(initial=0)) for image in images)
    return [to_pixels(image[None], brightest)[0] for image in images]


def to_pixels(values: npt.NDArray[Any], brightest: float | None = None) -> npt.NDArray[np.uint8]:
    """Images of any layout and number type as uint8 (images, height, width, channels).

    Floats are in 0..1 if `brightest` (the largest of all, of these images if left out) is at most 1.

    Raises:
        BadInputError: the numbers are in neither 0..1 (floats) nor 0..255.

    >>> to_pixels(np.ones((2, 3, 8, 8))).shape
    (2, 8, 8, 3)
    """
    if values.ndim == 3:
        values = values[..., None]
    if values.ndim != 4:
        raise BadInputError(
            f"Images of shape {values.shape} need 3 or 4 dimensions: rows, height, width, channels."
        )
    if values.shape[-1] not in _CHANNELS:
        if values.shape[1] not in _CHANNELS:
            raise BadInputError(f"Images of shape {values.shape} have no dimension of 1, 3 or 4 channels.")
        values = np.moveaxis(values, 1, -1)
    if values.shape[-1] == 4:
        values = values[..., :3]
    if values.dtype == np.uint8 or values.size == 0:
        return np.ascontiguousarray(values, dtype=np.uint8)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
        raise BadInputError(f"The image in row {row} has NaN or infinite pixels; mend or remove it.")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        raise BadInputError(
            f"The pixels lie in {low:g}..{high:g}; give them un-normalised, as 0..255 or as floats in 0..1."
        )
    unit = values.dtype.kind == "b" or (
        values.dtype.kind == "f" and (high if brightest is None else brightest) <= 1
    )
    scale = 255 if unit else 1
    return np.ascontiguousarray(np.round(values.astype(np.float32) * scale).astype(np.uint8))


def image_column(images: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8]) -> Any:
    """Images as an Arrow struct of lossless PNG bytes and no path, as `datasets.Image` stores them."""
    with ThreadPoolExecutor(cores()) as pool:
        encoded = list(pool.map(encode_png, images))
    return pa.StructArray.from_arrays(
        [pa.array(encoded, pa.binary()), pa.nulls(len(encoded), pa.string())], names=["bytes", "path"]
    )


def _image_rows(
    images: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8], label: Any
) -> datasets.Dataset:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value(str(label.type))})
    return dataset_of(pa.Table.from_arrays([image_column(images), label], schema=features.arrow_schema))


def _with_names(rows: datasets.Dataset, names: Any, labels: Sequence[Any]) -> datasets.Dataset:
    """Keep the `classes` that torchvision's data sets carry, where labels are indices into them."""
    import datasets

    if not isinstance(names, Sequence) or isinstance(names, str) or len(set(map(str, names))) != len(names):
        return rows
    if not all(isinstance(label, int) and 0 <= label < len(names) for label in labels):
        return rows
    return rows.cast_column("label", datasets.ClassLabel(names=[str(name) for name in names]))


def _pair(item: Any, index: int) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        labels = [key for key in ("label", "labels", "target", "y") if key in item]
        others = [key for key in item if key not in labels]
        if len(labels) == 1 and len(others) == 1:
            return item[others[0]], item[labels[0]]
    elif isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise BadInputError(f"Item {index} of the torch data set is no pair of input and label.")


def _plain(value: Any) -> Any:
    """A text as it is, anything else as an array."""
    if isinstance(value, str):
        return value
    if hasattr(value, "mode") and hasattr(value, "tobytes"):  # a PIL image
        from datadiet.data.checks.images import to_array

        return to_array(value)
    return _array(value)


def _same(first: Any, second: Any) -> bool:
    return first == second if isinstance(first, str) else bool(np.array_equal(first, second, equal_nan=True))


def _array(values: Any) -> npt.NDArray[Any]:
    """Arrays, tensors of any device and lists as a NumPy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise BadInputError("The inputs are not equally long; give vectors of one length.") from error
