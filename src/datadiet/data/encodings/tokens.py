"""Texts -> token ids of a tokenizer, kept on disk, and for texts with tags the word that each token begins."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load, save

from datadiet.data.arrow import offsets_of, one_array, rows_at, words_of
from datadiet.data.encodings import WORDS, Device, Inputs, MemoryFormat, RaggedRows, Rows, join
from datadiet.data.encodings.texts import chunks_of_positions, estimated_bytes, import_transformers, texts_of
from datadiet.data.examples import IntArray, Part
from datadiet.data.fingerprint import column_digest
from datadiet.foundation.atomic import atomic_file
from datadiet.foundation.errors import BadInputError, RunFailedError

Flags = npt.NDArray[np.bool_]
OnLong = Literal["cut", "error"]
_VERSION = 2


class TokenCache:
    """Where the ragged rows of one part in one encoding are kept.

    The name is a SHA-256 of the texts (not of ids, labels or paths) and of what describes the encoding, so
    a changed text or tokenizer never finds old rows. Files appear whole or not at all; one that is not as
    it was written is made anew.
    """

    def __init__(self, folder: str | Path, part: Part, description: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps([_VERSION, description], sort_keys=True).encode())
        for column in part.input_columns:
            digest.update(column_digest(part, column))
        self.path = Path(folder) / f"{digest.hexdigest()[:40]}.safetensors"
        self.rows = len(part)

    def read(self) -> tuple[RaggedRows, Flags] | None:
        """The rows and which of them were cut, None if they are not there or damaged."""
        try:
            # Read whole, not mapped: the file may be replaced or deleted while rows are in use.
            found = load(self.path.read_bytes())
            if found.pop("xxh3").numpy().tobytes() != self._checksum(found):
                return None
            offsets, cut = found.pop("offsets"), found.pop("cut").numpy().astype(np.bool_)
        except (OSError, SafetensorError, KeyError):
            return None
        whole = all(len(values) == int(offsets[-1]) for values in found.values())
        if len(offsets) != self.rows + 1 or len(cut) != self.rows or not whole:
            return None
        return RaggedRows({name: found[name] for name in sorted(found)}, offsets), cut

    def write(self, rows: RaggedRows, cut: Flags) -> None:
        """Keep the rows; where that cannot be done (a full or read-only disk), they are made anew the next time."""
        columns = {name: values.contiguous() for name, values in rows.columns.items()}
        columns |= {"offsets": rows.offsets, "cut": torch.from_numpy(cut)}
        columns["xxh3"] = torch.frombuffer(bytearray(self._checksum(columns)), dtype=torch.uint8)
        try:
            with atomic_file(self.path) as file:
                file.write(save(columns))
        except (OSError, RunFailedError):
            return

    def _checksum(self, columns: Mapping[str, torch.Tensor]) -> bytes:
        """XXH3 of the file's name and of what is in it."""
        digest = xxhash.xxh3_128(self.path.name.encode())
        for name in sorted(columns):
            digest.update(name.encode())
            digest.update(columns[name].contiguous().numpy().tobytes())
        return digest.digest()


