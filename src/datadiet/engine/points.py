"""What is measured of every training example with the weights of one checkpoint, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from datadiet.data import Batch
from datadiet.engine.runs import Run, described_score
from datadiet.engine.setup import Setup
from datadiet.engine.training.checkpoint import read_tensors, tensor_bytes
from datadiet.engine.training.devices import on_device
from datadiet.engine.training.evaluation import evaluate, evaluation_mode, in_float32, share_of
from datadiet.engine.training.ledger import Ledger
from datadiet.engine.workspace import content_address
from datadiet.foundation.errors import BadInputError
from datadiet.models import is_pretrained
from datadiet.pergrad import GradientNorms
from datadiet.scores import card
from datadiet.scores.gradients import grand_last_layer
from datadiet.scores.inputs import input_norm
from datadiet.scores.outputs import measure

OUTPUT_COLUMNS = ("el2n", "l1_error", "entropy", "loss", "margin", "logit_margin")


@dataclass(frozen=True)
class Points:
    """Columns over the training part in id order, the weights they come from, and what they cost.

    Args:
        columns: name -> float32 (n,).
        weights: hash of the weights.
        step: the step of these weights.
        ledger: of the pass, a `Ledger`; its wall seconds alone where the pass is older.
    """

    columns: dict[str, np.ndarray]
    weights: str
    step: int
    ledger: dict[str, Any] = field(default_factory=dict)


def measure_points(setup: Setup, run: Run, step: int, names: Sequence[str] = ()) -> Points:
    """Every score that one forward pass gives, in evaluation mode; read back where it was measured before.

    Columns are the scores of the outputs as far as the task has them, `input_norm` where inputs are numbers, and
    of single-label classification `grand_last_layer` where the model ends in a linear layer, and those registered
    scores of outputs that `names` asks for.
    """
    extra = sorted(name for name in names if card(name).needs == "outputs" and name not in OUTPUT_COLUMNS)
    kind = "outputs" if not extra else f"outputs-{content_address(list(map(described_score, extra)))}"
    return remembered(setup, run, step, kind, lambda model: compute_outputs(setup, model, extra))


def measure_grand(setup: Setup, run: Run, step: int, parameters: str = "all") -> Points:
    """The exact gradient norm of every example's loss over the chosen parameters: column `grand`."""
    kind = "grand" if parameters == "all" else f"grand-{content_address(parameters)}"
    return remembered(setup, run, step, kind, lambda model: compute_grand(setup, model, parameters))


def try_grand(setup: Setup, parameters: str) -> None:
    """Take GraNd of two examples with an untrained model, so that what it refuses is refused at the start.

    Raises:
        BadInputError: no such parameters, or a model whose examples cannot be told apart.
    """
    batch = _two_examples(setup)
    norms_of = GradientNorms(setup.build(0).eval(), parameters=parameters, task=setup.plain_task)
    norms_of(batch.inputs, batch.targets)


def _two_examples(setup: Setup) -> Batch:
    return next(iter(setup.train.epoch(setup.examples.train.ids[:2], batch_size=2, device="cpu")))


def refuse_scores(setup: Setup, names: Sequence[str]) -> None:
    """Raise `BadInputError` for a score that the task of this data does not have, before anything is trained."""
    if setup.task.single_label:
        return
    batch = _two_examples(setup)
    with torch.inference_mode():
        there = set(setup.plain_task.measures(in_float32(setup.build(0).eval()(batch.inputs)), batch.targets))
    for name in names:
        wanted = {"outputs": {name}, "features": {name}, "trace": set(card(name).columns)}
        if not wanted.get(card(name).needs, set()) <= there:
            raise BadInputError(
                f"The score {name!r} is not defined for the task '{setup.examples.task}'; ask for another, such as "
                "el2n."
            )


def parameters_of_grand(setup: Setup, asked: str | None) -> str:
    """The parameters that `grand` is taken over where none are asked for: "head" of a pre-trained model, else "all".

    GraNd is the gradient norm *expected over initialisations*. Trainings of a pre-trained model all start from the
    same encoder; only its head is drawn anew, so only there do the seeds make an expectation.

    Source:
        Fayyaz et al. 2022, "BERT on a Data Diet", section 3.
    """
    if asked is not None:
        return asked
    if not is_pretrained(setup.recipe.model):
        return "all"
    setup.display.say(
        "GraNd is taken over the freshly initialised head: all trainings share the encoder's weights "
        "(grand_parameters=all for every parameter)."
    )
    return "head"


def load_weights(setup: Setup, run: Run, step: int) -> tuple[nn.Module, str]:
    """The model with the weights of a step, on the device and in evaluation mode, and their hash.

    Raises:
        RunFailedError: the file does not hold the weights that were saved.
    """
    state, facts = run.weights(step)
    model = setup.build(run.seed)
    model.load_state_dict(state)
    return on_device(setup.recipe, model, setup.accelerator.device).eval(), str(facts["hash"])


