"""One run: from its description, through training and interruption, to its finished folder; its children."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from datadiet.engine.predicting import predict_test_part
from datadiet.engine.setup import Setup
from datadiet.engine.training.checkpoint import TrainingState, read_tensors, weights_hash, write_tensors
from datadiet.engine.training.dynamic import DynamicLoop, refuse_dynamic
from datadiet.engine.training.loop import Observer, TrainingLoop
from datadiet.engine.training.observers import Checkpointing, Recording, Showing
from datadiet.engine.training.seeding import derive_seed
from datadiet.engine.workspace import RunFolder, ids_digest
from datadiet.foundation.errors import BadInputError, RunFailedError
from datadiet.tracking import Recorder, Trace

# Part of every run's address: raise it when a change of the code changes what a run computes.
PROTOCOL = 1
_NOT_TRAINING = ("name", "score_epoch", "budget", "epochs", "steps", "on_long")


@dataclass(frozen=True)
class Run:
    """A run in its folder, trained at least as far as was asked.

    Args:
        folder: where it is.
        seed: its seed.
        num_examples: how many examples it trains on.
        total_steps: its whole length.
        steps_per_epoch: steps in one pass over what it trains on.
        result: accuracy and cost; None while it is trained only in part.
        trained: whether anything was trained just now.
    """

    folder: RunFolder
    seed: int
    num_examples: int
    total_steps: int
    steps_per_epoch: int
    result: dict[str, Any] | None
    trained: bool

    def weights(self, step: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """The model's state after `step` steps and its facts: `step`, `hash`, `seconds` of training, `ledger`.

        Raises:
            RunFailedError: the file does not hold the weights that were saved.
        """
        state, facts = read_tensors(self.folder.weights_path(step))
        if facts["step"] != step or weights_hash(state) != facts["hash"]:
            raise RunFailedError(
                f"The checkpoint {str(self.folder.weights_path(step))!r} does not hold the weights of step {step} "
                "that were saved there; delete the folder of this run and run again."
            )
        facts.setdefault("ledger", {"seconds": {"training": facts["seconds"]}})  # of runs older than ledgers
        return state, facts

    def trace(self) -> Trace:
        """What the training pass saw, epoch by epoch."""
        return Trace.open(self.folder.trace_path)

    def test_predictions(self) -> dict[str, np.ndarray]:
        """`ids`, `prediction` and `correct` on the test part, in id order."""
        tensors, _ = read_tensors(self.folder.test_path)
        return {name: tensor.numpy() for name, tensor in tensors.items()}


def describe(setup: Setup, seed: int, ids: np.ndarray | None, record: bool) -> dict[str, Any]:
    """What a run is, as plain data: its address is the hash of this."""
    size = len(setup.examples.train) if ids is None else len(ids)
    recipe = {k: v for k, v in setup.recipe.described().items() if k not in _NOT_TRAINING}
    return {
        "protocol": PROTOCOL,
        "data": setup.examples.fingerprint,
        "encoding": setup.encoding.describe(),
        "recipe": recipe,
        **({"task": setup.examples.task} if setup.examples.task != "classification" else {}),
        "total_steps": setup.recipe.total_steps(size, len(setup.examples.train)),
        "seed": seed,
        "ids": ids_digest(ids),
        "record": record,
        "device": setup.accelerator.device.type,
        "processes": setup.accelerator.num_processes,
    }


def train_run(
    setup: Setup,
    seed: int,
    *,
    ids: np.ndarray | None = None,
    record: bool = False,
    until: int | None = None,
    weights_at: Iterable[int] = (),
    label: str = "",
) -> Run:
    """Train a run as far as asked, going on from where it stands; a finished one is only read.

    Args:
        setup: data, recipe, machine.
        seed: seed of initialisation, order, augmentation and dropout.
        ids: the example ids to train on; None for all.
        record: keep a trace of the training pass.
        until: the step to train to; None for the end.
        weights_at: steps whose weights are kept.
        label: what the progress bar calls it.

    Raises:
        RunFailedError: the loss became NaN; what was finished is kept.
    """
    description = describe(setup, seed, ids, record)
    total = int(description["total_steps"])
    until = total if until is None else min(until, total)
    wanted = sorted({min(step, total) for step in weights_at})
    folder = setup.workspace.folder(description)
    size = len(setup.examples.train) if ids is None else len(ids)
    per_epoch = setup.recipe.steps_per_epoch(size)
    if setup.recipe.dynamic is not None and any(
        step % per_epoch and step != total for step in (until, *wanted)
    ):
        raise BadInputError(
            "A dynamic run can be stopped, and its weights kept, at ends of epochs only: how many steps an epoch "
            "has is not known beforehand."
        )
    trained = train_in(setup, folder, seed, ids, record, until, total, wanted, label)
    return Run(folder, seed, size, total, per_epoch, folder.result(), trained)


def train_in(
    setup: Setup,
    folder: RunFolder,
    seed: int,
    ids: np.ndarray | None,
    record: bool,
    until: int,
    total: int,
    wanted: list[int],
    label: str,
    begin: Callable[[TrainingLoop], None] | None = None,
    equip: Callable[[TrainingLoop], None] | None = None,
) -> bool:
    """Train what is missing in a run's folder, which this process holds meanwhile; whether there was anything.

    Args:
        setup: data, recipe, machine.
        folder: of the run.
        seed: of the loop.
        ids: the example ids to train on; None for all.
        record: keep a trace.
        until: the step to train to.
        total: the run's whole length.
        wanted: steps whose weights are kept, ascending.
        label: what the progress bar calls it.
        begin: where a run starts that has no state yet; None for step 0 with the seed's initialisation.
        equip: called on the loop before it goes on, also after an interruption, with the state already loaded.
    """
    accelerator = setup.accelerator

    def wait() -> None:
        setup.display.say(f"Another process is training {label or 'this run'}; waiting for it.")

    try:
        if accelerator.is_main_process:
            with folder.locked(wait):
                _settle(folder, wanted, until)
                accelerator.wait_for_everyone()
                trained = _train(setup, folder, seed, ids, record, until, total, wanted, label, begin, equip)
                accelerator.wait_for_everyone()
        else:
            accelerator.wait_for_everyone()
            trained = _train(setup, folder, seed, ids, record, until, total, wanted, label, begin, equip)
            accelerator.wait_for_everyone()
    finally:
        setup.let_go()
    return trained


def _settle(folder: RunFolder, wanted: list[int], until: int) -> None:
    """Start over where kept weights are missing that lie behind the point the run has reached."""
    missing = [step for step in wanted if not folder.weights_path(step).exists()]
    if not missing:
        return
    finished = folder.result() is not None
    if finished or (folder.state_path.exists() and TrainingState.read(folder.state_path).step > missing[0]):
        folder.start_over()


def _train(
    setup: Setup,
    folder: RunFolder,
    seed: int,
    ids: np.ndarray | None,
    record: bool,
    until: int,
    total: int,
    wanted: list[int],
    label: str,
    begin: Callable[[TrainingLoop], None] | None,
    equip: Callable[[TrainingLoop], None] | None = None,
) -> bool:
    """Train what is missing; returns whether there was anything to do."""
    stops = sorted({*[step for step in wanted if not folder.weights_path(step).exists()], until})
    state = TrainingState.read(folder.state_path) if folder.state_path.exists() else None
    if folder.result() is not None:
        return False
    if state is not None and state.step >= stops[-1] and len(stops) == 1 and until < total:
        return False
    main = setup.accelerator.is_main_process
    watched = setup.examples.train.ids if ids is None else np.sort(ids)
    recorder = _recorder(setup, watched, folder) if record else None
    loop = (TrainingLoop if setup.recipe.dynamic is None else DynamicLoop)(
        setup.recipe,
        setup.build(seed),
        setup.task,
        setup.train,
        ids=ids,
        seed=seed,
        total_steps=total,
        accelerator=setup.accelerator,
        augmentation=setup.augmentation,
    )
    setup.held_bytes.append(sum(p.numel() * p.element_size() for p in loop.model.parameters()))
    if state is not None:
        loop.load_state(
            step=state.step,
            seconds=state.seconds,
            model=state.model,
            optimizer=state.optimizer,
            ledger=state.ledger,
            selection=state.selection,
        )
        if recorder is not None:
            recorder.load_state_dict(state.recorder)
    elif begin is not None:
        begin(loop)
    if equip is not None:
        equip(loop)
    checkpoints = Checkpointing(folder.state_path, recorder, setup.checkpoint_every)
    with setup.display.step(label or f"seed {seed}", until, done=loop.step) as advance:
        watching: list[Observer] = [Recording(recorder)] if recorder is not None else []
        loop.observers = [*watching, checkpoints, Showing(advance)]
        for stop in stops:
            loop.run(stop)
            if stop in wanted and main:
                write_weights(folder, loop)
    if loop.step < total:
        if main:
            checkpoints.write(loop)
        return True
    result = _test(setup, folder, loop)
    if main:
        folder.finish(result)
    return True


def _recorder(setup: Setup, ids: np.ndarray, folder: RunFolder) -> Recorder:
    """A recorder over the run's trace; the process that writes opens the folder first and tidies it."""
    if not setup.accelerator.is_main_process:
        setup.accelerator.wait_for_everyone()
    recorder = Recorder(ids=ids, folder=folder.trace_path, task=setup.plain_task)
    if setup.accelerator.is_main_process:
        setup.accelerator.wait_for_everyone()
    return recorder


