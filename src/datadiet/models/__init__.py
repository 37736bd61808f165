"""Small, named model factories; anything else by "package.module:factory" or a Hugging Face folder."""

from datadiet.models import resnet, small
from datadiet.models.pretrained import check_vocabulary
from datadiet.models.registry import (
    DEFAULTS,
    MODELS,
    ModelCard,
    ModelContext,
    build_model,
    check_model,
    is_pretrained,
    model,
)

__all__ = [
    "DEFAULTS",
    "MODELS",
    "ModelCard",
    "ModelContext",
    "build_model",
    "check_model",
    "check_vocabulary",
    "is_pretrained",
    "model",
    "resnet",
    "small",
]
