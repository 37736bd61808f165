"""Images -> uint8 storage -> normalised float32 batches; random crop, flip and cutout, drawn for each example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from datadiet.data.arrow import one_array, rows_at
from datadiet.data.columns.images import decode, file_of
from datadiet.data.depth import PixelRange
from datadiet.data.encodings import DenseRows, Device, MemoryFormat, Rows
from datadiet.data.examples import Examples, IntArray, Part
from datadiet.foundation.errors import BadInputError

# Statistics come from all pixels up to this many bytes of them, else from a sample of this many images.
_WHOLE_BYTES = 1 << 30
_SAMPLE = 20_000
_DECODE_ROWS = 1024
_GOLDEN = 0x9E3779B97F4A7C15
PadMode = Literal["reflect", "zero"]


@dataclass(frozen=True)
class Augmentation:
    """Pad by `pad` pixels, crop to the old size at random, mirror half of the images, cut out a square.

    Random numbers are a hash of (seed, epoch, example id): what an example looks like in an epoch does
    not depend on its batch, on the number of ranks, nor on how the data is stored. Padding is never
    materialised: crop, flip and reflection are one gather by index.

    Args of the call: `images` (batch, channels, height, width) of any type; `ids` (batch,) int64;
    `fill` (channels,) of the images' type, 0 if left out. `pad_mode="zero"` pads with 0; `cutout` is the
    side in pixels of the square that is set to `fill`, 0 for none; its centre may lie anywhere.

    >>> images = torch.arange(2 * 16).reshape(2, 1, 4, 4)
    >>> crop = Augmentation(pad=1)
    >>> together = crop(images, torch.tensor([7, 8]), seed=0, epoch=3)
    >>> alone = crop(images[1:], torch.tensor([8]), seed=0, epoch=3)
    >>> torch.equal(together[1:], alone)
    True

    Source: pad, crop and flip as in "Deep Learning on a Data Diet" (Paul et al. 2021, appendix B);
    cutout as in DeVries and Taylor (2017).
    """

    pad: int = 4
    flip: bool = True
    pad_mode: PadMode = "reflect"
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.pad < 0 or self.cutout < 0:
            raise BadInputError("pad and cutout of an augmentation must not be negative.")
        if self.pad_mode not in ("reflect", "zero"):
            raise BadInputError(f"pad_mode is '{self.pad_mode}', but must be 'reflect' or 'zero'.")

    def describe(self) -> dict[str, Any]:
        """The fields, as JSON can hold them."""
        return asdict(self)

    def __call__(
        self, images: Tensor, ids: Tensor, seed: int, epoch: int, fill: Tensor | None = None
    ) -> Tensor:
        batch, channels, height, width = images.shape
        if self.pad_mode == "reflect" and self.pad >= min(height, width):
            raise BadInputError(
                f"Images of {height}x{width} pixels cannot be padded by {self.pad} in reflection; "
                "use a smaller pad."
            )
        if batch == 0 or not (self.pad or self.flip or self.cutout):
            return images
        state = _state(ids.to(images.device), seed, epoch)
        down = torch.arange(height, device=images.device)
        down = down + _draw(state, 1, 2 * self.pad + 1)[:, None] - self.pad
        across = torch.arange(width, device=images.device).expand(batch, width)
        if self.flip:
            mirrored = _draw(state, 3, 2)[:, None] == 1
            across = torch.where(mirrored, width - 1 - across, across)
        across = across + _draw(state, 2, 2 * self.pad + 1)[:, None] - self.pad
        # Reflection without repeating the edge: -1 is 1, height is height - 2.
        rows, columns = _fold(down, height), _fold(across, width)
        index = (rows[:, :, None] * width + columns[:, None, :]).reshape(batch, 1, height * width)
        flat = images.reshape(batch, channels, height * width)
        cropped = flat.gather(2, index.expand(batch, channels, height * width))
        cropped = cropped.view(batch, channels, height, width)
        if self.pad_mode == "zero" and self.pad:
            outside_rows = (down < 0) | (down >= height)
            outside_columns = (across < 0) | (across >= width)
            outside = outside_rows[:, :, None] | outside_columns[:, None, :]
            cropped.masked_fill_(outside[:, None], 0)
        if self.cutout:
            colour = cropped.new_zeros(channels) if fill is None else fill.to(cropped)
            square = self._square(state, height, width)[:, None]
            cropped = torch.where(square, colour[:, None, None], cropped)
        return cropped

    def _square(self, state: Tensor, height: int, width: int) -> Tensor:
        """Bool (batch, height, width): where the cut-out square of each image lies, clipped at edges."""
        top = _draw(state, 4, height)[:, None] - self.cutout // 2
        left = _draw(state, 5, width)[:, None] - self.cutout // 2
        rows = torch.arange(height, device=state.device)
        columns = torch.arange(width, device=state.device)
        inside_rows = (rows >= top) & (rows < top + self.cutout)
        inside_columns = (columns >= left) & (columns < left + self.cutout)
        return inside_rows[:, :, None] & inside_columns[:, None, :]


def _fold(index: Tensor, size: int) -> Tensor:
    """Indices up to one size outside folded back at the edges."""
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index).clamp_(0, size - 1)


def _signed(value: int) -> int:
    """A 64-bit pattern as the int64 that has it."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


