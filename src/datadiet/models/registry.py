"""From a model's name to a module, and what its factory is told: built-in names, your own, Hugging Face folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from datadiet.foundation.errors import BadInputError, DataDietError
from datadiet.foundation.registry import Registry
from datadiet.models.context import ONE_ROW_TASKS, ModelContext
from datadiet.models.factories import import_factory

Factory = Callable[..., nn.Module]


@dataclass(frozen=True)
class ModelCard:
    """A named model: the kinds of data and the tasks it takes, one line about it, and its factory."""

    name: str
    kinds: tuple[str, ...]
    summary: str
    factory: Factory
    tasks: tuple[str, ...] = ONE_ROW_TASKS


MODELS: Registry[ModelCard] = Registry("model")
DEFAULTS: Mapping[str, str] = {"image": "smallcnn", "text": "ngrams", "vector": "mlp"}


def model(
    name: str, *, kinds: tuple[str, ...], summary: str, tasks: tuple[str, ...] = ONE_ROW_TASKS
) -> Callable[[Factory], Factory]:
    """Register `factory(context, **options) -> nn.Module` under a name.

    Args:
        name: what it is called.
        kinds: kinds of data that it takes: "image", "text", "vector".
        summary: one line about it.
        tasks: what it can put out; unless said otherwise, one row of `context.num_outputs` numbers an example.

    Example:
        >>> @model("constant", kinds=("vector",), summary="logits that do not depend on the input")
        ... def constant(context):
        ...     return nn.Linear(context.input_shape[0], context.num_classes)
        >>> build_model("constant", ModelContext("vector", 3, (5,))).out_features
        3
        >>> MODELS.forget("constant")
    """

    def register(factory: Factory) -> Factory:
        MODELS.add(name, ModelCard(name, kinds, summary, factory, tasks))
        return factory

    return register


def is_pretrained(name: str) -> bool:
    """Whether a model's name means a Hugging Face folder or hub id, not a built-in or a factory."""
    return name not in MODELS and ":" not in name and ("/" in name or Path(name).is_dir())


def check_model(name: str, kind: str, task: str = "classification") -> None:
    """Raise `BadInputError` if no model of that name exists, or it does not take that kind of data or task."""
    if ":" in name or is_pretrained(name):
        return
    if name not in MODELS:
        raise BadInputError(
            f"{MODELS.missing(name)} Models are {', '.join(sorted(MODELS))}, any 'package.module:factory', and any "
            "Hugging Face folder or 'owner/name'."
        )
    if kind not in MODELS[name].kinds:
        fitting = sorted(card.name for card in MODELS.cards() if kind in card.kinds)
        raise BadInputError(
            f"The model {name!r} takes {' or '.join(MODELS[name].kinds)} data, and this data set is of kind "
            f"{kind!r}; choose one of {', '.join(fitting)}."
        )
    if task not in MODELS[name].tasks:
        fitting = sorted(c.name for c in MODELS.cards() if kind in c.kinds and task in c.tasks)
        known = f"{', '.join(fitting)} or " if fitting else ""
        raise BadInputError(
            f"The model {name!r} puts out one row of numbers an example and cannot tag words, as the task "
            f"{task!r} needs; choose {known}a Hugging Face folder or 'owner/name'."
        )


def build_model(
    name: str,
    context: ModelContext,
    options: Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> nn.Module:
    """The module of that name, freshly initialised from torch's current random state.

    Args:
        name: a built-in name, "package.module:factory", or a Hugging Face folder or id.
        context: what is known of the data.
        options: keyword arguments for the factory.
        trust_remote_code: whether Python code that comes with a Hugging Face model may be run.

    Raises:
        BadInputError: the name is unknown, the model takes another kind of data, the factory cannot be
            imported, it refuses the options, or cannot put out what the task wants.
    """
    options = dict(options or {})
    check_model(name, context.kind, context.task)
    if is_pretrained(name):
        from datadiet.models.pretrained import build_pretrained

        return build_pretrained(name, context, trust_remote_code, **options)
    factory = import_factory(name) if ":" in name else MODELS[name].factory
    try:
        built = factory(context, **options)
    except DataDietError:
        raise
    except TypeError as error:
        raise BadInputError(
            f"The model {name!r} could not be built: {_line(error)}. A factory is called as "
            "factory(context, **options), see datadiet.models.ModelContext."
        ) from error
    except Exception as error:  # whatever a factory makes of its options
        told = f" with the options {options}" if options else ""
        raise BadInputError(
            f"The model {name!r} could not be built{told}: {type(error).__name__}: {_line(error)}; change them or the "
            "factory."
        ) from error
    if not isinstance(built, nn.Module):
        raise BadInputError(f"The factory {name!r} returned {type(built).__name__}, not a torch.nn.Module.")
    return built


def check_size(
    name: str,
    context: ModelContext,
    options: Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Refuse a model that is larger than memory, before any of it is allocated.

    Asked of pre-trained ones, and of built-in ones with options; factories of one's own do what they do.

    Args:
        name: as for `build_model`.
        context: as for `build_model`.
        options: as for `build_model`.
        trust_remote_code: as for `build_model`.

    Raises:
        BadInputError: its parameters do not fit into the memory that is free, or it cannot be built.
    """
    if is_pretrained(name):
        from datadiet.models.pretrained import empty_pretrained

        refuse_larger_than_memory(name, empty_pretrained(name, trust_remote_code, options))
    elif options and name in MODELS and MODELS[name].factory.__module__.startswith("datadiet."):
        with torch.device("meta"):
            refuse_larger_than_memory(name, build_model(name, context, options))


def refuse_larger_than_memory(name: str, model: nn.Module) -> None:
    """Raise `BadInputError` where parameters and their gradients would take more memory than is free."""
    wanted = 2 * sum(p.numel() * p.element_size() for p in model.parameters())
    free = psutil.virtual_memory().available
    if wanted > free:
        raise BadInputError(
            f"The model {name!r} with its options takes {wanted / 1e9:,.0f} GB of memory, and "
            f"{free / 1e9:,.1f} GB are free; make it smaller."
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:300]
