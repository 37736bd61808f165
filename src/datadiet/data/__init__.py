"""Sources -> `Examples` -> batches."""

from datadiet.data.corruption import Corrupted as Corrupted
from datadiet.data.corruption import corrupt as corrupt
from datadiet.data.encodings import Encoding as Encoding
from datadiet.data.encodings.images import Augmentation as Augmentation
from datadiet.data.encodings.images import ImageEncoding as ImageEncoding
from datadiet.data.encodings.texts import NgramEncoding as NgramEncoding
from datadiet.data.encodings.texts import trained_tokenizer as trained_tokenizer
from datadiet.data.encodings.tokens import TokenEncoding as TokenEncoding
from datadiet.data.encodings.vectors import VectorEncoding as VectorEncoding
from datadiet.data.examples import IGNORED as IGNORED
from datadiet.data.examples import TASKS as TASKS
from datadiet.data.examples import Examples as Examples
from datadiet.data.examples import Part as Part
from datadiet.data.examples import TargetRows as TargetRows
from datadiet.data.load import load as load
from datadiet.data.stores import Batch as Batch
from datadiet.data.stores import Store as Store
from datadiet.data.stores import open_store as open_store
