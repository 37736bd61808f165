"""What makes a training run: a frozen recipe, in and out of YAML, and the named ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml

from datadiet.foundation.atomic import atomic_file
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import Option, alternatives, key_values, numbers, options_of, unknown
from datadiet.foundation.parsing import parse_yaml, require, shown

POSITIVE = Option(above=0, below=math.inf, must="it must be above 0")
SHARE = Option(least=0, below=1, must="it must be in [0, 1)")
NO_FLAG = Option(flag=None)


# Of fields that joined after runs had addresses: at their default they are no part of a run's description.
_LATER = {"later": True}


def _later(default: Any) -> Any:
    return field(default=default, metadata=_LATER)


@dataclass(frozen=True)
class Recipe:
    """Everything that makes a training run, but for its data and its seed.

    Args:
        name: what the recipe is called in tables and figures.
        model: "auto", a built-in name, "package.module:factory", or a Hugging Face folder or id.
        model_options: keyword arguments of the model's factory; on the command line key=value, may be repeated.
        epochs: length in passes over the full training part; None when `steps` is given.
        steps: length in optimiser steps; None when `epochs` is given.
        batch_size: examples in a training step, over all devices together.
        drop_last: leave out the last, smaller batch of every epoch.
        optimizer: "sgd" or "adamw".
        lr: peak learning rate.
        momentum: momentum of SGD.
        nesterov: Nesterov's form of momentum.
        weight_decay: weight decay (decoupled for AdamW).
        schedule: shape of the learning rate over the run: "triangular" (up, then down to 0), "multistep"
            (times `decay` at each milestone), "cosine", "linear" (down to 0), "constant"; each but
            "multistep" starts with the warm-up.
        warmup: share of the steps over which the learning rate rises linearly from 0.
        milestones: shares of the steps at which "multistep" decays.
        decay: factor of "multistep".
        label_smoothing: share of the target mass spread over all classes, in the training loss only.
        crop_pad: padding in pixels of the random crop (reflected); 0 for no crop; None for an eighth of
            the image's height.
        flip: random horizontal flips; None for "where images are in colour".
        cutout: side in pixels of a random square that is blanked; 0 for none.
        max_length: longest text in tokens; longer ones are cut.
        precision: "auto" (measured, then fixed), "float32" or "bfloat16" (autocast).
        memory_format: "auto" (measured, then fixed), "contiguous" or "channels_last".
        budget: whether a subset trains for the full data's number of "steps" (the papers' protocol) or
            "epochs" (what saves time).
        score_epoch: epoch whose end the point scores are taken at; None for two fifths of the run.
        decay_norms_and_biases: whether weight decay also pulls at biases and at the weights of normalisation.
        clip_norm: longest gradient, over all parameters, that a step takes; None for no limit.
        on_long: what a text longer than `max_length` tokens does: "cut" or "error".
        bucket_by_length: put texts of similar length into one batch, so that less of it is padding.
        dynamic: selector that chooses anew while training, such as "infobatch"; None to train on everything.
        dynamic_options: its options, and those of its schedule: `warmup`, `every`, `full_tail`.
        model_version: a name of your own for what a factory's code does not say, such as weights that it reads from
            disk; another one makes other runs.

    Example:
        >>> named_recipe("paper").lr
        0.1
        >>> Recipe.from_dict(Recipe(lr=0.2).to_dict()) == Recipe(lr=0.2)
        True
    """

    name: Annotated[str, NO_FLAG] = "custom"
    model: str = "auto"
    model_options: Annotated[
        Mapping[str, Any], Option(flag="--model-option", read=partial(key_values, example="width=16"))
    ] = field(default_factory=dict)
    epochs: Annotated[float | None, POSITIVE] = 10.0
    steps: Annotated[int | None, POSITIVE] = None
    batch_size: Annotated[int, POSITIVE] = 256
    drop_last: bool = False
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, POSITIVE] = 0.4
    momentum: Annotated[float, SHARE] = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: Literal["triangular", "multistep", "cosine", "linear", "constant"] = "triangular"
    warmup: Annotated[float, SHARE] = 0.2
    milestones: Annotated[tuple[float, ...], Option(read=numbers)] = ()
    decay: float = 0.2
    label_smoothing: Annotated[float, SHARE] = 0.0
    crop_pad: int | None = None
    flip: bool | None = None
    cutout: int = 0
    max_length: Annotated[int, POSITIVE] = 256
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    budget: Literal["steps", "epochs"] = "steps"
    score_epoch: Annotated[float | None, Option(least=0)] = None
    decay_norms_and_biases: bool = _later(True)
    clip_norm: Annotated[float | None, POSITIVE] = _later(None)
    bucket_by_length: bool = _later(False)
    on_long: Literal["cut", "error"] = _later("cut")
    dynamic: Annotated[str | None, NO_FLAG] = _later(None)
    dynamic_options: Annotated[Mapping[str, Any], NO_FLAG] = field(default_factory=dict, metadata=_LATER)
    model_version: str | None = _later(None)

    def __post_init__(self) -> None:
        for key, option in options_of(Recipe).items():
            value = _typed(key, getattr(self, key), option.type)
            object.__setattr__(self, key, value)
            try:
                option.check(value)
            except BadInputError as error:
                raise BadInputError(f"recipe: {error}") from error
        if (self.epochs is None) == (self.steps is None):
            raise BadInputError(
                "recipe: give the length either in epochs or in steps, not both and not neither."
            )
        if any(not 0 < m < 1 for m in self.milestones):
            raise BadInputError("recipe: milestones are shares of the run's steps, each between 0 and 1.")
        if self.dynamic_options and self.dynamic is None:
            raise BadInputError("recipe: dynamic_options are given, but no dynamic; name the selector.")

    def replace(self, **changes: Any) -> Recipe:
        """A copy with other fields; giving `epochs` clears `steps` and the other way round.

        Raises:
            BadInputError: a field has no such name or takes no such value.
        """
        for key in changes:
            if key not in options_of(Recipe):
                raise BadInputError(f"recipe: {unknown('field', key, options_of(Recipe))}")
        if changes.get("epochs") is not None:
            changes.setdefault("steps", None)
        if changes.get("steps") is not None:
            changes.setdefault("epochs", None)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in the YAML file."""
        out = dataclasses.asdict(self)
        out["milestones"] = list(self.milestones)
        return out

    def described(self) -> dict[str, Any]:
        """Plain data for the address of a run: without fields that joined later and are at their default.

        Example:
            >>> "clip_norm" in Recipe().described(), Recipe(clip_norm=1.0).described()["clip_norm"]
            (False, 1.0)
        """
        plain = Recipe()
        at_default = {
            f.name
            for f in dataclasses.fields(self)
            if f.metadata.get("later") and getattr(self, f.name) == getattr(plain, f.name)
        }
        return {name: value for name, value in self.to_dict().items() if name not in at_default}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """The recipe from plain data; fields that are not there keep their defaults.

        Raises:
            BadInputError: a field has no such name or takes no such value.
        """
        return cls().replace(**require(data, Mapping[str, Any], "recipe"))

    def to_yaml(self, path: str | Path) -> None:
        """Write the recipe as YAML."""
        with atomic_file(path) as file:
            file.write(yaml.safe_dump(self.to_dict(), sort_keys=False).encode())

    @classmethod
    def from_yaml(cls, path: str | Path) -> Recipe:
        """Read a recipe; an optional `base: fast` or `base: paper` gives the fields that are not there.

        Raises:
            BadInputError: the file is missing, is not YAML, has unknown fields, or is its own base.
        """
        return cls._of_files([Path(path)])

    @classmethod
    def _of_files(cls, paths: Sequence[Path]) -> Recipe:
        """The recipe of the last of some files, each of which is the base of the one before it."""
        path = paths[-1]
        what = f"The recipe file {str(path)!r}"
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise BadInputError(f"{what} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise BadInputError(f"{what} is not YAML: it is no text in UTF-8.") from error
        data = parse_yaml(text, what)
        if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
            raise BadInputError(f"{what} must hold fields, like 'lr: 0.1'.")
        data.setdefault("name", path.stem)
        base = data.pop("base", None)
        start = cls() if base is None else cls._base(str(base), paths)
        try:
            return start.replace(**data)
        except BadInputError as error:
            raise BadInputError(f"{what} cannot be used: {error}") from error

    @classmethod
    def _base(cls, name: str, paths: Sequence[Path]) -> Recipe:
        if Path(name).suffix not in (".yaml", ".yml"):
            return named_recipe(name)
        if any(Path(name).resolve() == path.resolve() for path in paths):
            raise BadInputError(
                f"The recipe file {str(paths[0])!r} has itself as its base; give it another base."
            )
        return cls._of_files([*paths, Path(name)])

    def steps_per_epoch(self, num_examples: int) -> int:
        """Optimiser steps in one pass over `num_examples`, at least one."""
        batch = min(self.batch_size, num_examples)
        return num_examples // batch if self.drop_last else math.ceil(num_examples / batch)

    def total_steps(self, num_examples: int, full_size: int | None = None) -> int:
        """Steps of a run on `num_examples`, out of a full training part of `full_size`.

        With `budget="steps"` a subset takes as many steps as the full part; with "epochs", as many epochs.
        """
        if self.steps is not None and (self.budget == "steps" or full_size in (None, num_examples)):
            return self.steps
        reference = full_size if full_size is not None else num_examples
        if self.steps is not None:
            epochs = self.steps / self.steps_per_epoch(reference)
        else:
            assert self.epochs is not None
            epochs = self.epochs
        size = reference if self.budget == "steps" else num_examples
        return max(1, round(epochs * self.steps_per_epoch(size)))


def _typed(key: str, value: Any, hint: Any) -> Any:
    """A field's value in the field's type; YAML writes 10 for 10.0 and 1e-4 as text.

    Raises:
        BadInputError: it is of another type.
    """
    if value is None and type(None) in get_args(hint):
        return None
    kind = alternatives(hint)[0]
    if get_origin(kind) is Literal:
        return value  # held against its choices later
    try:
        if kind in (int, float) and not isinstance(value, bool):
            number = float(value)
            if kind is float or number == int(number):
                return kind(number)
        if kind in (bool, str) and isinstance(value, kind):
            return value
        if get_origin(kind) is tuple and isinstance(value, Sequence) and not isinstance(value, str):
            return tuple(float(item) for item in value)
        if get_origin(kind) is Mapping and isinstance(value, Mapping):
            return dict(value)
    except (TypeError, ValueError, OverflowError):
        pass
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    needed = wanted.get(kind, "a list of numbers" if get_origin(kind) is tuple else "a mapping")
    raise BadInputError(f"recipe: {key} is {shown(value)}; it must be {needed}.")


NAMED_RECIPES: dict[str, dict[str, Any]] = {
    "fast": {},
    "paper": {
        "model": "resnet18",
        "epochs": 200.0,
        "batch_size": 128,
        "drop_last": True,
        "lr": 0.1,
        "schedule": "multistep",
        "warmup": 0.0,
        "milestones": (0.3, 0.6, 0.8),
        "decay": 0.2,
        "crop_pad": 4,
        "flip": True,
        "score_epoch": 20.0,
    },
    "finetune": {
        "epochs": 3.0,
        "batch_size": 32,
        "optimizer": "adamw",
        "lr": 5e-5,
        "weight_decay": 0.01,
        "schedule": "linear",
        "warmup": 0.1,
        "crop_pad": 0,
        "flip": False,
        "score_epoch": 1.0,
        "decay_norms_and_biases": False,
        "clip_norm": 1.0,
        "bucket_by_length": True,
    },
}


def named_recipe(name: str) -> Recipe:
    """The recipe of that name, before it is fitted to a data set.

    "fast" is minutes on a CPU; "paper" is the one of *Deep Learning on a Data Diet* for CIFAR-10;
    "finetune" is the usual one for pre-trained transformers.

    Raises:
        BadInputError: there is no recipe and no YAML file of that name.
    """
    if name in NAMED_RECIPES:
        return Recipe(name=name, **NAMED_RECIPES[name])
    if Path(name).suffix in (".yaml", ".yml"):
        return Recipe.from_yaml(name)
    raise BadInputError(
        f"There is no recipe {name!r}; use fast, paper, finetune, or the path of a YAML file."
    )


def fast_for(kind: str, num_examples: int, *, pretrained: bool) -> Recipe:
    """The "fast" recipe, its lengths fitted to the data: small data sets see more epochs of smaller batches.

    `kind` is that of the data, or "tokens" for texts read by a transformer from random weights.
    The lengths are our choice: at least about 200 steps, and ten epochs of 256 from 20,000 examples on.
    """
    if pretrained:
        return named_recipe("finetune").replace(name="fast")
    batch = 256 if num_examples >= 20_000 else 128 if num_examples >= 5_000 else 64
    steps_per_epoch = math.ceil(num_examples / batch)
    epochs = float(min(60, max(8 if num_examples < 5_000 else 10, math.ceil(200 / steps_per_epoch))))
    recipe = Recipe(name="fast", epochs=epochs, batch_size=batch, lr=0.4 * batch / 256)
    if kind == "image":
        return recipe
    if kind == "tokens":  # a small transformer from random weights
        shape = named_recipe("finetune")
        return shape.replace(name="fast", epochs=epochs, batch_size=batch // 2, lr=1e-3, score_epoch=None)
    rate = 1e-2 if kind == "text" else 2e-3
    return recipe.replace(optimizer="adamw", lr=rate, weight_decay=1e-2, crop_pad=0, flip=False)
