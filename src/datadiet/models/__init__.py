"""Small, named model factories; anything else by "package.module:factory" or a Hugging Face folder."""

from datadiet.models import resnet, small
from datadiet.models.context import ModelContext, check_vocabulary
from datadiet.models.registry import (
    DEFAULTS,
    ModelCard,
    build_model,
    check_model,
    is_pretrained,
    model,
    model_cards,
)

__all__ = [
    "DEFAULTS",
    "ModelCard",
    "ModelContext",
    "build_model",
    "check_model",
    "check_vocabulary",
    "is_pretrained",
    "model",
    "model_cards",
    "resnet",
    "small",
]
