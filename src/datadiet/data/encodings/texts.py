"""Texts -> hashed word n-grams, a WordPiece tokenizer trained on them, and how every encoding of texts reads them."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datadiet.data.arrow import CHUNK_ROWS, chunks_of, offsets_of, rows_at, texts_in
from datadiet.data.encodings import Device, MemoryFormat, RaggedRows, Rows, join
from datadiet.data.examples import IntArray, Part
from datadiet.foundation.errors import BadInputError

_SAMPLE_ROWS = 1000
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORD = re.compile(r"\w+|[^\w\s]")
_U64 = np.uint64
Encode = Callable[[Part, IntArray], RaggedRows]


def texts_of(part: Part, positions: IntArray) -> list[list[str]]:
    """One list of texts a column; words of a list are joined by spaces."""
    table = rows_at(part.dataset, part.input_columns, positions)
    return [texts_in(table, column) for column in part.input_columns]


def estimated_bytes(encode: Encode, part: Part) -> int:
    """Memory that a whole part takes when encoded, from a sample all over it."""
    sample = np.unique(np.linspace(0, len(part) - 1, min(_SAMPLE_ROWS, len(part))).astype(np.int64))
    return int(encode(part, sample).nbytes / max(len(sample), 1) * len(part))


def chunks_of_positions(part: Part) -> Iterator[IntArray]:
    """The positions of all rows of a part, some thousand at a time."""
    for start in range(0, len(part), CHUNK_ROWS):
        yield np.arange(start, min(start + CHUNK_ROWS, len(part)))


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
        return {"encoding": "ngrams", **dataclasses.asdict(self), "orders": list(self.orders)}

    def storage_bytes(self, part: Part) -> int:
        """Memory that the whole part takes when encoded, estimated from a sample of its rows."""
        return estimated_bytes(self.encode, part)

    def encode(self, part: Part, positions: IntArray) -> RaggedRows:
        """The rows at `positions`."""
        # All texts of a column in one flat array: one pass of NumPy for each order instead of one a text.
        columns = enumerate(texts_of(part, positions))
        pieces = [piece for column, texts in columns for piece in self._column_ngrams(texts, column)]
        counts = np.stack([count for _, count in pieces], axis=1)
        starts = np.cumsum(counts.reshape(-1)).reshape(counts.shape) - counts
        numbers = np.empty(int(counts.sum()), dtype=np.int32)
        for index, (values, count) in enumerate(pieces):
            within = np.arange(len(values)) - np.repeat(np.cumsum(count) - count, count)
            numbers[np.repeat(starts[:, index], count) + within] = values
        offsets = offsets_of(counts.sum(axis=1))
        return RaggedRows({"ngrams": torch.from_numpy(numbers)}, torch.from_numpy(offsets))

    def encode_all(self, part: Part) -> RaggedRows:
        """The whole part."""
        return join([self.encode(part, positions) for positions in chunks_of_positions(part)])

    def _column_ngrams(
        self, texts: list[str], column: int
    ) -> Iterator[tuple[npt.NDArray[np.int32], IntArray]]:
        """For each order the n-grams of all texts one after another, and how many each text has."""
        words = [_WORD.findall(text.lower())[: self.max_tokens] for text in texts]
        lengths = np.array([len(row) for row in words], dtype=np.int64)
        known = {word: _word_hash(word) for word in {word for row in words for word in row}}
        hashes = np.array([known[word] for row in words for word in row], dtype=_U64)
        # Words from here to the text's end.
        left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(hashes))
        for order in self.orders:
            first = np.flatnonzero(left >= order)
            # Position matters within an n-gram, and n-grams of each order and column are apart.
            state = np.full(len(first), _U64(order * 1000 + column), dtype=_U64)
            for shift in range(order):
                state = _mixed(state ^ hashes[first + shift])
            numbers = (state % _U64(self.buckets - 1) + _U64(1)).astype(np.int32)
            yield numbers, np.maximum(lengths - order + 1, 0)

    def prepare(self, rows: Rows, device: Device = None, memory_format: MemoryFormat = None) -> Tensor:
        """Int64 (batch, longest of the batch), 0 where a text is shorter."""
        assert isinstance(rows, RaggedRows)
        padded = rows.padded("ngrams", 0)
        return padded if device is None else padded.to(device, non_blocking=True)


def _word_hash(word: str) -> int:
    """64 bits of BLAKE2, which do not depend on the process as Python's own hash does."""
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _mixed(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    state = (state ^ (state >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> _U64(27))) * _U64(0x94D049BB133111EB)
    return state ^ (state >> _U64(31))


def import_transformers() -> Any:
    """The package, which is optional.

    Raises:
        BadInputError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise BadInputError(
            "Tokenizers need transformers; install it with: pip install 'datadiet[transformers]'."
        ) from error
    return transformers


def trained_tokenizer(part: Part, *, vocabulary_size: int = 8000, lowercase: bool = True) -> Any:
    """A `transformers.PreTrainedTokenizerFast` with the word pieces of the texts of a part.

    Texts are normalised and split as for BERT (Devlin et al. 2019). The same texts, in whatever order, give
    the same vocabulary, in every process and on every machine.

    Args:
        part: the training part; no other text may enter.
        vocabulary_size: pieces at most, special tokens included; few texts give fewer.
        lowercase: take capital and small letters, and letters with and without accents, as the same.

    Raises:
        BadInputError: the part holds no texts, the size is too small, or `transformers` is missing.

    >>> import datadiet.data
    >>> texts = ["to new york", "to rome", "from new york", "rome"]
    >>> examples = datadiet.data.load((texts, [0, 0, 1, 1]), test_fraction=0.5)
    >>> tokenizer = trained_tokenizer(examples.train, vocabulary_size=60)
    >>> tokenizer.convert_ids_to_tokens(tokenizer("")["input_ids"])
    ['[CLS]', '[SEP]']
    """
    if part.kind != "text":
        raise BadInputError(f"A tokenizer is trained on texts, not on examples of the kind '{part.kind}'.")
    transformers = import_transformers()
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    splitter = pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for column in part.input_columns:
        for _, table in chunks_of(part.dataset, [column]):
            for text in texts_in(table, column):
                words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    vocabulary = _word_pieces(words, vocabulary_size)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    special = {f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS}
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **special, model_input_names=names
    )


def _word_pieces(words: Counter[str], vocabulary_size: int) -> dict[str, int]:
    """Pieces and their ids from how often each word is there."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    letters = sorted({letter for word in words for letter in word})
    # The trainer numbers letters in the order of a hash table, which differs from process to process, and
    # breaks ties by these numbers. Given as special tokens, they are numbered as they stand here.
    first = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)]
    if vocabulary_size < len(first):
        raise BadInputError(
            f"vocabulary_size is {vocabulary_size}, but these texts have {len(letters)} different letters; give "
            f"at least {len(first)}."
        )
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size, special_tokens=first, show_progress=False, min_frequency=2
    )
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Each word as often as it is there, in the order of code points.
    tokenizer.train_from_iterator((" ".join([word] * words[word]) for word in sorted(words)), trainer)
    found = tokenizer.get_vocab(with_added_tokens=False)
    return {piece: index for index, piece in enumerate(sorted(found, key=found.__getitem__))}
