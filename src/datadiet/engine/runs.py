"""One run: from its description, through training and interruption, to its finished folder; its children."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object, send_to_device
from torch import nn

from datadiet.data import Batch
from datadiet.engine.setup import Setup
from datadiet.engine.training.checkpoint import TrainingState, read_tensors, weights_hash, write_tensors
from datadiet.engine.training.dynamic import DynamicLoop, refuse_dynamic
from datadiet.engine.training.evaluation import evaluate
from datadiet.engine.training.loop import Observer, RecordTrace, SaveCheckpoints, ShowProgress, TrainingLoop
from datadiet.engine.training.randomness import derive_seed
from datadiet.engine.workspace import RunFolder, ids_digest
from datadiet.foundation.errors import BadInputError, RunFailedError
from datadiet.tasks import Task
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
        tested: the test rows that accuracy, metrics and predictions are of, bool (test examples,); None for all.
    """

    folder: RunFolder
    seed: int
    num_examples: int
    total_steps: int
    steps_per_epoch: int
    result: dict[str, Any] | None
    trained: bool
    tested: np.ndarray | None = None

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
        """`ids`, `prediction` and `correct` on the tested rows of the test part, in id order."""
        tensors, _ = read_tensors(self.folder.test_path)
        rows = slice(None) if self.tested is None else self.tested
        return {name: tensor.numpy()[rows] for name, tensor in tensors.items()}


