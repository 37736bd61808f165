"""Models, tokenizers and recipes that train in a moment, for tests of every room."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import datadiet as dd

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def small_recipe(**changes: Any) -> dd.Recipe:
    """A perceptron of twelve hidden units for four epochs, in plain float32 whatever the machine does fastest."""
    fixed = {
        "name": "tiny",
        "model": "mlp",
        "model_options": {"hidden": (12,)},
        "epochs": 4,
        "batch_size": 16,
        "lr": 0.1,
        "precision": "float32",
        "memory_format": "contiguous",
    }
    return dd.Recipe(**{**fixed, **changes})


def bert_config(**changes: Any) -> Any:
    """A BERT of one layer; skips the test where `transformers` is not installed."""
    fixed = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    return pytest.importorskip("transformers").BertConfig(**{**fixed, **changes})


def vit_config(**changes: Any) -> Any:
    """A vision transformer of one layer; skips the test where `transformers` is not installed."""
    fixed = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}
    return pytest.importorskip("transformers").ViTConfig(
        **{**fixed, "image_size": 16, "patch_size": 8, **changes}
    )


def save_tokenizer(folder: Path, words: Sequence[str]) -> Any:
    """A BERT tokenizer of just these words, saved in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join([*SPECIAL_TOKENS, *words]))
    tokenizer = pytest.importorskip("transformers").BertTokenizerFast(str(vocabulary))
    tokenizer.save_pretrained(folder)
    return tokenizer
