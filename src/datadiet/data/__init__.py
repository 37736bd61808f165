"""Sources -> `Examples` -> batches."""

from datadiet.data.augment import Augmentation
from datadiet.data.batches import Batch, Encoding, Store
from datadiet.data.corruption import Corrupted, corrupt
from datadiet.data.encoding import ImageEncoding, NgramEncoding, TokenEncoding, VectorEncoding
from datadiet.data.examples import Examples, Part
from datadiet.data.load import load
from datadiet.data.opening import open_store
from datadiet.data.target_rows import IGNORED, TASKS, TargetRows
from datadiet.data.trained_tokenizer import trained_tokenizer

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
