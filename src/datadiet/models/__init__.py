"""Small, named model factories; anything else by "package.module:factory" or a Hugging Face folder."""

from datadiet.models import mlp, ngrams, papers, smallcnn, tiny_bert
from datadiet.models.context import ModelContext
from datadiet.models.registry import (
    DEFAULTS,
    ModelCard,
    build_model,
    check_model,
    is_pretrained,
    model,
    model_cards,
)
from datadiet.models.vocabulary import check_vocabulary

__all__ = [
    "DEFAULTS",
    "ModelCard",
    "ModelContext",
    "build_model",
    "check_model",
    "check_vocabulary",
    "is_pretrained",
    "mlp",
    "model",
    "model_cards",
    "ngrams",
    "papers",
    "smallcnn",
    "tiny_bert",
]
