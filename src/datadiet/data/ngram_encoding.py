"""Texts -> hashed word n-grams."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datadiet.data.augment import Augmentation
from datadiet.data.examples import IntArray, Part
from datadiet.data.rows import RaggedRows, Rows
from datadiet.data.text_rows import estimated_bytes, in_chunks, no_augmentation, texts_of
from datadiet.errors import BadInputError

_WORD = re.compile(r"\w+|[^\w\s]")
_U64 = np.uint64


@dataclass(frozen=True)
class NgramEncoding:
    """Hashed word n-grams: each text is a list of numbers in 1..buckets-1; 0 is padding.

    Words are runs of letters and digits, or single signs, in lower case; at most `max_tokens` of each text
    count. An n-gram's number is a hash of its words and its column that is the same on every machine.
    A batch is int64 (batch, longest of it).

    Source: the hashing trick of fastText (Joulin et al. 2017, section 2.2).

    >>> import datadiet.data
    >>> examples = datadiet.data.load((["a b", "c", "a b", "c"], [0, 1, 0, 1]), test_fraction=0.5)
    >>> rows = NgramEncoding(buckets=100).encode_all(examples.train)
    >>> sorted((rows.offsets[1:] - rows.offsets[:-1]).tolist())
    [1, 3]
    """

    buckets: int = 2**17
    orders: tuple[int, ...] = (1, 2)
    max_tokens: int = 512

    def __post_init__(self) -> None:
        if not 2 <= self.buckets <= 2**31 - 1 or self.max_tokens < 1:
            raise BadInputError("An n-gram encoding needs at least 2 buckets and 1 token.")
        if not self.orders or min(self.orders) < 1:
            raise BadInputError("The orders of n-grams must be at least 1.")
        object.__setattr__(self, "orders", tuple(self.orders))

    def describe(self) -> dict[str, Any]:
        """What enters the content address of a run."""
        return {
            "encoding": "ngrams",
            "buckets": self.buckets,
            "orders": list(self.orders),
            "max_tokens": self.max_tokens,
        }

    def storage_bytes(self, part: Part) -> int:
        """Memory that the whole part takes when encoded, estimated from a sample of its rows."""
        return estimated_bytes(self.encode, part)

    def encode(self, part: Part, positions: IntArray) -> RaggedRows:
        """The rows at `positions`."""
        # All texts of a column in one flat array: one pass of NumPy for each order instead of one a text.
        known: dict[str, int] = {}
        pieces = [
            piece
            for column, texts in enumerate(texts_of(part, positions))
            for piece in self._column_ngrams(texts, column, known)
        ]
        counts = np.stack([count for _, count in pieces], axis=1)
        starts = np.cumsum(counts.reshape(-1)).reshape(counts.shape) - counts
        numbers = np.empty(int(counts.sum()), dtype=np.int32)
        for index, (values, count) in enumerate(pieces):
            within = np.arange(len(values)) - np.repeat(np.cumsum(count) - count, count)
            numbers[np.repeat(starts[:, index], count) + within] = values
        offsets = np.concatenate([[0], np.cumsum(counts.sum(axis=1))]).astype(np.int64)
        return RaggedRows({"ngrams": torch.from_numpy(numbers)}, torch.from_numpy(offsets))

    def encode_all(self, part: Part) -> RaggedRows:
        """The whole part."""
        return in_chunks(self.encode, part)

    def _column_ngrams(
        self, texts: list[str], column: int, known: dict[str, int]
    ) -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]]:
        """For each order the n-grams of all texts one after another, and how many each text has."""
        words = [_WORD.findall(text.lower())[: self.max_tokens] for text in texts]
        lengths = np.array([len(row) for row in words], dtype=np.int64)
        hashes = np.array([_word_hash(word, known) for row in words for word in row], dtype=_U64)
        left = np.repeat(np.cumsum(lengths), lengths) - np.arange(
            len(hashes)
        )  # words from here to the text's end
        for order in self.orders:
            first = np.flatnonzero(left >= order)
            # Position matters within an n-gram, and n-grams of each order and column are apart.
            state = np.full(len(first), _U64(order * 1000 + column), dtype=_U64)
            for shift in range(order):
                state = _mixed(state ^ hashes[first + shift])
            numbers = (state % _U64(self.buckets - 1) + _U64(1)).astype(np.int32)
            yield numbers, np.maximum(lengths - order + 1, 0)

    def augmented(self, rows: Rows, augment: Augmentation, ids: Tensor, seed: int, epoch: int) -> Rows:
        """Refused: crops and flips are for images."""
        raise no_augmentation()

    def prepare(
        self,
        rows: Rows,
        device: torch.device | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> Tensor:
        """Int64 (batch, longest of the batch), 0 where a text is shorter."""
        assert isinstance(rows, RaggedRows)
        padded = rows.padded("ngrams", 0)
        return padded if device is None else padded.to(device, non_blocking=True)


def _word_hash(word: str, known: dict[str, int]) -> int:
    """64 bits of BLAKE2, which do not depend on the process as Python's own hash does."""
    number = known.get(word)
    if number is None:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        number = known[word] = int.from_bytes(digest, "little")
    return number


def _mixed(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    state = (state ^ (state >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> _U64(27))) * _U64(0x94D049BB133111EB)
    return state ^ (state >> _U64(31))
