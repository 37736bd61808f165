"""Image and text models of `transformers`, from a folder or a hub id, as modules that return logits."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.models.context import WORD_TASKS, ModelContext


class IntentSlotModel(nn.Module):
    """A `transformers` encoder with two linear heads on its last hidden states, each after dropout.

    The intent is read from the first token (the classification token of BERT and RoBERTa), or from the last one of
    the text where the encoder only looks back (GPT-2, Llama), so that a first token knows nothing of what follows.
    Tags are read from every token; the targets say which tokens count. Texts are padded on the right.

    Args:
        encoder: gives `last_hidden_state` (batch, tokens, hidden), and has a `config` that says `hidden_size`. Its
            dropout is that of the config's classifier, or of its hidden layers.
        num_intents: width of the intent's logits.
        num_tags: width of the logits of each token.

    Source: Chen, Zhuo, Wang, "BERT for Joint Intent Classification and Slot Filling", 2019; here without the CRF.
    """

    def __init__(self, encoder: nn.Module, num_intents: int, num_tags: int) -> None:
        super().__init__()
        config: Any = encoder.config
        self.encoder = encoder
        self.causal = is_causal(encoder)
        self.dropout = nn.Dropout(_dropout_of(config))
        self.intent_head = nn.Linear(config.hidden_size, num_intents)
        self.slot_head = nn.Linear(config.hidden_size, num_tags)
        for head in (self.intent_head, self.slot_head):
            nn.init.normal_(head.weight, std=getattr(config, "initializer_range", None) or 0.02)
            nn.init.zeros_(head.bias)

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Token tensors (batch, tokens) -> {"intent": (batch, intents), "slots": (batch, tokens, tags)}."""
        hidden = self.encoder(**inputs).last_hidden_state
        whole = hidden[:, 0]
        if self.causal:
            last = inputs["attention_mask"].sum(dim=1).clamp(min=1) - 1
            whole = hidden[torch.arange(len(hidden), device=hidden.device), last]
        return {
            "intent": self.intent_head(self.dropout(whole)),
            "slots": self.slot_head(self.dropout(hidden)),
        }


def is_causal(encoder: nn.Module) -> bool:
    """Whether what an encoder says of the first token stays the same whatever comes after it.

    Found by trying: two texts of three tokens that differ in the last one. Its mode stays what it was.
    """
    place = next(encoder.parameters()).device
    texts = torch.tensor([[0, 1, 0], [0, 1, 1]], device=place)
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            hidden = encoder(input_ids=texts, attention_mask=torch.ones_like(texts)).last_hidden_state
    finally:
        encoder.train(training)
    return bool(torch.equal(hidden[0, 0], hidden[1, 0]) and not torch.equal(hidden[0, 2], hidden[1, 2]))


def _dropout_of(config: Any) -> float:
    """The dropout before a classifier, by the names that configurations give it; 0.1 where none does."""
    names = ("classifier_dropout", "seq_classif_dropout", "hidden_dropout_prob", "hidden_dropout", "dropout")
    values = [getattr(config, name, None) for name in names]
    return next((float(value) for value in values if isinstance(value, int | float)), 0.1)


class LogitsOf(nn.Module):
    """A `transformers` model with a head whose forward takes a batch's inputs and returns the logits alone."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, inputs: torch.Tensor | dict[str, torch.Tensor]) -> torch.Tensor:
        """Pixels (batch, channels, height, width), or a dict of token tensors -> logits (batch, outputs), or
        (batch, tokens, tags) of a model that tags tokens.
        """
        named = {"pixel_values": inputs} if isinstance(inputs, torch.Tensor) else inputs
        return self.classifier(**named).logits  # type: ignore[no-any-return]


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
        with _without_warnings():
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


def check_vocabulary(model: nn.Module, tokenizer_size: int) -> None:
    """Raise where a tokenizer gives ids that a model has no embedding for; models without a table of tokens pass.

    A table with more rows than the tokenizer has tokens is common (rounded up for speed) and fits.

    Args:
        model: any module; the first one inside that says its input embeddings, as those of `transformers` do,
            decides.
        tokenizer_size: number of token ids, added ones included: `len(tokenizer)`.

    Raises:
        BadInputError: the table of embeddings is smaller than the tokenizer.

    Example:
        >>> check_vocabulary(nn.Linear(2, 2), 30_000)
    """
    rows = next(
        (table.num_embeddings for table in map(_input_embeddings, model.modules()) if table is not None), None
    )
    if rows is not None and tokenizer_size > rows:
        raise BadInputError(
            f"The model has embeddings for {rows} tokens and the tokenizer gives {tokenizer_size}: that is a "
            "tokenizer that does not match the model; give a folder that holds both as they were trained together."
        )


def _input_embeddings(module: nn.Module) -> nn.Embedding | None:
    try:
        table = module.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None
    return table if isinstance(table, nn.Embedding) else None


def _config(name: str) -> Any:
    return _load("model configuration", name, import_transformers().AutoConfig)


def image_processing(name: str) -> dict[str, Any]:
    """Size, mean and standard deviation that an image classifier was trained with.

    Returns:
        {"size": int, "channels": int, "mean": tuple, "std": tuple}, as far as the folder says them.
    """
    transformers = import_transformers()
    config = _config(name)
    found: dict[str, Any] = {}
    for key, field in (("size", "image_size"), ("channels", "num_channels")):
        if isinstance(getattr(config, field, None), int):
            found[key] = getattr(config, field)
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
        # The encoder without its pooler, whose weights the heads of tokens would leave without a gradient.
        kind = transformers.MODEL_MAPPING.get(type(_config(name)), None)
        if kind is not None and "add_pooling_layer" in inspect.signature(kind.__init__).parameters:
            options = {"add_pooling_layer": False, **options}
        encoder = _load("encoder", name, transformers.AutoModel, **options)
        return IntentSlotModel(encoder, context.num_outputs, context.num_tags)
    tokens = context.task == "token_classification"
    if context.kind == "image":
        loader = transformers.AutoModelForImageClassification
    elif tokens:
        loader = transformers.AutoModelForTokenClassification
    else:
        loader = transformers.AutoModelForSequenceClassification
    width = context.num_tags if tokens else context.num_outputs
    classifier = _load("classifier", name, loader, num_labels=width, ignore_mismatched_sizes=True, **options)
    if context.padding_token is not None and getattr(classifier.config, "pad_token_id", None) is None:
        # Classifiers that only look back (GPT-2) read the last token that is no padding, and must know it.
        classifier.config.pad_token_id = context.padding_token
    return LogitsOf(classifier)


def build_encoder(name: str) -> PooledEncoder:
    """The encoder of a folder or hub id, without any head.

    Raises:
        BadInputError: no model there, or no network.
    """
    return PooledEncoder(_load("model", name, import_transformers().AutoModel))


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """A fresh head is meant, and one that is left out too: no warning about it with every seed."""
    logging = import_transformers().logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()  # nor a bar of the weights that are read
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
