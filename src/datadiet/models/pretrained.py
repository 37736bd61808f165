"""Image and text models of `transformers`, from a folder or a hub id, as modules that return logits."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datadiet.errors import BadInputError
from datadiet.models.context import WORD_TASKS, ModelContext
from datadiet.models.intent_slots import IntentSlotModel


class LogitsOf(nn.Module):
    """A `transformers` model with a head whose forward takes a batch's inputs and returns the logits alone."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, inputs: torch.Tensor | dict[str, torch.Tensor]) -> torch.Tensor:
        """Pixels (batch, channels, height, width), or a dict of token tensors -> logits (batch, outputs), or
        (batch, tokens, tags) of a model that tags tokens.
        """
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


def import_transformers() -> Any:
    """The package, or `BadInputError` that says how to install it."""
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
    except TypeError as error:
        raise BadInputError(
            f"The {what} of {name!r} could not be built with the options {options}: {error}."
        ) from error
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = "The folder" if Path(name).is_dir() else "The hub id"
        raise BadInputError(
            f"{where} {name!r} gave no {what}: {first} Give a folder written by save_pretrained, or, with a "
            "network, an 'owner/name' of the hub."
        ) from error


def pretrained_config(name: str) -> Any:
    """The configuration of a folder or hub id; raises `BadInputError` in one sentence when there is none."""
    return _load("model configuration", name, import_transformers().AutoConfig)


def image_processing(name: str) -> dict[str, Any]:
    """Size, mean and standard deviation that an image classifier was trained with.

    Returns:
        {"size": int, "channels": int, "mean": tuple, "std": tuple}, as far as the folder says them.
    """
    transformers = import_transformers()
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


def build_pretrained(name: str, context: ModelContext, **options: Any) -> nn.Module:
    """A model that puts out what the task wants, with a fresh head where the stored head is another.

    Args:
        name: folder or hub id.
        context: what is known of the data.
        options: passed on to `from_pretrained`, for example `num_hidden_layers`.

    Returns:
        `LogitsOf` a classifier of images or texts, or of tokens; `IntentSlotModel` for intents with slots.

    Raises:
        BadInputError: no model there, no network, options that it refuses, or a kind of data or a task that has
            no such class.
    """
    transformers = import_transformers()
    if context.kind not in ("image", "text"):
        raise BadInputError(f"A Hugging Face model takes images or texts, not {context.kind} data.")
    if context.task in WORD_TASKS and context.kind != "text":
        raise BadInputError(f"The task {context.task!r} is for texts, not for {context.kind} data.")
    if context.task == "intent_slots":
        return IntentSlotModel(_loaded_encoder(name, **options), context.num_outputs, context.num_tags)
    tokens = context.task == "token_classification"
    if context.kind == "image":
        loader = transformers.AutoModelForImageClassification
    elif tokens:
        loader = transformers.AutoModelForTokenClassification
    else:
        loader = transformers.AutoModelForSequenceClassification
    width = context.num_tags if tokens else context.num_outputs
    with _quietly(transformers):
        classifier = _load(
            "classifier", name, loader, num_labels=width, ignore_mismatched_sizes=True, **options
        )
    if context.padding_token is not None and getattr(classifier.config, "pad_token_id", None) is None:
        # Classifiers that only look back (GPT-2) read the last token that is no padding, and must know it.
        classifier.config.pad_token_id = context.padding_token
    return LogitsOf(classifier)


def build_encoder(name: str) -> PooledEncoder:
    """The encoder of a folder or hub id, without any head.

    Raises:
        BadInputError: no model there, or no network.
    """
    transformers = import_transformers()
    with _quietly(transformers):
        return PooledEncoder(_load("model", name, transformers.AutoModel))


def _loaded_encoder(name: str, **options: Any) -> nn.Module:
    """The encoder without its pooler, whose weights the heads of tokens would leave without a gradient."""
    transformers = import_transformers()
    config = pretrained_config(name)
    kind = transformers.MODEL_MAPPING.get(type(config), None)
    if kind is not None and "add_pooling_layer" in inspect.signature(kind.__init__).parameters:
        options = {"add_pooling_layer": False, **options}
    with _quietly(transformers):
        return _load("encoder", name, transformers.AutoModel, **options)  # type: ignore[no-any-return]


@contextlib.contextmanager
def _quietly(transformers: Any) -> Iterator[None]:
    """A fresh head is meant, and one that is left out too: no warning about it with every seed."""
    level, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()  # nor a bar of the weights that are read
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()