@dataclass(frozen=True)
class TokenEncoding:
    """Token ids of a `transformers` tokenizer, cut at `max_length` tokens.

    Two text columns are encoded as a sentence pair. A batch is a dict of int64 tensors (batch, longest of
    it): `input_ids`, `attention_mask` and, if the tokenizer gives them, `token_type_ids`.

    Args:
        tokenizer_path: folder or hub id of the tokenizer, or the tokenizer itself.
        max_length: tokens of an example, special tokens included.
        words: split texts at white space first and keep which token begins which word, so that tags of
            words can be aligned (`Batch.targets`); a byte-level tokenizer then sees each word with a space
            before it, as within a sentence.
        on_long: "cut" longer texts, or refuse them as an "error".
        cache_dir: folder where the token ids of whole parts are kept, and read from the next time.

    Raises:
        BadInputError: `max_length` or `on_long` cannot be.
    """

    tokenizer_path: Any
    max_length: int = 128
    words: bool = False
    on_long: OnLong = "cut"
    cache_dir: str | None = field(default=None, compare=False)
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise BadInputError(f"max_length is {self.max_length}, but must be at least 1.")
        if self.on_long not in ("cut", "error"):
            raise BadInputError(f"on_long is '{self.on_long}', but must be 'cut' or 'error'.")

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded when first needed.

        Raises:
            BadInputError: `transformers` is not installed, or there is no tokenizer at the path.
        """
        if "tokenizer" not in self._loaded:
            given = not isinstance(self.tokenizer_path, str)
            tokenizer = self.tokenizer_path if given else _loaded_from(self.tokenizer_path)
            if self.words:
                tokenizer = _for_words(copy.deepcopy(tokenizer) if given else tokenizer)
            self._loaded["tokenizer"] = tokenizer
        return self._loaded["tokenizer"]

    @property
    def vocabulary_size(self) -> int:
        """How many rows a model's table of embeddings needs: the largest token id and one."""
        return int(max(self.tokenizer.get_vocab().values(), default=-1)) + 1

    @property
    def padding_token(self) -> int:
        """What texts are padded with: the tokenizer's padding, else its end of text, else 0."""
        found = (getattr(self.tokenizer, name, None) for name in ("pad_token_id", "eos_token_id"))
        return next((int(token) for token in found if token is not None), 0)

    def describe(self) -> dict[str, Any]:
        """What enters the content address of a run: the tokenizer's content, not where it lies."""
        # The content holds the settings of the last call, so this makes them those of every encoding.
        self._call([["a"]] if self.words else ["a"])
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        content = fast.to_str() if fast is not None else repr(sorted(self.tokenizer.get_vocab().items()))
        return {
            "encoding": "tokens",
            "tokenizer": hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest(),
            "max_length": self.max_length,
            **({"words": True} if self.words else {}),
        }

    def storage_bytes(self, part: Part) -> int:
        """Memory that the whole part takes when encoded, estimated from a sample of its rows."""
        return estimated_bytes(lambda part, positions: self._encoded(part, positions)[0], part)

    def encode(self, part: Part, positions: IntArray) -> RaggedRows:
        """The rows at `positions`.

        Raises:
            BadInputError: more text columns than a tokenizer takes, or a text that is too long and not to
                be cut.
        """
        rows, cut = self._encoded(part, positions)
        if self.on_long == "error" and cut.any():
            self._refuse(part, np.asarray(positions)[cut])
        return rows

    def encode_all(self, part: Part) -> RaggedRows:
        """The whole part, from `cache_dir` where it is kept there."""
        cache = None if self.cache_dir is None else TokenCache(self.cache_dir, part, self.describe())
        kept = None if cache is None else cache.read()
        if kept is None:
            pieces = [self._encoded(part, positions) for positions in chunks_of_positions(part)]
            kept = join([rows for rows, _ in pieces]), np.concatenate([cut for _, cut in pieces])
            if cache is not None:
                cache.write(*kept)
        rows, cut = kept
        self._cuts[part] = cut
        if self.on_long == "error" and cut.any():
            self._refuse(part, np.flatnonzero(cut))
        return rows

    def truncated(self, part: Part) -> int:
        """How many texts of the part are longer than `max_length` tokens.

        Known after `encode_all`; before that, the part is tokenised for it.
        """
        if part not in self._cuts:
            dataclasses.replace(self, on_long="cut").encode_all(part)
        return int(self._cuts[part].sum())

    def truncation_note(self, part: Part) -> str | None:
        """A sentence on how many texts of the part are cut, if any are."""
        if not (cut := self.truncated(part)):
            return None
        are = "is" if cut == 1 else "are"
        return f"{cut:,} of {len(part):,} texts {are} longer than {self.max_length} tokens and {are} cut."

    def prepare(self, rows: Rows, device: Device = None, memory_format: MemoryFormat = None) -> Inputs:
        """A dict of int64 tensors (batch, longest of the batch)."""
        assert isinstance(rows, RaggedRows)
        inputs = {"input_ids": rows.padded("input_ids", self.padding_token)}
        inputs["attention_mask"] = rows.mask().to(torch.int64)
        if "token_type_ids" in rows.columns:
            pad_type = int(getattr(self.tokenizer, "pad_token_type_id", 0))
            inputs["token_type_ids"] = rows.padded("token_type_ids", pad_type)
        return {name: t if device is None else t.to(device, non_blocking=True) for name, t in inputs.items()}

    def _encoded(self, part: Part, positions: IntArray) -> tuple[RaggedRows, Flags]:
        """The rows at `positions`, and which of them were longer than `max_length`."""
        if len(positions) == 0:
            # The columns of an empty batch are those of any other; a tokenizer refuses an empty list.
            rows, cut = self._encoded(part, np.zeros(1, dtype=np.int64))
            return rows.take(torch.empty(0, dtype=torch.int64)), cut[:0]
        if len(part.input_columns) > (1 if self.words else 2):
            few = "one text column, if its words have tags" if self.words else "one or two text columns"
            raise BadInputError(f"A tokenizer takes {few}; name them with input='...'.")
        texts: list[Any] = texts_of(part, positions)
        if self.words:
            table = rows_at(part.dataset, part.input_columns, positions)
            texts = [words_of(one_array(table, part.input_columns[0]))]
        found = self._call(*texts)
        names = [name for name in ("input_ids", "token_type_ids") if name in found]
        columns = {name: [np.asarray(row, dtype=np.int32) for row in found[name]] for name in names}
        if self.words:
            columns[WORDS] = [_begun_words(found.word_ids(row)) for row in range(len(positions))]
        return _ragged(columns), self._were_cut(found, texts)

    def _call(self, *texts: Any) -> Any:
        settings = {"max_length": self.max_length, "is_split_into_words": self.words}
        return self.tokenizer(*texts, **settings, truncation=True, padding=False, return_attention_mask=False)

    def _were_cut(self, found: Any, texts: list[Any]) -> Flags:
        encodings = getattr(found, "encodings", None)
        if encodings is not None:
            return np.array([len(encoding.overflowing) > 0 for encoding in encodings], dtype=np.bool_)
        cut = np.array([len(row) >= self.max_length for row in found["input_ids"]], dtype=np.bool_)
        for row in np.flatnonzero(cut):
            # A text of exactly that many tokens is whole; the tokenizer alone cannot tell.
            whole = self.tokenizer(*[column[row] for column in texts])["input_ids"]
            cut[row] = len(whole) > self.max_length
        return cut

    def _refuse(self, part: Part, positions: IntArray) -> None:
        more = f" (and {len(positions) - 1} more)" if len(positions) > 1 else ""
        raise BadInputError(
            f"The text of example {part.ids[positions[0]]}{more} is longer than {self.max_length} tokens; raise "
            "max_length (--max-length), shorten the text, or let it be cut (on_long='cut', --on-long cut)."
        )

    @property
    def _cuts(self) -> Any:
        """Part -> which of its texts are longer than `max_length`."""
        return self._loaded.setdefault("cuts", WeakKeyDictionary())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": {}}


