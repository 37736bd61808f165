"""Image and text models of `transformers`, from a folder or a hub id, as modules that return logits."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import unknown
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
    if place.type == "meta":  # without weights nothing can be tried
        return False
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


def _load(what: str, name: str, loader: Any, trust_remote_code: bool = False, **options: Any) -> Any:
    """What `loader.from_pretrained` gives; weights are never unpickled, and code is only run where it is trusted."""
    try:
        with _without_warnings():
            return loader.from_pretrained(name, trust_remote_code=trust_remote_code, **options)
    except (
        Exception
    ) as error:  # whatever broken files and absurd options lead to, by the version of transformers
        raise _no(what, name, error) from error


def _no(what: str, name: str, error: Exception) -> BadInputError:
    """The sentence for what a folder or hub id does not give."""
    where = "The folder" if Path(name).is_dir() else "The hub id"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "trust_remote_code" in str(error):
        return BadInputError(
            f"{where} {name!r} brings Python code of its own for the {what}, which is only run with "
            "trust_remote_code; give that where you trust the code, or another model."
        )
    if "allocate" in str(error) or isinstance(error, MemoryError):
        return BadInputError(f"The {what} of {name!r} takes more memory than there is; make it smaller.")
    return BadInputError(
        f"{where} {name!r} gave no {what}: {lines[0].rstrip('.:')[:300]}. Give a folder written by save_pretrained, "
        "or, with a network, an 'owner/name' of the hub."
    )


def revision_of(name: str, revision: str | None = None) -> str:
    """The commit that a hub id stands for: of what is fetched, or lies in the local cache.

    Args:
        name: a hub id.
        revision: a branch, a tag or a commit; None for the main branch.

    Raises:
        BadInputError: there is no such model.
    """
    hub = import_transformers().utils.hub
    try:
        with _without_warnings():
            file = hub.cached_file(name, "config.json", revision=revision)
        return str(hub.extract_commit_hash(file, None))
    except Exception as error:  # the hub's client raises its own, HTTP's and the operating system's
        raise _no("model configuration", name, error) from error


def load_tokenizer(name: str, trust_remote_code: bool = False, revision: str | None = None) -> Any:
    """The tokenizer that comes with a model.

    Raises:
        BadInputError: there is none.
    """
    loader = import_transformers().AutoTokenizer
    tokenizer = _load("tokenizer", name, loader, trust_remote_code, revision=revision)
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise _no("tokenizer", name, ValueError("what can be made of it knows no words"))
    return tokenizer


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


def _config(name: str, trust_remote_code: bool = False, revision: str | None = None) -> Any:
    loader = import_transformers().AutoConfig
    return _load("model configuration", name, loader, trust_remote_code, revision=revision)


def image_processing(
    name: str, trust_remote_code: bool = False, revision: str | None = None
) -> dict[str, Any]:
    """Size, mean and standard deviation that an image classifier was trained with.

    Args:
        name: folder or hub id.
        trust_remote_code: whether Python code that comes with it may be run.
        revision: of a hub id.

    Returns:
        {"size": int, "channels": int, "mean": tuple, "std": tuple}, as far as the folder says them.

    Raises:
        BadInputError: what the folder says of images cannot be read.
    """
    transformers = import_transformers()
    config = _config(name, trust_remote_code, revision)
    found: dict[str, Any] = {}
    for key, field in (("size", "image_size"), ("channels", "num_channels")):
        if isinstance(getattr(config, field, None), int):
            found[key] = getattr(config, field)
    reader = transformers.image_processing_base.ImageProcessingMixin
    try:
        processor = reader.get_image_processor_dict(name, revision=revision)[0]
    except OSError:
        if not Path(name, "preprocessor_config.json").exists():
            return found
        raise _no("image processing", name, ValueError("its preprocessor_config.json is no JSON")) from None
    except Exception as error:  # whatever other content leads to
        raise _no("image processing", name, error) from error
    try:
        raw = processor.get("crop_size") or processor.get("size") or {}
        side = raw.get("height") or raw.get("shortest_edge") if isinstance(raw, Mapping) else raw
        if side:
            found["size"] = int(side)
        if processor.get("do_normalize", True) and "image_mean" in processor:
            found["mean"], found["std"] = (
                tuple(float(number) for number in processor[field]) for field in ("image_mean", "image_std")
            )
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise _no("image processing", name, error) from error
    return found


def build_pretrained(
    name: str, context: ModelContext, trust_remote_code: bool = False, **options: Any
) -> nn.Module:
    """A model that puts out what the task wants, with a fresh head where the stored head is another.

    Args:
        name: folder or hub id.
        context: what is known of the data.
        trust_remote_code: whether Python code that comes with the model may be run.
        options: fields of its configuration, for example `num_hidden_layers`; `revision` of a hub id.

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
    config = _config(name, trust_remote_code, options.get("revision"))
    _check_options(name, config, options)
    if context.task == "intent_slots":
        # The encoder without its pooler, whose weights the heads of tokens would leave without a gradient.
        kind = transformers.MODEL_MAPPING.get(type(config), None)
        if kind is not None and "add_pooling_layer" in inspect.signature(kind.__init__).parameters:
            options = {"add_pooling_layer": False, **options}
        encoder, _ = _weights("encoder", name, transformers.AutoModel, trust_remote_code, options)
        return IntentSlotModel(encoder, context.num_outputs, context.num_tags)
    tokens = context.task == "token_classification"
    if context.kind == "image":
        loader = transformers.AutoModelForImageClassification
    elif tokens:
        loader = transformers.AutoModelForTokenClassification
    else:
        loader = transformers.AutoModelForSequenceClassification
    width = context.num_tags if tokens else context.num_outputs
    options = {**options, "num_labels": width}
    classifier, _ = _weights("classifier", name, loader, trust_remote_code, options)
    if context.padding_token is not None and getattr(classifier.config, "pad_token_id", None) is None:
        # Classifiers that only look back (GPT-2) read the last token that is no padding, and must know it.
        classifier.config.pad_token_id = context.padding_token
    return LogitsOf(classifier)


