"""Texts -> token ids of a pre-trained model's tokenizer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datadiet.data.augment import Augmentation
from datadiet.data.examples import IntArray, Part
from datadiet.data.rows import RaggedRows, Rows
from datadiet.data.text_rows import estimated_bytes, in_chunks, no_augmentation, ragged, texts_of
from datadiet.errors import BadInputError


@dataclass(frozen=True)
class TokenEncoding:
    """Token ids of a `transformers` tokenizer, by folder or hub id, cut at `max_length` tokens.

    Two text columns are encoded as a sentence pair. A batch is a dict of int64 tensors (batch, longest of
    it): `input_ids`, `attention_mask` and, if the tokenizer gives them, `token_type_ids`.
    """

    tokenizer_path: str
    max_length: int = 128
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded when first needed.

        Raises:
            BadInputError: `transformers` is not installed, or there is no tokenizer at the path.
        """
        if "tokenizer" not in self._loaded:
            try:
                from transformers import AutoTokenizer
            except ImportError as error:
                raise BadInputError(
                    "Tokenizers need transformers; install it with: pip install 'datadiet[transformers]'."
                ) from error
            try:
                self._loaded["tokenizer"] = AutoTokenizer.from_pretrained(self.tokenizer_path)
            # The hub's client raises its own, HTTP's and the operating system's errors, by version.
            except Exception as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                raise BadInputError(
                    f"No tokenizer can be loaded from '{self.tokenizer_path}' ({lines[0].rstrip('.')}); "
                    "check the folder or id."
                ) from error
        return self._loaded["tokenizer"]

    def describe(self) -> dict[str, Any]:
        """What enters the content address of a run: the tokenizer's content, not where it lies."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        content = (
            backend.to_str() if backend is not None else repr(sorted(self.tokenizer.get_vocab().items()))
        )
        return {
            "encoding": "tokens",
            "tokenizer": hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest(),
            "max_length": self.max_length,
        }

    def storage_bytes(self, part: Part) -> int:
        """Memory that the whole part takes when encoded, estimated from a sample of its rows."""
        return estimated_bytes(self.encode, part)

    def encode(self, part: Part, positions: IntArray) -> RaggedRows:
        """The rows at `positions`.

        Raises:
            BadInputError: more than two text columns.
        """
        texts = texts_of(part, positions)
        if len(texts) > 2:
            raise BadInputError("A tokenizer takes one or two text columns; name them with input.")
        if len(positions) == 0:
            # The columns of an empty batch are those of any other; a tokenizer refuses an empty list.
            return self.encode(part, np.zeros(1, dtype=np.int64)).take(torch.empty(0, dtype=torch.int64))
        found = self.tokenizer(
            *texts, truncation=True, max_length=self.max_length, padding=False, return_attention_mask=False
        )
        names = [name for name in ("input_ids", "token_type_ids") if name in found]
        return ragged({name: [np.asarray(row, dtype=np.int32) for row in found[name]] for name in names})

    def encode_all(self, part: Part) -> RaggedRows:
        """The whole part."""
        return in_chunks(self.encode, part)

    def augmented(self, rows: Rows, augment: Augmentation, ids: Tensor, seed: int, epoch: int) -> Rows:
        """Refused: crops and flips are for images."""
        raise no_augmentation()

    def prepare(
        self,
        rows: Rows,
        device: torch.device | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> dict[str, Tensor]:
        """A dict of int64 tensors (batch, longest of the batch)."""
        assert isinstance(rows, RaggedRows)
        pad = self.tokenizer.pad_token_id
        pad_type = getattr(self.tokenizer, "pad_token_type_id", 0)
        inputs = {"input_ids": rows.padded("input_ids", 0 if pad is None else int(pad))}
        inputs["attention_mask"] = rows.mask().to(torch.int64)
        if "token_type_ids" in rows.columns:
            inputs["token_type_ids"] = rows.padded("token_type_ids", int(pad_type))
        return {name: t if device is None else t.to(device, non_blocking=True) for name, t in inputs.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
