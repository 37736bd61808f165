"""One run: from its description, through training and interruption, to its finished folder; its children."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object, send_to_device
from torch import nn

from datadiet.data import Batch
from datadiet.engine.setup import Setup
from datadiet.engine.training.checkpoint import TrainingState, read_tensors, tensor_bytes, weights_hash
from datadiet.engine.training.dynamic import DynamicLoop
from datadiet.engine.training.evaluation import evaluate
from datadiet.engine.training.loop import (
    NoteEpochs,
    Observer,
    RecordTrace,
    SaveCheckpoints,
    ShowProgress,
    TrainingLoop,
)
from datadiet.engine.workspace import RunFolder, ids_digest
from datadiet.foundation.atomic import remove
from datadiet.foundation.errors import BadInputError, RunFailedError
from datadiet.models.factories import code_of_function
from datadiet.scores.changes import CHANGE
from datadiet.scores.outputs import MEASURES
from datadiet.scores.registry import card
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
        path = self.folder.weights_path(step)
        state, facts = self._read(path)
        if facts["step"] != step or weights_hash(state) != facts["hash"]:
            raise _not_as_written(path)
        facts.setdefault("ledger", {"seconds": {"training": facts["seconds"]}})  # of runs older than ledgers
        return state, facts

    def trace(self) -> Trace:
        """What the training pass saw, epoch by epoch."""
        names = self.folder.names("trace")
        for name in names:
            if not self.folder.holds(self.folder.trace_path / name):
                raise _not_as_written(self.folder.trace_path / name)
        return Trace.open(self.folder.trace_path, only=names)

    def test_predictions(self) -> dict[str, np.ndarray]:
        """`ids`, `prediction` and `correct` on the tested rows of the test part, in id order."""
        tensors, _ = self._read(self.folder.test_path)
        rows = slice(None) if self.tested is None else self.tested
        return {name: tensor.numpy()[rows] for name, tensor in tensors.items()}

    def _read(self, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        if not self.folder.holds(path):
            raise _not_as_written(path)
        return read_tensors(path)


def _not_as_written(path: Path) -> RunFailedError:
    return RunFailedError(
        f"'{path}' is not as it was written there, or is missing; train it again, with the command that made it "
        "(the same data, recipe and workspace)."
    )


@dataclass(frozen=True)
class FileAtStep:
    """A file that a training leaves of its model at a step.

    Args:
        step: of the training.
        path: of the file, in the run's folder.
        make: of the loop at that step, what goes into the file.
    """

    step: int
    path: Path
    make: Callable[[TrainingLoop], tuple[dict[str, torch.Tensor], dict[str, Any]]]


def _weights_of(loop: TrainingLoop) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    model = loop.model_state()
    return model, {
        "step": loop.step,
        "hash": weights_hash(model),
        "seconds": loop.seconds,
        "ledger": loop.ledger.as_dict(),
    }


def describe(setup: Setup, seed: int, ids: np.ndarray | None, record: bool | Sequence[str]) -> dict[str, Any]:
    """What a run is, as plain data: its address is the hash of this.

    Args:
        setup: data, recipe, machine.
        seed: of the run.
        ids: to train on; None for all.
        record: whether there is a trace; or the names of columns that it has beyond what is always recorded.
    """
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
        "record": record if isinstance(record, bool) else _described_columns(record),
        "device": setup.accelerator.device.type,
        "processes": setup.accelerator.num_processes,
    }


def described_score(name: str) -> Any:
    """A score in an address: its name, and the code of one that is not the package's own."""
    function = card(name).function
    if function is None or function.__module__.startswith("datadiet."):
        return name
    return [name, code_of_function(function)]


def _described_columns(names: Sequence[str]) -> list[Any] | bool:
    """Further columns of a trace in an address; True where there are none."""
    return [name if name == CHANGE else described_score(name) for name in sorted(set(names))] or True


def recorded_columns(description: dict[str, Any]) -> bool | list[str]:
    """The `record` that `describe` was given."""
    record = description.get("record", False)
    return record if isinstance(record, bool) else [one if isinstance(one, str) else one[0] for one in record]


