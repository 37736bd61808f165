"""Image and text classifiers of `transformers`, from a folder or a hub id, as modules that return logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from datadiet.errors import BadInputError
from datadiet.models.registry import ModelContext


class LogitsOf(nn.Module):
    """A `transformers` classifier whose forward takes a batch's inputs and returns the logits alone."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, inputs: torch.Tensor | dict[str, torch.Tensor]) -> torch.Tensor:
        """Pixels (batch, channels, height, width), or a dict of token tensors -> logits (batch, classes)."""
        if isinstance(inputs, torch.Tensor):
            return self.classifier(pixel_values=inputs).logits  # type: ignore[no-any-return]
        return self.classifier(**inputs).logits  # type: ignore[no-any-return]


class PooledEncoder(nn.Module):
    """A `transformers` encoder whose forward gives one vector an example.

    Texts: the last hidden states averaged over real tokens. Images: what the model pools itself, or the last
    hidden states averaged over patches or positions.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, inputs: torch.Tensor | dict[str, torch.Tensor]) -> torch.Tensor:
        """Pixels (batch, channels, height, width), or a dict of token tensors -> vectors (batch, d)."""
        if isinstance(inputs, torch.Tensor):
            outputs = self.encoder(pixel_values=inputs)
            pooled = getattr(outputs, "pooler_output", None)
            if pooled is not None:
                return pooled.flatten(1)  # type: ignore[no-any-return]
            hidden = outputs.last_hidden_state
            return hidden.flatten(2).mean(-1) if hidden.ndim == 4 else hidden.mean(1)  # type: ignore[no-any-return]
        hidden = self.encoder(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None].to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)  # type: ignore[no-any-return]


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise BadInputError(
            "A Hugging Face model needs the package transformers: pip install 'datadiet[transformers]'."
        ) from error
    return transformers


def _load(what: str, name: str, loader: Any, **options: Any) -> Any:
    try:
        return loader.from_pretrained(name, **options)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = "The folder" if Path(name).is_dir() else "The hub id"
        raise BadInputError(
            f"{where} {name!r} gave no {what}: {first} Give a folder written by save_pretrained, or, with a "
            "network, an 'owner/name' of the hub."
        ) from error


def pretrained_config(name: str) -> Any:
    """The configuration of a folder or hub id; raises `BadInputError` in one sentence when there is none."""
    return _load("model configuration", name, _transformers().AutoConfig)


def image_processing(name: str) -> dict[str, Any]:
    """Size, mean and standard deviation that an image classifier was trained with.

    Returns:
        {"size": int, "channels": int, "mean": tuple, "std": tuple}, as far as the folder says them.
    """
    transformers = _transformers()
    config = pretrained_config(name)
    found: dict[str, Any] = {}
    size = getattr(config, "image_size", None)
    if isinstance(size, int):
        found["size"] = size
    if isinstance(getattr(config, "num_channels", None), int):
        found["channels"] = config.num_channels
    try:
        processor = transformers.image_processing_base.ImageProcessingMixin.get_image_processor_dict(name)[0]
    except (OSError, ValueError):
        return found
    raw = processor.get("crop_size") or processor.get("size") or {}
    if isinstance(raw, int):
        found["size"] = raw
    elif isinstance(raw, dict) and (raw.get("height") or raw.get("shortest_edge")):
        found["size"] = int(raw.get("height") or raw["shortest_edge"])
    if processor.get("do_normalize", True) and "image_mean" in processor:
        found["mean"], found["std"] = tuple(processor["image_mean"]), tuple(processor["image_std"])
    return found


def build_pretrained(name: str, context: ModelContext, **options: Any) -> LogitsOf:
    """A classifier with a fresh head of the right width where the stored head has another.

    Args:
        name: folder or hub id.
        context: what is known of the data.
        options: passed on to `from_pretrained`, for example `num_hidden_layers`.

    Raises:
        BadInputError: no model there, no network, or a kind of data that has no such class.
    """
    transformers = _transformers()
    loaders = {
        "image": transformers.AutoModelForImageClassification,
        "text": transformers.AutoModelForSequenceClassification,
    }
    if context.kind not in loaders:
        raise BadInputError(f"A Hugging Face model takes images or texts, not {context.kind} data.")
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # a fresh head is meant: no warning about it a seed
    try:
        classifier = _load(
            "classifier",
            name,
            loaders[context.kind],
            num_labels=context.num_classes,
            ignore_mismatched_sizes=True,
            **options,
        )
    finally:
        transformers.logging.set_verbosity(level)
    return LogitsOf(classifier)


def build_encoder(name: str) -> PooledEncoder:
    """The encoder of a folder or hub id, without any head.

    Raises:
        BadInputError: no model there, or no network.
    """
    transformers = _transformers()
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # heads that are left out are meant to be
    try:
        return PooledEncoder(_load("model", name, transformers.AutoModel))
    finally:
        transformers.logging.set_verbosity(level)
