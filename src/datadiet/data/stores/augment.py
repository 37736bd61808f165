"""Random crop, flip and cutout of whole image batches, drawn per example and never per batch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from datadiet.foundation.errors import BadInputError

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
        down = (
            torch.arange(height, device=images.device) + _draw(state, 1, 2 * self.pad + 1)[:, None] - self.pad
        )
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


_GOLDEN = 0x9E3779B97F4A7C15


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