def train_run(
    setup: Setup,
    seed: int,
    *,
    ids: np.ndarray | None = None,
    record: bool | Sequence[str] = False,
    until: int | None = None,
    weights_at: Iterable[int] = (),
    label: str = "",
    also: Sequence[FileAtStep] = (),
) -> Run:
    """Train a run as far as asked, going on from where it stands; a finished one is only read.

    Args:
        setup: data, recipe, machine.
        seed: seed of initialisation, order, augmentation and dropout.
        ids: the example ids to train on; None for all.
        record: keep a trace of the training pass; or the names of columns that it has beyond what is always recorded,
            `further_columns` of scores. Such a run is another than the one without.
        until: the step to train to; None for the end.
        weights_at: steps whose weights are kept.
        label: what the progress bar calls it.
        also: what is kept beside weights.

    Raises:
        RunFailedError: the loss became NaN; what was finished is kept.
    """
    description = describe(setup, seed, ids, record)
    if not isinstance(description["record"], bool):
        _say_recorded_anew(setup, description)
    weights_at, total = list(weights_at), int(description["total_steps"])
    per_epoch = setup.recipe.steps_per_epoch(_size(setup, ids))
    stops = [min(step, total) for step in (*weights_at, total if until is None else until)]
    if setup.recipe.dynamic is not None and any(step % per_epoch and step != total for step in stops):
        raise BadInputError(
            "A dynamic run can be stopped, and its weights kept, at ends of epochs only: how many steps an epoch "
            "has is not known beforehand."
        )
    return train_described(
        setup, description, seed, ids=ids, until=until, weights_at=weights_at, label=label, also=also
    )


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
    also: Sequence[FileAtStep] = (),
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
        also: what is kept beside weights.

    What lies before the point that the run has reached, and is not there or not as it was written, is made again by a
    second training to the same bits, with a state of its own; whatever is there stays.
    """
    size, total = _size(setup, ids), int(description["total_steps"])
    until = total if until is None else min(until, total)
    folder, accelerator = setup.workspace.folder(description), setup.accelerator
    kept = [*_kept_weights(folder, weights_at, total), *also]
    label, trained = label or f"seed {seed}", False

    def wait() -> None:
        setup.display.mention(f"Another process is training {label}; waiting for it.")

    def train(goal: int, lacking: list[FileAtStep], *, catching_up: bool, whole: bool) -> None:
        at = folder.catch_up_path if catching_up else folder.path
        state = _state(folder, at / "state.safetensors")
        if state is not None and lacking and state.step > min(kept.step for kept in lacking):
            state = None
        recorder = None
        if description["record"] and (whole or not catching_up):
            recorder, state = _recorder(setup, at / "trace", ids, state, recorded_columns(description))
        loop = _training_loop(setup, seed, ids, total)
        state = state or start
        if state is not None:
            loop.load_state(state)
        if configure is not None:
            configure(loop, folder)
        _run_loop(setup, folder, loop, recorder, goal, lacking, label, at)

    try:
        with (
            folder.locked(wait, partial(setup.display.say, passing=True))
            if accelerator.is_main_process
            else nullcontext()
        ):
            accelerator.wait_for_everyone()
            found = _found(folder, kept, until, total, bool(description["record"]))
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                _say_damage(setup, folder, found)
            if found.behind or found.broken:
                goal = total if found.broken else max(kept.step for kept in found.behind)
                train(goal, found.behind, catching_up=True, whole=found.broken)
                trained = True
            accelerator.wait_for_everyone()
            if found.onward:
                train(until, found.ahead, catching_up=False, whole=True)
                trained = True
            accelerator.wait_for_everyone()
    finally:
        setup.free_memory()
    run = Run(
        folder, seed, size, total, setup.recipe.steps_per_epoch(size), folder.result(), trained, setup.tested
    )
    return run if run.tested is None or run.result is None else replace(run, result=_of_tested(run))


def _say_recorded_anew(setup: Setup, description: dict[str, Any]) -> None:
    """Say why a run that is there already, without some columns of its trace, is trained once more."""
    there, without = (setup.workspace.folder(one) for one in (description, description | {"record": True}))
    columns = recorded_columns(description)
    if isinstance(columns, list) and without.is_mine() and not there.is_mine():
        setup.display.say(
            f"The scoring runs that are there did not record {' and '.join(columns)}; they are trained once more, with "
            f"{'it' if len(columns) == 1 else 'them'}.",
            passing=True,
        )


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


def _kept_weights(folder: RunFolder, steps: Iterable[int], total: int) -> list[FileAtStep]:
    return [
        FileAtStep(step, folder.weights_path(step), _weights_of)
        for step in sorted({min(step, total) for step in steps})
    ]


@dataclass(frozen=True)
class _Found:
    """What a run's folder lacks of what is asked for.

    Args:
        behind: files of steps that the run has passed.
        ahead: files of steps that it has not.
        broken: whether trace, predictions or result of a finished run are damaged.
        onward: whether the run goes on.
        damaged: the files that are not as they were written.
    """

    behind: list[FileAtStep]
    ahead: list[FileAtStep]
    broken: bool
    onward: bool
    damaged: list[Path]


def _found(folder: RunFolder, kept: Sequence[FileAtStep], until: int, total: int, record: bool) -> _Found:
    lacking = [one for one in kept if not folder.holds(one.path)]
    trace = [folder.trace_path / name for name in folder.names("trace")] if record else []
    ended = folder.listed(folder.result_path)
    ends = [folder.result_path, folder.test_path] if ended else []
    damaged = [path for path in (*(one.path for one in lacking), *trace, *ends) if folder.lacks(path)]
    broken = any(not folder.holds(path) for path in (*trace, *ends)) or (ended and record and not trace)
    if ended:
        return _Found(lacking, [], broken, False, damaged)
    state = None if broken else _state(folder, folder.state_path)
    if folder.lacks(folder.state_path):
        damaged.append(folder.state_path)
    reached = -1 if state is None else state.step
    behind = [one for one in lacking if one.step < reached]
    ahead = [one for one in lacking if one.step >= reached]
    return _Found(behind, ahead, False, bool(ahead) or until > reached or reached == total, damaged)


def _say_damage(setup: Setup, folder: RunFolder, found: _Found) -> None:
    """Say what is made again; what would mislead an unfinished run is moved aside."""
    if not found.damaged:
        return
    more = f" and {len(found.damaged) - 1} more files" if len(found.damaged) > 1 else ""
    setup.display.say(
        f"'{found.damaged[0]}'{more} of this run is missing or not as it was written; it is made again.",
        passing=True,
    )
    if not found.broken and any(folder.trace_path in path.parents for path in found.damaged):
        folder.set_aside("trace", folder.state_path.name)


def _state(folder: RunFolder, path: Path) -> TrainingState | None:
    """The state in a file of the run; None where there is none as it was written."""
    if not folder.holds(path):
        return None
    try:
        return TrainingState.read(path)
    except (RunFailedError, KeyError, ValueError):
        return None


def _recorder(
    setup: Setup,
    path: Path,
    ids: np.ndarray | None,
    state: TrainingState | None,
    record: bool | list[str],
) -> tuple[Recorder, TrainingState | None]:
    """A recorder over a trace, and the state that it goes on from; the process that writes opens the folder first."""
    watched = setup.examples.train.ids if ids is None else np.sort(ids)
    columns = None if isinstance(record, bool) else [*MEASURES, *record]
    make = partial(Recorder, ids=watched, folder=path, columns=columns, task=setup.plain_task)
    main = setup.accelerator.is_main_process
    if not main:
        setup.accelerator.wait_for_everyone()
    recorder = _going_on(make, state)
    if recorder is None:
        if main:
            remove(path)  # what was recorded before the first state, or is damaged, is recorded again
        recorder, state = make(), None
    if main:
        setup.accelerator.wait_for_everyone()
    return recorder, state


def _going_on(make: Callable[[], Recorder], state: TrainingState | None) -> Recorder | None:
    """A recorder in the state that was kept; None where there is none, or the trace in the folder does not fit it."""
    if state is None:
        return None
    with suppress(BadInputError):
        recorder = make()
        recorder.load_state_dict(state.recorder)
        return recorder
    return None


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
    kept: list[FileAtStep],
    label: str,
    at: Path,
) -> None:
    """Train to a step, keep files on the way and the state or the result at the end.

    Args:
        at: the run's folder, or that of its catching up, for state and trace.
    """
    main, catching_up = setup.accelerator.is_main_process, at != folder.path
    state_path, at_name = at / "state.safetensors", f"{at.name}/" if catching_up else ""
    checkpoints = SaveCheckpoints(
        lambda data: folder.write(state_path, data), recorder, setup.checkpoint_every
    )
    with setup.display.step(label, until, done=loop.step) as advance:
        watching: list[Observer] = []
        if recorder is not None:
            watching = [RecordTrace(recorder), NoteEpochs(recorder, folder.note)]
            if main:
                gone = [
                    name for name in folder.names(f"{at_name}trace") if not (at / "trace" / name).exists()
                ]
                folder.forget(*(f"{at_name}trace/{name}" for name in gone))  # later epochs than the state's
                folder.note(at / "trace" / "ids.safetensors")
        loop.observers = [*watching, checkpoints, ShowProgress(advance)]
        for stop in sorted({*(one.step for one in kept), until}):
            loop.run(stop)
            for one in kept:
                if one.step == stop:
                    made = one.make(loop)
                    if main:
                        folder.write(one.path, tensor_bytes(*made))
    if loop.step == loop.total_steps and (recorder is not None or not catching_up or folder.result() is None):
        result = _test(setup, folder, loop)
        if main:
            if catching_up and recorder is not None:
                for file in sorted((at / "trace").glob("*.safetensors")):
                    folder.write(folder.trace_path / file.name, file.read_bytes())
            folder.finish(folder.result() or result)
    elif loop.step == loop.total_steps and not folder.holds(folder.test_path):
        _test(setup, folder, loop)
    elif main and not catching_up:
        checkpoints.write(loop)
    if main and catching_up:
        folder.discard(at)


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
        folder.write(folder.test_path, tensor_bytes(tensors, {"step": loop.step}))
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