def _mix(state: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014) on int64, with logical shifts."""
    state = (state ^ ((state >> 30) & ((1 << 34) - 1))) * _signed(0xBF58476D1CE4E5B9)
    state = (state ^ ((state >> 27) & ((1 << 37) - 1))) * _signed(0x94D049BB133111EB)
    return state ^ ((state >> 31) & ((1 << 33) - 1))


def _state(ids: Tensor, seed: int, epoch: int) -> Tensor:
    """One 64-bit state an example from (seed, epoch, id), each mixed in turn."""
    zero = torch.zeros(1, dtype=torch.int64, device=ids.device)
    base = _mix(_mix(zero + _signed(seed + _GOLDEN)) + _signed(epoch + _GOLDEN))
    return _mix(ids.to(torch.int64) + base)


def _draw(state: Tensor, stream: int, bound: int) -> Tensor:
    """Whole numbers in [0, bound), one an example, from the given stream of its state."""
    bits = (_mix(state + _signed(stream * _GOLDEN)) >> 33) & ((1 << 31) - 1)
    return (bits * bound) >> 31


@dataclass(frozen=True)
class ImageEncoding:
    """Images: uint8 (examples, channels, height, width) stored, float32 `(x / 255 - mean) / std` in a batch.

    `mean` and `std` have one number a channel, in units of 1 = white, as Hugging Face processors do. `pixel_range`
    says how images of more than 8 bits become 8 bits.

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
    pixel_range: PixelRange = field(default_factory=PixelRange)

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
        blank = cls(channels, height, width, (0.5,) * channels, (0.5,) * channels, examples.pixel_range)
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
        return replace(blank, mean=tuple(mean.tolist()), std=tuple(std.tolist()))

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
        return replace(self, channels=channels, mean=tuple(mean), std=tuple(std))

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
            **self.pixel_range.describe(),
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
        encoded = one_array(rows_at(part.dataset, [column], positions), column).to_pylist()
        pixels, failed, _ = decode(encoded, self.shape, pixel_range=self.pixel_range)
        if failed:
            position, reason = min(failed.items())
            raise BadInputError(
                f"The image of id {part.ids[positions[position]]} (column '{column}') cannot be "
                f"decoded{file_of(encoded[position])}: {reason}; mend or remove it, or load the data with "
                "on_bad_example='skip' (--on-bad-example skip)."
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

    def prepare(self, rows: Rows, device: Device = None, memory_format: MemoryFormat = None) -> Tensor:
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
