"""Images of more than 8 bits a channel: their numbers, and how these become 8 bits, alike for a whole data set."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Numbers = npt.NDArray[Any]

_DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners give; files of 16 bits hold any of them
_LOW, _UNSIGNED = "low bytes", "unsigned"
# Pillow makes 8 bits of colours of 16 bits by taking the upper byte, which is the first or the second of the two in
# the file; told that they stand the other way round, it takes the lower one.
_SWAPPED = {
    **{f"{mode};16B": f"{mode};16L" for mode in ("RGB", "RGBA", "RGBX")},
    **{f"{mode};16L": f"{mode};16B" for mode in ("RGB", "RGBA", "RGBX")},
    **{
        f"{mode};16N": f"{mode};16{'B' if sys.byteorder == 'little' else 'L'}"
        for mode in ("RGB", "RGBA", "RGBX")
    },
    "LA;16B": "RGBA",  # four bytes: the two of grey, the two of alpha
}


@dataclass(frozen=True)
class PixelRange:
    """The numbers of images of more than 8 bits that become 0 and 255; of images of 8 bits nothing changes.

    Args:
        whole: of images of whole numbers; None where none were seen, which are then taken as 0 to 65535.
        real: of images of floating-point numbers; None where none were seen, which are then taken as 0 to 1.

    >>> PixelRange(whole=(0, 4095)).to_bytes(np.array([0, 16, 4095])).tolist()
    [0, 1, 255]
    """

    whole: tuple[int, int] | None = None
    real: tuple[float, float] | None = None

    @property
    def usual(self) -> bool:
        """Whether images become what they become without any range."""
        return self.whole in (None, _WHOLE) and self.real in (None, _REAL)

    def or_else(self, other: PixelRange) -> PixelRange:
        """This range, and that of another data set for images of a kind that was not seen here."""
        return PixelRange(self.whole or other.whole, self.real or other.real)

    def differs(self, other: PixelRange) -> bool:
        """Whether images of a kind that both have seen have other ranges."""
        pairs = ((self.whole, other.whole), (self.real, other.real))
        return any(None not in (mine, theirs) and mine != theirs for mine, theirs in pairs)

    def to_bytes(self, numbers: Numbers) -> npt.NDArray[np.uint8]:
        """Numbers of any shape as uint8; what lies outside the range is cut.

        Of 10, 12, 14 and 16 bits the upper 8 are kept, in any other range numbers are rounded.

        Raises:
            ValueError: numbers that are NaN or infinite.
        """
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            raise ValueError("it has NaN or infinite pixels")
        # Numbers of an image that is not of the data set, such as one of a pool, may lie outside.
        if numbers.dtype.kind == "f":
            low, high = self.real or _REAL
            return _linear(np.clip(numbers.astype(np.float64), low, high), low, high)
        ends = self.whole or _WHOLE
        inside = np.clip(numbers.astype(np.int64), *ends)
        if ends in _BIT_RANGES:
            return np.asarray(inside >> (ends[1].bit_length() - 8)).astype(np.uint8)
        return _linear(inside, *ends)

    def describe(self) -> dict[str, Any]:
        """What enters the content address of a run; nothing where images become what they usually do."""
        return {} if self.usual else {"pixels": asdict(self)}


def _linear(numbers: Numbers, low: float, high: float) -> npt.NDArray[np.uint8]:
    return np.rint((numbers - low) * 255 / (high - low)).astype(np.uint8)  # exact: divided once, and last


_WHOLE, _REAL = (0, 65535), (0.0, 1.0)
_BIT_RANGES = tuple((0, 2**bits - 1) for bits in _DEPTHS)


@dataclass
class Extremes:
    """The smallest and the largest number of each image of more than 8 bits that was looked at.

    >>> seen = Extremes()
    >>> seen.see(np.array([3, 900], dtype=np.uint16))
    >>> seen.pixel_range()
    PixelRange(whole=(0, 1023), real=None)
    >>> seen.notes()
    ['1 image of more than 8 bits holds whole numbers from 3 to 900: the upper 8 of 10 bits are used.']
    """

    whole: list[tuple[int, int]] = field(default_factory=list)
    real: list[tuple[float, float]] = field(default_factory=list)

    def see(self, numbers: Numbers | None) -> None:
        """Take the numbers of an image into account; None is an image of at most 8 bits."""
        if numbers is None or numbers.size == 0:
            return
        low, high = numbers.min(), numbers.max()
        if numbers.dtype.kind != "f":
            self.whole.append((int(low), int(high)))
        elif np.isfinite(low) and np.isfinite(high):
            self.real.append((float(low), float(high)))

    def pixel_range(self) -> PixelRange:
        """The range of all of them: a depth in bits, 0..1, 0..255, or from the smallest (at most 0) to the largest."""
        whole: tuple[int, int] | None = None
        real: tuple[float, float] | None = None
        if self.whole:
            low, high = _ends(self.whole)
            known = (ends for ends in _BIT_RANGES if low >= 0 and high <= ends[1])
            whole = next(known, (min(low, 0), max(high, 0)))
        if self.real:
            least, most = _ends(self.real)
            usual = (ends for ends in ((0.0, 1.0), (0.0, 255.0)) if least >= 0 and most <= ends[1])
            real = next(usual, (min(least, 0.0), max(most, 0.0)))
        return PixelRange(whole, real)

    def notes(self) -> list[str]:
        """What there is to say of them."""
        taken, said = self.pixel_range(), []
        if taken.whole is not None:
            how = _scaling(*taken.whole)
            if taken.whole in _BIT_RANGES:
                bits = taken.whole[1].bit_length()
                how = "they are taken as they are" if bits == 8 else f"the upper 8 of {bits} bits are used"
            low, high = _ends(self.whole)
            said.append(
                f"{_images(len(self.whole), 'more than 8 bits')} whole numbers from {low} to {high}: {how}."
            )
        if taken.real is not None:
            low, high = _ends(self.real)
            how = _scaling(*taken.real)
            said.append(
                f"{_images(len(self.real), 'floating-point pixels')} numbers from {low:g} to {high:g}: {how}."
            )
        return said


def _ends(seen: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    return min(low for low, _ in seen), max(high for _, high in seen)


def _scaling(low: float, high: float) -> str:
    return f"for all of them {low:g} becomes 0 and {high:g} becomes 255"


def _images(count: int, what: str) -> str:
    return f"1 image of {what} holds" if count == 1 else f"{count} images of {what} hold"


def low_bytes(image: Image.Image, again: Callable[[], Image.Image]) -> Image.Image | None:
    """An image with the lower bytes of colours of 16 bits, of which Pillow's own image has the upper ones; else None.

    Args:
        image: opened, and not decoded yet.
        again: opens the same image once more.
    """
    if image.format not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA", "I"):
        return None
    raw = _raw_mode(image)
    if raw == "I;32N":
        image.info[_UNSIGNED] = True  # Pillow has no mode for them: from 2**31 on they look negative
    if raw not in _SWAPPED:
        return None
    low = again()
    for number, tile in enumerate(low.tile):  # type: ignore[attr-defined]
        arguments = _SWAPPED[raw] if isinstance(tile.args, str) else (_SWAPPED[raw], *tile.args[1:])
        low.tile[number] = tile._replace(args=arguments)  # type: ignore[attr-defined]
    if raw == "LA;16B":
        grey = low.getchannel("G")
        return Image.merge("RGB", (grey, grey, grey))
    return low


def _raw_mode(image: Any) -> str:
    """How the numbers lie in the file, as Pillow calls it."""
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments if isinstance(arguments, str) else (arguments or ("",))[0])


def with_low_bytes(image: Image.Image, low: Image.Image) -> Image.Image:
    """The image, knowing its lower bytes."""
    image.info[_LOW] = low
    return image


def wide_numbers(image: Image.Image) -> Numbers | None:
    """The numbers of an image of more than 8 bits a channel: (height, width) or (height, width, 3); None of others."""
    low = image.info.get(_LOW)
    if low is None:
        if image.mode != "F" and not image.mode.startswith("I"):
            return None
        numbers = np.asarray(image)
        return numbers.view(np.uint32) if image.info.get(_UNSIGNED) else numbers
    upper, lower = (np.asarray(one.convert("RGB")).astype(np.uint16) for one in (image, low))
    return np.asarray(upper << 8 | lower)