def empty_pretrained(
    name: str, trust_remote_code: bool = False, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """A model as its configuration describes it, without a head and without weights, so that it takes no memory.

    Args:
        name: folder or hub id.
        trust_remote_code: whether Python code that comes with the model may be run.
        options: as for `build_pretrained`.

    Raises:
        BadInputError: a configuration that cannot be read, or that no model can have.
    """
    transformers, options = import_transformers(), dict(options or {})
    plain = _config(name, trust_remote_code, options.get("revision"))
    _check_options(name, plain, options)
    config = _load("model configuration", name, transformers.AutoConfig, trust_remote_code, **options)
    check_depth("num_hidden_layers", getattr(config, "num_hidden_layers", None))
    try:
        with torch.device("meta"):
            model: nn.Module = transformers.AutoModel.from_config(config, trust_remote_code=trust_remote_code)
    except Exception as error:  # whatever an absurd configuration leads to
        raise _no("model", name, error) from error
    return model


def build_encoder(name: str, trust_remote_code: bool = False, revision: str | None = None) -> PooledEncoder:
    """The encoder of a folder or hub id, without any head.

    A pooler that the weights lack, as those of a classifier of images, is left out: it would be a random one.

    Args:
        name: folder or hub id.
        trust_remote_code: whether Python code that comes with it may be run.
        revision: of a hub id.

    Raises:
        BadInputError: no model there, or no network.
    """
    loader = import_transformers().AutoModel
    encoder, missing = _weights("model", name, loader, trust_remote_code, {"revision": revision})
    if any("pooler" in key for key in missing):
        encoder.pooler = None
    return PooledEncoder(encoder)


_MOST_LAYERS = 1_000
#: Ways of computing attention that need no code from the hub.
_ATTENTION = ("eager", "sdpa", "flash_attention_2", "flex_attention")
#: Fields of a configuration that are no options of a model.
_NOT_OPTIONS = frozenset({
    "architectures", "auto_map", "model_type", "num_labels", "id2label", "label2id", "quantization_config",
    "transformers_version",
})  # fmt: skip


def _check_options(name: str, config: Any, options: Mapping[str, Any]) -> None:
    """Raise `BadInputError` for an option that the model's configuration does not have."""
    known = {*config.to_dict(), *config.attribute_map} - _NOT_OPTIONS
    known = {field for field in known if not field.startswith("_")} | {"revision", "attn_implementation"}
    for option, value in options.items():
        if option not in known:
            raise BadInputError(
                f"The model {name!r} could not be built with the options {dict(options)}: its configuration "
                f"({type(config).__name__}) has no field {option!r}; leave that out of model_options."
            )
        check_depth(option, value)
        if option == "attn_implementation" and value not in _ATTENTION:
            raise unknown("attn_implementation", value, _ATTENTION)


def check_depth(option: str, value: Any) -> None:
    """Raise `BadInputError` for so many layers that a model could not even be described.

    Example:
        >>> check_depth("num_hidden_layers", 12)
    """
    if "layers" in option and isinstance(value, int) and value > _MOST_LAYERS:
        raise BadInputError(
            f"model_options say {option} {value}; a model has at most {_MOST_LAYERS:,} layers here."
        )


def _weights(
    what: str, name: str, loader: Any, trust_remote_code: bool, options: Mapping[str, Any]
) -> tuple[Any, list[str]]:
    """A model with its stored weights and a fresh head, and the names of the weights that were not stored.

    Raises:
        BadInputError: weights of the model below the head are missing, or are of another shape.
    """
    model, info = _load(
        what, name, loader, trust_remote_code,
        **options, ignore_mismatched_sizes=True, weights_only=True, output_loading_info=True,
    )  # fmt: skip
    missing = sorted(map(str, info["missing_keys"]))
    others = sorted(str(key[0]) for key in info["mismatched_keys"])
    body = f"{model.base_model_prefix}."
    headed = any(key.startswith(body) for key in model.state_dict())
    lost = [
        key
        for key in (*others, *missing)
        if (key.startswith(body) or not headed) and not (key in missing and "pooler" in key)
    ]
    if lost:
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        raise BadInputError(
            f"The weights of {name!r} do not fit its configuration: {lost[0]!r}{more} "
            f"{'has another shape' if lost[0] in others else 'is missing'}; give a folder whose weights and "
            "config.json were saved together, and only model_options that the weights allow."
        )
    return model, missing


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
