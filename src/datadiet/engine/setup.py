"""What the runs of one command share: data, encoding, resolved recipe, device, workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn
from typing_extensions import Unpack

from datadiet.data import (
    Augmentation,
    Batch,
    Examples,
    ImageEncoding,
    NgramEncoding,
    Store,
    TokenEncoding,
    VectorEncoding,
    open_store,
)
from datadiet.data.encodings.texts import trained_tokenizer
from datadiet.data.leaks import OnLeak, rows_tested
from datadiet.engine.options import SetupOptions
from datadiet.engine.training.devices import accelerator_for, fastest_precision
from datadiet.engine.training.dynamic import sampler_for
from datadiet.engine.training.randomness import derive_seed, local_randomness, seed_generators
from datadiet.engine.training.recipe import Recipe, fast_for, named_recipe
from datadiet.engine.workspace import Workspace
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.names import require_utf8
from datadiet.foundation.options import with_options
from datadiet.foundation.progress import ProgressDisplay
from datadiet.models import (
    DEFAULTS,
    ModelContext,
    build_model,
    check_model,
    check_size,
    check_vocabulary,
    identity_of,
    is_pretrained,
)
from datadiet.models.factories import place_of_factory
from datadiet.models.pretrained import image_processing, load_tokenizer
from datadiet.tasks import Task, task_for

Encoding = ImageEncoding | VectorEncoding | NgramEncoding | TokenEncoding
TRAINS_ITS_TOKENIZER = "tiny-bert"
MAX_PREPARED_BYTES = 32 * 2**20  # bytes of parameters of finished runs
SAMPLE_SIZE = 2_000  # training examples that data-dependent initialisation may look at


@dataclass
class Setup:
    """Data, model, recipe and machine, made ready for any number of runs.

    Runs predict the whole test part; `tested` (bool, one a test row; None for all) are the rows that accuracies are of.
    `identity` is what the model is beyond its name: fields that go before the recipe's own in descriptions of runs.
    """

    examples: Examples
    recipe: Recipe
    task: Task
    encoding: Encoding
    train: Store
    test: Store
    context: ModelContext
    accelerator: Accelerator
    workspace: Workspace
    display: ProgressDisplay
    checkpoint_every: float = 30.0
    on_leak: OnLeak = "keep"
    tested: np.ndarray | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    trust_remote_code: bool = False
    cut_texts: dict[str, int] = field(default_factory=dict)
    prepared_bytes: list[int] = field(default_factory=list)  # of the models that Accelerate still holds on to

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch over the full training part."""
        return self.recipe.steps_per_epoch(len(self.examples.train))

    @property
    def n_test(self) -> int:
        """How many test examples accuracies are of."""
        return len(self.examples.test) if self.tested is None else int(self.tested.sum())

    @property
    def notes(self) -> list[str]:
        """Sentences that were said of the data and of the job so far, for what is written."""
        lasting = [said for said in self.display.said if said not in self.display.passing]
        return list(dict.fromkeys([*self.examples.notes, *lasting]))

    @property
    def augmentation(self) -> Augmentation | None:
        """What is done to training images; None for nothing."""
        recipe = self.recipe
        if self.examples.kind != "image" or not (recipe.crop_pad or recipe.flip or recipe.cutout):
            return None
        return Augmentation(pad=recipe.crop_pad or 0, flip=bool(recipe.flip), cutout=recipe.cutout)

    @property
    def plain_task(self) -> Task:
        """The task as scores are taken: without label smoothing, which is for training only."""
        return task_of(self.examples, 0.0)

    @property
    def model_options(self) -> dict[str, Any]:
        """What the model is built with: the recipe's options, and of a hub id the commit that was found first."""
        return {**self.recipe.model_options, **_revision(self.identity)}

    def build(self, seed: int) -> nn.Module:
        """A fresh model; its initialisation is a function of the seed, whatever ran before."""
        with local_randomness(self.accelerator.device):
            seed_generators(derive_seed(seed, "initialisation"), self.accelerator.device)
            return build_model(self.recipe.model, self.context, self.model_options, self.trust_remote_code)

    def step_of(self, epoch: float) -> int:
        """The step at the end of an epoch, which may be a fraction."""
        return round(epoch * self.steps_per_epoch)

    def agreed(self, found: Any) -> Any:
        """What the main process found, in every process: times differ, and what hangs on them must not."""
        if self.accelerator.num_processes == 1:
            return found
        told = [found]
        broadcast_object_list(told, from_process=0)
        return told[0]

    def free_memory(self) -> None:
        """Have Accelerate drop models and optimisers of finished runs, once they are large enough to matter.

        It holds on to every one that it prepared; dropping them collects garbage, a third of a second each time.
        """
        if self.prepared_bytes and sum(self.prepared_bytes) >= MAX_PREPARED_BYTES:
            self.accelerator.free_memory()
            self.prepared_bytes.clear()

    def close(self) -> None:
        """Let workers of the stores go."""
        for store in (self.train, self.test):
            if hasattr(store, "close"):
                store.close()