def remembered(
    setup: Setup, run: Run, step: int, kind: str, compute: Callable[[nn.Module], dict[str, torch.Tensor]]
) -> Points:
    """The columns of a kind, measured where they have not been, else read back."""
    path = run.folder.points_path(step, kind)
    if not run.folder.holds(path):
        if run.folder.lacks(path) and setup.accelerator.is_main_process:
            setup.display.say(
                f"'{path}' is missing or not as it was written; it is measured again.", passing=True
            )
        model, weights = load_weights(setup, run, step)
        size = len(setup.examples.train)
        ledger = Ledger(forwarded=size, backwarded=size if kind.startswith("grand") else 0)
        with evaluation_mode(model):
            columns = compute(model)
        seconds = ledger.lap("scoring")
        facts: dict[str, Any] = {
            "step": step,
            "hash": weights,
            "seconds": seconds,
            "ledger": ledger.as_dict(),
        }
        if setup.accelerator.is_main_process:
            # Held, because who takes the run next removes every half-written file that it finds there.
            with run.folder.locked():
                run.folder.write(path, tensor_bytes(columns, facts))
        setup.accelerator.wait_for_everyone()
    columns, facts = read_tensors(path)
    arrays = {name: column.numpy() for name, column in columns.items()}
    ledger = facts.get("ledger", {"seconds": {"scoring": facts["seconds"]}})
    return Points(arrays, facts["hash"], facts["step"], ledger)


class FullColumns:
    """Full-length columns that every process fills its share of."""

    def __init__(self, setup: Setup, ids: np.ndarray | None) -> None:
        self.setup = setup
        self.ids = setup.examples.train.ids if ids is None else ids
        self.columns: dict[str, torch.Tensor] = {}

    def put(self, batch: Batch, values: dict[str, torch.Tensor]) -> None:
        """Write one batch's values at its ids' places."""
        places = torch.from_numpy(np.searchsorted(self.ids, batch.ids.cpu().numpy()))
        for name, column in values.items():
            if name not in self.columns:
                self.columns[name] = torch.zeros(len(self.ids), *column.shape[1:], dtype=torch.float32)
            self.columns[name][places] = column.detach().float().cpu()

    def merged(self) -> dict[str, torch.Tensor]:
        """The columns of all processes together: each id was measured by exactly one."""
        accelerator = self.setup.accelerator
        if accelerator.num_processes == 1:
            return self.columns
        return {
            name: accelerator.reduce(column.to(accelerator.device), "sum").cpu()
            for name, column in self.columns.items()
        }


def compute_outputs(
    setup: Setup, model: nn.Module, extra: Sequence[str] = (), *, ids: np.ndarray | None = None
) -> dict[str, torch.Tensor]:
    """One forward pass over the training part, or over some sorted ids of it: the columns by name, (n,)."""
    columns, task, single_label = FullColumns(setup, ids), setup.plain_task, setup.task.single_label
    total = len(columns.ids)
    with setup.display.step("scoring", total, unit="examples/s") as advance, HeadInputs(model) as head:

        def visit(batch: Batch, outputs: Any) -> None:
            targets: Any = batch.targets
            measured = measure(outputs, targets) if single_label else task.measures(outputs, targets)
            values = {name: measured[name] for name in OUTPUT_COLUMNS if name in measured}
            if single_label:
                for name in extra:
                    function = card(name).function
                    assert function is not None
                    values[name] = function(outputs, targets)
                features = head.features(outputs)
                if features is not None:
                    norms = grand_last_layer(outputs, targets, features.float(), bias=head.has_bias)
                    values["grand_last_layer"] = norms
            if isinstance(batch.inputs, torch.Tensor) and batch.inputs.is_floating_point():
                values["input_norm"] = input_norm(batch.inputs)
            columns.put(batch, values)
            advance(len(batch))

        evaluate(model, setup.train, setup.recipe, setup.accelerator, visit, ids=ids)
    return columns.merged()


def compute_grand(
    setup: Setup, model: nn.Module, parameters: str = "all", *, ids: np.ndarray | None = None
) -> dict[str, torch.Tensor]:
    """Gradient norms over the training part, or over some sorted ids of it: column `grand`, (n,)."""
    columns, recipe = FullColumns(setup, ids), setup.recipe
    precision = torch.bfloat16 if recipe.precision == "bfloat16" else None
    norms_of = GradientNorms(model, parameters=parameters, task=setup.plain_task, autocast=precision)
    size = min(recipe.batch_size, 128)
    with setup.display.step("GraNd", len(columns.ids), unit="examples/s") as advance:
        for index, batch in enumerate(
            share_of(setup.train, recipe, setup.accelerator, ids=ids, batch_size=size)
        ):
            norms = norms_of(batch.inputs, batch.targets, verify_independence=index == 0)
            columns.put(batch, {"grand": norms})
            advance(len(batch))
    return columns.merged()


class HeadInputs:
    """Sees what goes into the linear layer that the logits come out of, while it is entered."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.seen: list[tuple[nn.Linear, torch.Tensor]] = []
        self.has_bias = False

    def __enter__(self) -> HeadInputs:
        def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            assert isinstance(module, nn.Linear)
            self.seen.append((module, inputs[0]))

        def clear(module: nn.Module, inputs: Any) -> None:
            self.seen.clear()

        linears = [module for module in self.model.modules() if isinstance(module, nn.Linear)]
        self.handles = [module.register_forward_hook(note) for module in linears]
        self.handles.append(self.model.register_forward_pre_hook(clear))
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self.handles:
            handle.remove()
        self.seen.clear()

    def features(self, logits: Any) -> torch.Tensor | None:
        """Inputs (batch, features) of the last linear layer that was called; None if it is no head."""
        if not self.seen or not isinstance(logits, torch.Tensor) or logits.ndim != 2:
            return None
        module, features = self.seen[-1]
        self.has_bias = module.bias is not None
        fits = features.ndim == 2 and module.out_features == logits.shape[1]
        return features if fits else None