def describe(setup: Setup, seed: int, ids: np.ndarray | None, record: bool) -> dict[str, Any]:
    """What a run is, as plain data: its address is the hash of this."""
    recipe = {k: v for k, v in setup.recipe.described().items() if k not in _NOT_TRAINING}
    return {
        "protocol": PROTOCOL,
        "data": setup.examples.fingerprint,
        "encoding": setup.encoding.describe(),
        "recipe": recipe | setup.identity,
        **({"task": setup.examples.task} if setup.examples.task != "classification" else {}),
        "total_steps": setup.recipe.total_steps(_size(setup, ids), len(setup.examples.train)),
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
    weights_at, total = list(weights_at), int(description["total_steps"])
    per_epoch = setup.recipe.steps_per_epoch(_size(setup, ids))
    stops = [min(step, total) for step in (*weights_at, total if until is None else until)]
    if setup.recipe.dynamic is not None and any(step % per_epoch and step != total for step in stops):
        raise BadInputError(
            "A dynamic run can be stopped, and its weights kept, at ends of epochs only: how many steps an epoch "
            "has is not known beforehand."
        )
    return train_described(setup, description, seed, ids=ids, until=until, weights_at=weights_at, label=label)


def train_described(
    setup: Setup,
    description: dict[str, Any],
    seed: int,
    *,
    ids: np.ndarray | None = None,
    until: int | None = None,
    weights_at: Iterable[int] = (),
    label: str = "",
    start: TrainingState | None = None,
    configure: Callable[[TrainingLoop, RunFolder], None] | None = None,
) -> Run:
    """Train what is missing of the run of a description, whose folder this process holds meanwhile.

    Args:
        setup: data, recipe, machine.
        description: what the run is; says its whole length, `total_steps`, and whether to `record` a trace.
        seed: of the loop.
        ids: the example ids to train on; None for all.
        until: the step to train to; None for the end.
        weights_at: steps whose weights are kept.
        label: what the progress bar calls it.
        start: where a run starts that has no state yet; None for step 0 with the seed's initialisation.
        configure: called on the loop before it goes on, also after an interruption, with the state already loaded.
    """
    size, total = _size(setup, ids), int(description["total_steps"])
    until = total if until is None else min(until, total)
    weights_at = sorted({min(step, total) for step in weights_at})
    folder, accelerator = setup.workspace.folder(description), setup.accelerator

    def wait() -> None:
        setup.display.mention(f"Another process is training {label or 'this run'}; waiting for it.")

    try:
        with folder.locked(wait) if accelerator.is_main_process else nullcontext():
            if accelerator.is_main_process:
                _start_over_for_weights(folder, weights_at)
            accelerator.wait_for_everyone()
            missing = [step for step in weights_at if not folder.weights_path(step).exists()]
            state = TrainingState.read(folder.state_path) if folder.state_path.exists() else None
            reached = state is not None and until <= state.step < total and not missing
            trained = folder.result() is None and not reached
            if trained:
                recorder = _recorder(setup, folder, ids) if description["record"] else None
                if state is not None and recorder is not None:
                    recorder.load_state_dict(state.recorder)
                loop = _training_loop(setup, seed, ids, total)
                state = state or start
                if state is not None:
                    loop.load_state(state)
                if configure is not None:
                    configure(loop, folder)
                _run_loop(setup, folder, loop, recorder, until, missing, label or f"seed {seed}")
            accelerator.wait_for_everyone()
    finally:
        setup.free_memory()
    run = Run(
        folder, seed, size, total, setup.recipe.steps_per_epoch(size), folder.result(), trained, setup.tested
    )
    return run if run.tested is None or run.result is None else replace(run, result=_of_tested(run))


def _of_tested(run: Run) -> dict[str, Any]:
    """The result of a run, which is that of the whole test part, with accuracy and metrics of the tested rows."""
    assert run.result is not None
    found = {**run.result, "accuracy": float(run.test_predictions()["correct"].mean())}
    if "metrics" in found:
        # A run from before such metrics were taken has none that are known.
        found["metrics"] = found.get("metrics_without_leaks") or dict.fromkeys(found["metrics"])
    return found


def _size(setup: Setup, ids: np.ndarray | None) -> int:
    return len(setup.examples.train.ids if ids is None else ids)


def _start_over_for_weights(folder: RunFolder, weights_at: list[int]) -> None:
    """Start over where kept weights are missing that lie behind the point the run has reached."""
    missing = [step for step in weights_at if not folder.weights_path(step).exists()]
    if not missing:
        return
    finished = folder.result() is not None
    if finished or (folder.state_path.exists() and TrainingState.read(folder.state_path).step > missing[0]):
        folder.start_over()


def _recorder(setup: Setup, folder: RunFolder, ids: np.ndarray | None) -> Recorder:
    """A recorder over the run's trace; the process that writes opens the folder first and tidies it."""
    watched = setup.examples.train.ids if ids is None else np.sort(ids)
    if not setup.accelerator.is_main_process:
        setup.accelerator.wait_for_everyone()
    recorder = Recorder(ids=watched, folder=folder.trace_path, task=setup.plain_task)
    if setup.accelerator.is_main_process:
        setup.accelerator.wait_for_everyone()
    return recorder


def _training_loop(setup: Setup, seed: int, ids: np.ndarray | None, total_steps: int) -> TrainingLoop:
    loop = (TrainingLoop if setup.recipe.dynamic is None else DynamicLoop)(
        setup.recipe,
        setup.build(seed),
        setup.task,
        setup.train,
        ids=ids,
        seed=seed,
        total_steps=total_steps,
        accelerator=setup.accelerator,
        augmentation=setup.augmentation,
    )
    setup.prepared_bytes.append(sum(p.numel() * p.element_size() for p in loop.model.parameters()))
    return loop


def _run_loop(
    setup: Setup,
    folder: RunFolder,
    loop: TrainingLoop,
    recorder: Recorder | None,
    until: int,
    weights_at: list[int],
    label: str,
) -> None:
    """Train to a step, keep weights on the way and the state or the result at the end."""
    main = setup.accelerator.is_main_process
    checkpoints = SaveCheckpoints(folder.state_path, recorder, setup.checkpoint_every)
    with setup.display.step(label, until, done=loop.step) as advance:
        watching: list[Observer] = [RecordTrace(recorder)] if recorder is not None else []
        loop.observers = [*watching, checkpoints, ShowProgress(advance)]
        for stop in sorted({*weights_at, until}):
            loop.run(stop)
            if stop in weights_at and main:
                model = loop.model_state()
                facts = {
                    "step": loop.step,
                    "hash": weights_hash(model),
                    "seconds": loop.seconds,
                    "ledger": loop.ledger.as_dict(),
                }
                write_tensors(folder.weights_path(loop.step), model, facts)
    if loop.step == loop.total_steps:
        result = _test(setup, folder, loop)
        if main:
            folder.finish(result)
    elif main:
        checkpoints.write(loop)


def predict_test_part(
    setup: Setup, model: nn.Module
) -> tuple[torch.Tensor, torch.Tensor, dict[str, dict[str, float | None]]]:
    """Predict the test part in evaluation mode, every process its share.

    Returns:
        In id order `prediction` int64 (n,), as the task's measures have it (classes, intents), and `correct` bool
        (n,); and the task's metrics beside accuracy, None where one is not defined: `metrics` of the whole part and,
        where rows of it are in the train part too, `metrics_without_leaks` of the others. Neither is there where the
        task has no further metrics, as single-label classification.
    """
    part, task, accelerator = setup.examples.test, setup.plain_task, setup.accelerator
    seen: list[tuple[np.ndarray, dict[str, torch.Tensor], dict[str, torch.Tensor], Any]] = []

    def visit(batch: Batch, outputs: Any) -> None:
        found = task.measures(outputs, batch.targets), task.predictions(outputs, batch.targets), batch.targets
        seen.append((part.positions_of(batch.ids.cpu().numpy()), *send_to_device(found, "cpu")))

    evaluate(model, setup.test, setup.recipe, accelerator, visit)
    if accelerator.num_processes > 1:
        seen = gather_object(seen)
    prediction = torch.zeros(len(part), dtype=torch.int64)
    correct = torch.zeros(len(part), dtype=torch.bool)
    for places, measures, _, _ in seen:
        prediction[torch.from_numpy(places)] = measures["prediction"].long()
        correct[torch.from_numpy(places)] = measures["correct"]
    metrics = {"metrics": _metrics(task, [(found, targets) for _, _, found, targets in seen])}
    leaked = np.isin(part.ids, setup.examples.repeats.leaked)
    if metrics["metrics"] and 0 < leaked.sum() < len(part):
        unseen = [(torch.from_numpy(~leaked[places]), found, targets) for places, _, found, targets in seen]
        pairs = [
            (_rows_of(found, rows), _rows_of(targets, rows)) for rows, found, targets in unseen if rows.any()
        ]
        metrics["metrics_without_leaks"] = _metrics(task, pairs)
    return prediction, correct, metrics if metrics["metrics"] else {}


def _metrics(task: Task, pairs: list[tuple[Any, Any]]) -> dict[str, float | None]:
    metrics = task.metrics([found for found, _ in pairs], [targets for _, targets in pairs])
    return {k: v if math.isfinite(v) else None for k, v in metrics.items() if k != "accuracy"}


def _rows_of(values: Any, rows: torch.Tensor) -> Any:
    """Some rows of a tensor, or of all tensors of a dict."""
    return {k: _rows_of(v, rows) for k, v in values.items()} if isinstance(values, dict) else values[rows]


def _test(setup: Setup, folder: RunFolder, loop: TrainingLoop) -> dict[str, Any]:
    """Predict the test part and write what came of it; returns the run's result."""
    loop.ledger.start()
    part = setup.examples.test
    prediction, correct, further = predict_test_part(setup, loop.bare_model)
    test_seconds = loop.ledger.lap("evaluation")
    loop.ledger.evaluated += len(part)
    if setup.accelerator.is_main_process:
        tensors = {"ids": torch.from_numpy(part.ids), "prediction": prediction, "correct": correct}
        write_tensors(folder.test_path, tensors, {"step": loop.step})
    return {
        "accuracy": float(correct.double().mean()),
        **further,
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
    description = describe(setup, seed, ids, False) | {
        "child_of": parent.folder.path.name,
        "step": step,
        "weights": facts["hash"],
    }
    return train_described(
        setup,
        description,
        derive_seed(parent.seed, "child", step, seed),
        ids=ids,
        weights_at=[parent.total_steps],
        label=label or f"child {seed} of seed {parent.seed}",
        start=TrainingState(step, model=state),
    )


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