def resolve_recipe(
    recipe: str | Recipe, examples: Examples, overrides: Mapping[str, Any] | None = None
) -> Recipe:
    """The recipe with everything decided that the data decides; precision is left to measuring.

    Args:
        recipe: "fast", "paper", "finetune", a YAML file, or a `Recipe`.
        examples: the data.
        overrides: fields that the user gave; None values are as if not given.

    Raises:
        BadInputError: unknown recipe, field or model, or a model for another kind of data.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    chosen = recipe if isinstance(recipe, Recipe) else named_recipe(recipe)
    model = str(given.get("model", chosen.model))
    if model == "auto":
        model = TRAINS_ITS_TOKENIZER if examples.tag_names else DEFAULTS[examples.kind]
    if recipe == "fast":
        kind = "tokens" if model == TRAINS_ITS_TOKENIZER else examples.kind
        chosen = fast_for(kind, len(examples.train), pretrained=is_pretrained(model))
    chosen = chosen.replace(**{**given, "model": model})
    check_model(chosen.model, examples.kind, examples.task)
    return chosen


def _untrusting(recipe: Recipe, trust_remote_code: bool) -> Recipe:
    """The recipe without a word on trust, which only who gives the command can say.

    Raises:
        BadInputError: it asks for trust that was not given.
    """
    if not is_pretrained(recipe.model) or "trust_remote_code" not in recipe.model_options:
        return recipe
    options = dict(recipe.model_options)
    if options.pop("trust_remote_code") and not trust_remote_code:
        raise BadInputError(
            f"The recipe's options of the model {recipe.model!r} ask for 'trust_remote_code', with which Python code "
            "that comes with the model is run; give trust_remote_code yourself where you trust it."
        )
    return recipe.replace(model_options=options)


def _revision(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {"revision": identity["model_revision"]} if "model_revision" in identity else {}


def choose_encoding(
    recipe: Recipe, examples: Examples, cache: Path | None = None, **loading: Any
) -> Encoding:
    """How the model of this recipe wants the data of this kind.

    Args:
        recipe: resolved.
        examples: the data.
        cache: folder where token ids of texts are kept.
        loading: `trust_remote_code` and `revision` of a pre-trained model.
    """
    if examples.kind == "vector":
        return VectorEncoding.fit(examples)
    if examples.kind == "text":
        # Tags are of words, so only an encoding that tells where words begin will do.
        tagged, brought = bool(examples.tag_names), is_pretrained(recipe.model)
        if not (tagged or brought or recipe.model == TRAINS_ITS_TOKENIZER):
            return NgramEncoding(max_tokens=recipe.max_length)
        return TokenEncoding(
            tokenizer_of(recipe.model, **loading) if brought else trained_tokenizer(examples.train),
            max_length=recipe.max_length,
            on_long=recipe.on_long,
            words=tagged,
            cache_dir=None if cache is None else str(cache),
        )
    return image_encoding(examples, recipe.model if is_pretrained(recipe.model) else None, **loading)


def tokenizer_of(pretrained: str, **loading: Any) -> Any:
    """What a `TokenEncoding` is given: a folder, or the tokenizer itself where the folder's name does not say all."""
    return load_tokenizer(pretrained, **loading) if any(loading.values()) else pretrained


def image_encoding(examples: Examples, pretrained: str | None, **loading: Any) -> ImageEncoding:
    """Images as they are, or as a model of `transformers` was trained on them."""
    if pretrained is None:
        return ImageEncoding.fit(examples)
    wanted = image_processing(pretrained, **loading)
    return ImageEncoding.fit(examples, size=wanted.get("size")).for_model(wanted)


