"""What watches a loop in every run: the recorder, the checkpoints, the progress bar."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from datadiet.data import Batch
from datadiet.engine.training.loop import Observer, TrainingLoop
from datadiet.foundation.progress import Advance
from datadiet.tracking import Recorder


class Recording(Observer):
    """Feeds a `Recorder`, and merges at the end of each epoch what the processes saw."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def on_batch(self, loop: TrainingLoop, batch: Batch, outputs: Any, losses: torch.Tensor) -> None:
        """Record the batch as the training pass saw it."""
        self.recorder.update(batch.ids, outputs, batch.targets)

    def on_epoch(self, loop: TrainingLoop) -> None:
        """Close the epoch."""
        if loop.accelerator.num_processes > 1:
            accelerator = loop.accelerator
            self.recorder.reduce(lambda column: accelerator.reduce(column.to(accelerator.device), "sum"))
        self.recorder.end_epoch(write=loop.accelerator.is_main_process)


class Checkpointing(Observer):
    """Writes the state every so many seconds; with several processes, at ends of epochs, where they agree.

    Args:
        path: where the latest state is kept.
        recorder: whose state goes along; None when nothing is recorded.
        every: seconds between two checkpoints.
    """

    def __init__(self, path: Path, recorder: Recorder | None, every: float) -> None:
        self.path, self.recorder, self.every = path, recorder, every
        self._last = time.monotonic()

    def on_step(self, loop: TrainingLoop) -> None:
        """Write, if it is time and this is the process that writes."""
        if not loop.accelerator.is_main_process or time.monotonic() - self._last < self.every:
            return
        if loop.accelerator.num_processes > 1 and loop.step % loop.steps_per_epoch:
            return
        self.write(loop)

    def write(self, loop: TrainingLoop) -> None:
        """Write the state now."""
        state = loop.training_state()
        if self.recorder is not None:
            state.recorder = self.recorder.state_dict()
        state.write(self.path)
        self._last = time.monotonic()


class Showing(Observer):
    """Moves a progress bar a step at a time; a step of a dynamic loop may be worth several."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self._shown: int | None = None

    def on_begin(self, loop: TrainingLoop) -> None:
        """From where the loop stands."""
        self._shown = loop.step

    def on_step(self, loop: TrainingLoop) -> None:
        """One step further."""
        self.advance(loop.step - (loop.step - 1 if self._shown is None else self._shown))
        self._shown = loop.step
