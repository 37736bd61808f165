"""Sources -> `Examples` -> batches."""

from datadiet.data.corruption import Corrupted, corrupt
from datadiet.data.encodings import Encoding
from datadiet.data.encodings.images import Augmentation, ImageEncoding
from datadiet.data.encodings.texts import NgramEncoding, trained_tokenizer
from datadiet.data.encodings.tokens import TokenEncoding
from datadiet.data.encodings.vectors import VectorEncoding
from datadiet.data.examples import IGNORED, TASKS, Examples, Part, TargetRows
from datadiet.data.load import load
from datadiet.data.stores import Batch, Store, open_store

__all__ = [
    "IGNORED",
    "TASKS",
    "Augmentation",
    "Batch",
    "Corrupted",
    "Encoding",
    "Examples",
    "ImageEncoding",
    "NgramEncoding",
    "Part",
    "Store",
    "TargetRows",
    "TokenEncoding",
    "VectorEncoding",
    "corrupt",
    "load",
    "open_store",
    "trained_tokenizer",
]