@with_options()
def prepare(
    examples: Examples,
    recipe: str | Recipe = "fast",
    *,
    workspace: str | Path | Workspace = "runs",
    on_leak: OnLeak = "keep",
    **options: Unpack[SetupOptions],
) -> Setup:
    """Everything that runs on this data with this recipe share.

    Args:
        examples: the data.
        recipe: "fast", "paper", "finetune", a YAML file, or a `Recipe`.
        workspace: where runs live.
        on_leak: what test rows that are in the training part too do to accuracies; see `rows_tested`.

    Raises:
        BadInputError: data, recipe and model do not fit, or the test part is of no use.
    """
    tested = rows_tested(examples, on_leak)
    trust = options["trust_remote_code"]
    resolved = _untrusting(resolve_recipe(recipe, examples, options["overrides"]), trust)
    if resolved.dynamic is not None:
        sampler_for(resolved, examples.train.ids, 0)  # what it refuses, it refuses before anything is trained
    accelerator = accelerator_for(options["device"])
    display = options["display"] or ProgressDisplay(enabled=False)
    if ":" in resolved.model and (place := place_of_factory(resolved.model)) is not None:
        display.say(f"The model comes from {place}, which is run.")
    identity = identity_of(resolved.model, resolved.model_options, trust)
    loading = {"trust_remote_code": trust, **_revision(identity)}
    if not isinstance(workspace, Workspace):
        require_utf8(workspace, "workspace")
        workspace = Workspace(workspace)
    cache = None if workspace.read_only else workspace.path / "tokens"
    encoding = choose_encoding(resolved, examples, cache, **loading)
    if isinstance(encoding, ImageEncoding):
        pad = encoding.height // 8 if resolved.crop_pad is None else resolved.crop_pad
        flip = encoding.channels == 3 if resolved.flip is None else resolved.flip
        resolved = resolved.replace(crop_pad=pad, flip=flip)
    else:
        resolved = resolved.replace(crop_pad=0, flip=False, cutout=0)
    if not isinstance(encoding, TokenEncoding):
        resolved = resolved.replace(bucket_by_length=False)
    limit = options["memory_limit"]
    limits: dict[str, Any] = {} if limit is None else {"memory_limit": limit}
    train, test = (
        open_store(
            part, encoding, num_workers=options["num_workers"], device=str(accelerator.device), **limits
        )
        for part in (examples.train, examples.test)
    )
    setup = Setup(
        examples=examples,
        recipe=resolved,
        task=task_of(examples, resolved.label_smoothing),
        encoding=encoding,
        train=train,
        test=test,
        context=_model_context(examples, encoding, train),
        accelerator=accelerator,
        workspace=workspace,
        display=display,
        checkpoint_every=options["checkpoint_every"],
        on_leak=on_leak,
        tested=tested,
        identity=identity,
        trust_remote_code=trust,
    )
    _count_cut_texts(setup)
    _try_model(setup)
    setup.recipe = _fix_precision(setup)
    return setup


def _count_cut_texts(setup: Setup) -> None:
    """Say how many texts are longer than the longest that is read. Streamed ones are not read for it."""
    if not isinstance(setup.encoding, TokenEncoding):
        return
    for name, store in (("train", setup.train), ("test", setup.test)):
        cut = setup.encoding.truncated(store.part) if store.in_memory else 0
        if cut:
            setup.cut_texts[name] = cut
            setup.display.say(
                f"{cut:,} of {len(store):,} texts of the {name} part are longer than {setup.recipe.max_length} tokens "
                "and were cut; --max-length sets that length."
            )


