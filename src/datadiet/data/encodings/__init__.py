"""All encodings in one place: how raw columns become the inputs of a model."""

from datadiet.data.encodings.images import ImageEncoding
from datadiet.data.encodings.texts import NgramEncoding
from datadiet.data.encodings.tokens import TokenEncoding
from datadiet.data.encodings.vectors import VectorEncoding

__all__ = ["ImageEncoding", "NgramEncoding", "TokenEncoding", "VectorEncoding"]