def write_weights(folder: RunFolder, loop: TrainingLoop) -> None:
    """Keep the weights as they are now, with their hash."""
    model = loop.model_state()
    facts = {
        "step": loop.step,
        "hash": weights_hash(model),
        "seconds": loop.seconds,
        "ledger": loop.ledger.as_dict(),
    }
    write_tensors(folder.weights_path(loop.step), model, facts)


def _test(setup: Setup, folder: RunFolder, loop: TrainingLoop) -> dict[str, Any]:
    """Predict the test part, write the predictions, return the run's result."""
    loop.ledger.start()
    part = setup.examples.test
    prediction, correct, metrics = predict_test_part(setup, loop.bare_model)
    test_seconds = loop.ledger.lap("evaluation")
    loop.ledger.evaluated += len(part)
    if setup.accelerator.is_main_process:
        tensors = {"ids": torch.from_numpy(part.ids), "prediction": prediction, "correct": correct}
        write_tensors(folder.test_path, tensors, {"step": loop.step})
    return {
        "accuracy": float(correct.double().mean()),
        **({"metrics": metrics} if metrics else {}),
        "seconds": loop.seconds,
        "test_seconds": test_seconds,
        "steps": loop.steps_taken,
        "epochs": loop.step / loop.steps_per_epoch,
        "weights": weights_hash(loop.model_state()),
        "ledger": loop.ledger.as_dict(),
    }