def _try_model(setup: Setup) -> None:
    """Build the model and show it two examples, so that what does not fit is found before anything is trained.

    One of them is the longest, where lengths differ and are known.
    """
    with local_randomness(setup.accelerator.device):
        check_size(setup.recipe.model, setup.context, setup.model_options, setup.trust_remote_code)
    model = setup.build(0).eval()
    if isinstance(setup.encoding, TokenEncoding):
        check_vocabulary(model, setup.encoding.vocabulary_size)
    ids, lengths = setup.examples.train.ids, setup.train.lengths() if setup.train.in_memory else None
    longest = len(ids) - 1 if lengths is None else int(lengths.argmax())
    shown = np.unique(ids[[0, longest]])
    batch = next(iter(setup.train.epoch(shown, batch_size=len(shown), device="cpu")))
    try:
        with torch.inference_mode():
            outputs = model(batch.inputs)
    except Exception as error:  # whatever somebody's model does with inputs that it was not made for
        raise BadInputError(
            f"The model {setup.recipe.model!r} cannot take this data (inputs of shape {_shape(batch.inputs)}): "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    what, shapes = wanted_outputs(setup.examples, batch)
    if _shape(outputs) not in shapes:
        raise BadInputError(
            f"The model {setup.recipe.model!r} must return {what} of shape {shapes[0]} for {len(batch)} examples, "
            f"and returned {_shape(outputs)}."
        )


def wanted_outputs(examples: Examples, batch: Batch) -> tuple[str, list[object]]:
    """What a model puts out for a batch, in words, and the shapes that it may have, the usual one first."""
    size, outputs, tags = len(batch), examples.num_outputs, len(examples.tag_names)
    longest = batch.inputs["input_ids"].shape[1] if isinstance(batch.inputs, dict) else 0
    slots = (size, longest, tags)
    by_task: dict[str, tuple[str, list[object]]] = {
        "classification": (f"logits of {outputs} classes", [(size, outputs)]),
        "multilabel": (f"logits of {outputs} labels", [(size, outputs)]),
        "regression": ("numbers", [(size,), (size, 1)]),
        "token_classification": (f"logits of {tags} tags", [slots]),
        "intent_slots": (
            f"logits of {outputs} intents and {tags} tags",
            [{"intent": (size, outputs), "slots": slots}],
        ),
    }
    return by_task[examples.task]


def task_of(examples: Examples, label_smoothing: float) -> Task:
    """The task of this data: its loss, its correctness, its metrics."""
    scale, mean = 1.0, 0.0
    if examples.task == "regression" and examples.train.targets is not None:
        values = examples.train.targets.values.astype(np.float64)
        scale, mean = float(values.std()), float(values.mean())
    return task_for(
        examples.task,
        label_smoothing=label_smoothing,
        tag_names=examples.tag_names,
        target_scale=scale,
        target_mean=mean,
    )


def _shape(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    if isinstance(value, dict):
        return {name: _shape(part) for name, part in value.items()}
    return type(value).__name__


def _model_context(examples: Examples, encoding: Encoding, store: Store) -> ModelContext:
    ids, sample = examples.train.ids, None
    if isinstance(encoding, ImageEncoding | VectorEncoding):
        spread = ids[np.unique(np.linspace(0, len(ids) - 1, min(SAMPLE_SIZE, len(ids))).astype(np.int64))]
        inputs = next(iter(store.epoch(spread, batch_size=len(spread), device="cpu"))).inputs
        assert isinstance(inputs, torch.Tensor)
        sample = inputs
    tokens = encoding if isinstance(encoding, TokenEncoding) else None
    buckets = encoding.buckets if isinstance(encoding, NgramEncoding) else 0
    return ModelContext(
        examples.kind,
        examples.num_classes,
        () if sample is None else tuple(sample.shape[1:]),
        buckets if tokens is None else tokens.vocabulary_size,
        sample,
        task=examples.task,
        num_tags=len(examples.tag_names),
        num_outputs=examples.num_outputs,
        padding_token=None if tokens is None else tokens.padding_token,
    )


def _fix_precision(setup: Setup) -> Recipe:
    """The recipe with precision and memory layout measured on this machine, once a workspace."""
    recipe = setup.recipe
    if "auto" not in (recipe.precision, recipe.memory_format):
        return recipe
    batch_size = min(recipe.batch_size, len(setup.examples.train), 64)
    device = setup.accelerator.device

    def measure() -> list[Any]:
        batch: Batch = next(iter(setup.train.epoch(batch_size=batch_size, device=device)))
        return list(fastest_precision(recipe, partial(setup.build, 0), batch, setup.task, device))

    question = {
        "choice": "precision",
        "recipe": [
            setup.identity.get("model", recipe.model),
            dict(recipe.model_options),
            recipe.precision,
            recipe.memory_format,
        ],
        **{name: value for name, value in setup.identity.items() if name != "model"},
        "input_shape": list(setup.context.input_shape),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    found = measure() if setup.workspace.read_only else setup.workspace.remember(question, measure)
    precision, memory_format = found
    return recipe.replace(precision=precision, memory_format=memory_format)
