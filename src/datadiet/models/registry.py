"""From a model's name to a module, and what its factory is told: built-in names, your own, Hugging Face folders."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.foundation.registry import Registry
from datadiet.models.context import ONE_ROW_TASKS, ModelContext

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
    return name not in MODELS and ":" not in name and (Path(name).is_dir() or "/" in name)


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


def build_model(name: str, context: ModelContext, options: Mapping[str, Any] | None = None) -> nn.Module:
    """The module of that name, freshly initialised from torch's current random state.

    Args:
        name: a built-in name, "package.module:factory", or a Hugging Face folder or id.
        context: what is known of the data.
        options: keyword arguments for the factory.

    Raises:
        BadInputError: the name is unknown, the model takes another kind of data, the factory cannot be
            imported, it refuses the options, or cannot put out what the task wants.
    """
    options = dict(options or {})
    check_model(name, context.kind, context.task)
    if is_pretrained(name):
        from datadiet.models.pretrained import build_pretrained

        return build_pretrained(name, context, **options)
    factory = _import_factory(name) if ":" in name else MODELS[name].factory
    try:
        built = factory(context, **options)
    except TypeError as error:
        raise BadInputError(
            f"The model {name!r} could not be built: {error}. A factory is called as "
            "factory(context, **model_options), see datadiet.models.ModelContext."
        ) from error
    if not isinstance(built, nn.Module):
        raise BadInputError(f"The factory {name!r} returned {type(built).__name__}, not a torch.nn.Module.")
    return built


def _import_factory(name: str) -> Factory:
    module_name, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadInputError(
            f"The model factory {name!r} cannot be imported: {error}. Give it as 'package.module:factory', "
            "importable from the current folder or the environment."
        ) from error
    if not callable(factory):
        raise BadInputError(f"The model factory {name!r} is not callable.")
    return factory  # type: ignore[no-any-return]