def _ragged(sequences: dict[str, list[npt.NDArray[np.int32]]]) -> RaggedRows:
    """Sequences by column as ragged rows; all columns have the same lengths."""
    offsets = offsets_of([len(row) for row in next(iter(sequences.values()))])
    columns = {name: torch.from_numpy(np.concatenate(rows)) for name, rows in sequences.items()}
    return RaggedRows(columns, torch.from_numpy(offsets))


def _begun_words(word_ids: list[int | None]) -> npt.NDArray[np.int32]:
    """For each token the word that it is the first of, -1 if it is none's first.

    >>> _begun_words([None, 0, 1, 1, None]).tolist()
    [-1, 0, 1, -1, -1]
    """
    words = np.array([-1 if word is None else word for word in word_ids], dtype=np.int32)
    before = np.concatenate([np.array([-1], dtype=np.int32), words[:-1]])
    return np.where(words != before, words, np.int32(-1))


def _loaded_from(path: str) -> Any:
    transformers = import_transformers()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
            raise ValueError("what can be made of it knows no words")
        return tokenizer
    # The hub's client raises its own, HTTP's and the operating system's errors, by version.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise BadInputError(
            f"No tokenizer can be loaded from '{path}' ({lines[0].rstrip('.')}). Give a folder "
            "with model and tokenizer, written by save_pretrained, or, with a network, an 'owner/name' of the hub."
        ) from error


def _for_words(tokenizer: Any) -> Any:
    """The tokenizer, made to see each of several words with a space before it where it knows spaces at all.

    Raises:
        BadInputError: it cannot say which word a token belongs to.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise BadInputError(
            f"The tokenizer ({type(tokenizer).__name__}) does not tell which word a token belongs to; tags of "
            "words need a fast tokenizer (one with a tokenizer.json)."
        )
    for step in _steps_of(tokenizer.backend_tokenizer.pre_tokenizer):
        if type(step).__name__ == "ByteLevel":
            step.add_prefix_space = True
    if getattr(tokenizer, "add_prefix_space", None) is False:
        tokenizer.add_prefix_space = True
    return tokenizer


def _steps_of(pre_tokenizer: Any) -> Iterator[Any]:
    """A pre-tokenizer, or the steps of a sequence of them."""
    if type(pre_tokenizer).__name__ != "Sequence":
        yield pre_tokenizer
        return
    for step in pre_tokenizer:
        yield from _steps_of(step)