def train_child(
    setup: Setup,
    parent: Run,
    step: int,
    seed: int,
    *,
    ids: np.ndarray | None = None,
    label: str = "",
) -> Run:
    """Go on from a parent's weights at a step, to the parent's last step, with another choice of SGD noise.

    Parameters and BatchNorm statistics are the parent's; the learning rate goes on where the parent's schedule
    stood. Order, augmentation and dropout come from a stream of their own for each (parent, step, seed).
    Checkpoints hold no momentum, so the optimiser starts at rest: with momentum 0.9 the trace of that is gone
    after some tens of steps, and all children of a step share it. A step in the middle of an epoch goes on in
    the middle of an epoch of the new order.

    The child lives in the workspace under an address of its own, made from the parent's, the step with its
    weights, and the seed; it keeps its last weights, resumes to the same bits, and is trained only once.

    Args:
        setup: data, recipe and machine that the parent was trained with.
        parent: a run that keeps its weights at `step`.
        step: where the child leaves its parent, 0 to the parent's last step.
        seed: tells the children of one step apart.
        ids: what the parent was trained on; None for all.
        label: what the progress bar calls it.

    Raises:
        BadInputError: the parent belongs to another setup or other ids, or keeps no weights at that step.
        RunFailedError: the kept weights are damaged, or the loss became NaN.

    Source:
        Frankle, Dziugaite, Roy, Carbin 2020, "Linear Mode Connectivity and the Lottery Ticket Hypothesis",
        instability analysis: a network is trained to step k, then two copies go on with other SGD noise.
    """
    refuse_dynamic(setup.recipe, "Children go on with")
    _check_parent(setup, parent, step, ids)
    state, facts = parent.weights(step)
    own = derive_seed(parent.seed, "child", step, seed)
    total = parent.total_steps
    description = describe(setup, seed, ids, False) | {
        "child_of": parent.folder.path.name,
        "step": step,
        "weights": facts["hash"],
    }
    folder = setup.workspace.folder(description)

    def begin(loop: TrainingLoop) -> None:
        loop.load_state(step=step, seconds=0.0, model=state, optimizer=loop.optimizer_state())

    called = label or f"child {seed} of seed {parent.seed}"
    trained = train_in(setup, folder, own, ids, False, total, total, [total], called, begin)
    return Run(folder, own, parent.num_examples, total, parent.steps_per_epoch, folder.result(), trained)


def _check_parent(setup: Setup, parent: Run, step: int, ids: np.ndarray | None) -> None:
    was: dict[str, Any] = parent.folder.description
    now = describe(setup, parent.seed, ids, bool(was.get("record")))
    if was.get("ids") != ids_digest(ids):
        raise BadInputError("The parent was trained on other ids: pass ids=, those that it was trained on.")
    for name, value in now.items():
        if was.get(name) != value:
            raise BadInputError(
                f"The parent is no run of this setup: its {name.replace('_', ' ')} is another. "
                "Train children with the data, recipe and device of their parent."
            )
    if not 0 <= step <= parent.total_steps:
        raise BadInputError(f"step is {step}; the parent has steps 0 to {parent.total_steps}.")
    if not parent.folder.weights_path(step).exists():
        raise BadInputError(
            f"The parent keeps no weights at step {step}: train it with weights_at=[{step}, ...]."
        )
