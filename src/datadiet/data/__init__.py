"""Sources -> `Examples` -> batches."""

from datadiet.data.corruption import Corrupted, corrupt
from datadiet.data.encodings import ImageEncoding, NgramEncoding, TokenEncoding, VectorEncoding
from datadiet.data.encodings.texts import trained_tokenizer
from datadiet.data.examples import IGNORED, TASKS, Examples, Part, TargetRows
from datadiet.data.load import load
from datadiet.data.stores.augment import Augmentation
from datadiet.data.stores.batches import Batch, Encoding, Store
from datadiet.data.stores.stores import open_store

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
