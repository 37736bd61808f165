"""All encodings in one place: how raw columns become the inputs of a model."""

from datadiet.data.image_encoding import ImageEncoding
from datadiet.data.ngram_encoding import NgramEncoding
from datadiet.data.token_encoding import TokenEncoding
from datadiet.data.vector_encoding import VectorEncoding

__all__ = ["ImageEncoding", "NgramEncoding", "TokenEncoding", "VectorEncoding"]
