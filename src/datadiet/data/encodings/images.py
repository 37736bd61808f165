"""Images -> uint8 storage -> normalised float32 batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datadiet.data.checks.images import decode
from datadiet.data.columns.arrow import one_array, rows_at
from datadiet.data.examples import Examples, IntArray, Part
from datadiet.data.stores.augment import Augmentation
from datadiet.data.stores.batches import DenseRows, Rows
from datadiet.foundation.errors import BadInputError

# Statistics come from all pixels up to this many bytes of them, else from a sample of this many images.
_WHOLE_BYTES = 1 << 30
_SAMPLE = 20_000
_DECODE_ROWS = 1024


@dataclass(frozen=True)
class ImageEncoding:
    """Images: uint8 (examples, channels, height, width) stored, float32 `(x / 255 - mean) / std` in a batch.

    `mean` and `std` have one number a channel, in units of 1 = white, as Hugging Face processors do.

    >>> encoding = ImageEncoding(1, 2, 2, mean=(0.5,), std=(0.5,))
    >>> black = DenseRows(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))
    >>> encoding.prepare(black).flatten().tolist()
    [-1.0, -1.0, -1.0, -1.0]
    """

    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise BadInputError(f"mean and std need one number for each of {self.channels} channels.")
        if min(self.std) <= 0:
            raise BadInputError("std of an image encoding must be above 0.")

    @classmethod
    def fit(cls, examples: Examples, *, size: int | None = None) -> ImageEncoding:
        """Shape from the examples (or `size` x `size`), mean and spread of each channel from the train part.

        All pixels are counted, or those of a seeded sample of 20,000 images where all are over 1 GiB.

        Raises:
            BadInputError: the examples are not images.
        """
        if examples.kind != "image" or examples.image_shape is None:
            raise BadInputError(f"'{examples.name}' holds {examples.kind} examples, not images.")
        channels, height, width = examples.image_shape
        if size is not None:
            height = width = size
        blank = cls(channels, height, width, (0.5,) * channels, (0.5,) * channels)
        counts = np.zeros((channels, 256), dtype=np.int64)
        train = examples.train
        positions = np.arange(len(train))
        if len(train) * channels * height * width > _WHOLE_BYTES and len(train) > _SAMPLE:
            positions = np.sort(np.random.Generator(np.random.PCG64(0)).choice(len(train), _SAMPLE, False))
        cached = train.decoded.get(blank.shape)
        for start in range(0, len(positions), _DECODE_ROWS):
            chunk = positions[start : start + _DECODE_ROWS]
            pixels = blank.encode(train, chunk).values if cached is None else cached[torch.from_numpy(chunk)]
            for channel in range(channels):
                counts[channel] += np.bincount(pixels[:, channel].reshape(-1).numpy(), minlength=256)
        levels = np.arange(256) / 255.0
        share = counts / counts.sum(axis=1, keepdims=True)
        mean = share @ levels
        std = np.sqrt(np.maximum(share @ levels**2 - mean**2, 0.0))
        std = np.where(std < 1e-6, 1.0, std)
        return cls(channels, height, width, tuple(mean.tolist()), tuple(std.tolist()))

    def for_model(self, wanted: Mapping[str, Any]) -> ImageEncoding:
        """This encoding with the channels, `mean` and `std` that a model was trained with, where it says them.

        Args:
            wanted: any of `channels`, `mean` and `std`.

        >>> grey = ImageEncoding(1, 8, 8, mean=(0.5,), std=(0.2,))
        >>> grey.for_model({"channels": 3}).mean
        (0.5, 0.5, 0.5)
        """
        channels = wanted.get("channels", self.channels)
        mean, std = wanted.get("mean", self.mean), wanted.get("std", self.std)
        if len(mean) != channels:  # grey pictures for a model of colours: each channel is the grey one
            mean, std = (tuple(values) * channels for values in (mean[:1], std[:1]))
        return ImageEncoding(channels, self.height, self.width, tuple(mean), tuple(std))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return (self.channels, self.height, self.width)

    def describe(self) -> dict[str, Any]:
        """What enters the content address of a run."""
        return {
            "encoding": "image",
            "shape": list(self.shape),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def storage_bytes(self, part: Part) -> int:
        """Memory that the whole part takes when encoded."""
        return len(part) * self.channels * self.height * self.width

    def encode(self, part: Part, positions: IntArray) -> DenseRows:
        """The rows at `positions`, decoded now.

        Raises:
            BadInputError: an image cannot be decoded; the message names its id.
        """
        column = part.input_columns[0]
        pixels, failed, _ = decode(
            one_array(rows_at(part.dataset, [column], positions), column).to_pylist(), self.shape
        )
        if failed:
            position, reason = min(failed.items())
            raise BadInputError(
                f"The image of id {part.ids[positions[position]]} (column '{column}') cannot be "
                f"decoded: {reason}; mend or remove it, or load the data with on_bad_example='skip'."
            )
        return DenseRows(pixels)

    def encode_all(self, part: Part) -> DenseRows:
        """The whole part; pixels that loading decoded already are used as they are."""
        cached = part.decoded.get(self.shape)
        if cached is not None:
            return DenseRows(cached)
        pixels = torch.empty((len(part), *self.shape), dtype=torch.uint8)
        for start in range(0, len(part), _DECODE_ROWS):
            positions = np.arange(start, min(start + _DECODE_ROWS, len(part)))
            pixels[start : start + len(positions)] = self.encode(part, positions).values
        return DenseRows(pixels)

    def augmented(self, rows: Rows, augment: Augmentation, ids: Tensor, seed: int, epoch: int) -> Rows:
        """Rows after augmentation; a cut-out square has the mean colour."""
        assert isinstance(rows, DenseRows)
        fill = torch.tensor(self.mean).mul(255).round().to(torch.uint8) if augment.cutout else None
        return DenseRows(augment(rows.values, ids, seed, epoch, fill=fill))

    def prepare(
        self,
        rows: Rows,
        device: torch.device | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> Tensor:
        """Float32 (batch, channels, height, width), normalised, on the device."""
        assert isinstance(rows, DenseRows)
        pixels = rows.values if device is None else rows.values.to(device, non_blocking=True)
        scale, shift = _scale_and_shift(self.mean, self.std, pixels.device)
        images = pixels.to(torch.float32, memory_format=torch.contiguous_format).mul_(scale).sub_(shift)
        # Floats change their memory format several times faster than bytes do.
        return images if memory_format is None else images.contiguous(memory_format=memory_format)


@lru_cache(maxsize=32)
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """`1 / (255 std)` and `mean / std` as (channels, 1, 1); kept, since copies to a GPU make it wait."""
    scale = torch.tensor([1 / (255 * s) for s in std], dtype=torch.float32, device=device)
    shift = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32, device=device)
    return scale.view(-1, 1, 1), shift.view(-1, 1, 1)
