"""The recorder: watches training in anyone's loop, one call a batch, and makes scores of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datadiet.foundation.errors import BadInputError
from datadiet.scores.changes import CHANGE
from datadiet.scores.outputs import MEASURES, measures_of, read_batch
from datadiet.scores.table import ScoreTable
from datadiet.tasks import Task, task_for
from datadiet.tracking.further import LastProbabilities, can_be_recorded, score_of_batch
from datadiet.tracking.presentations import (
    EpochRows,
    ExampleIds,
    PresentationLog,
    collapse,
    detached,
    ids_of_batch,
    merge,
    readable,
    target_numbers,
)
from datadiet.tracking.states import StateParts
from datadiet.tracking.trace import Trace, table_from_trace

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


#: Always recorded: forgetting needs the one, and a probability that is not finite shows that the logits are not.
_ALWAYS = ("probability", "correct")
_UNKNOWN = np.int64(-1)
#: Kinds of numbers, as numpy calls them, of columns that are no real measures.
_KINDS = {"prediction": "i", "correct": "b", "learnt": "b", "forgotten": "i", "seen": "b"}


class Recorder:
    """Records what each example does while a model trains on it, by id.

    Nothing else of datadiet is needed. Epochs are counted from 1: epoch e is the e-th pass. What is recorded
    is the training pass itself (training mode, augmented inputs, weights that move during the epoch).

    - An example presented several times in an epoch counts each time for forgetting, in order, also within a
      batch; its measures are means over the presentations of the epoch.
    - An example not presented in an epoch (a subset, a dropped last batch) has no entry there.
    - An id that comes back with another label is refused: such ids are places in the loader, not in the data.
    - On an accelerator nothing is read back before `end_epoch`, so unknown ids and logits that are not finite
      are reported there; on the CPU at once.

    Args:
        num_examples: n; the ids are 0 to n - 1.
        ids: explicit strictly increasing ids, instead of `num_examples`.
        folder: where the trace goes, one file an epoch; in memory when None. Epochs of an earlier training that are
            there are gone on from after `load_state_dict`; a training that begins anew moves them to a folder
            `earlier-1` inside at the end of its first epoch, so that the two never mix and none is lost.
        columns: which measures to keep, of those of `measure`; all by default. `probability` and `correct`
            are always kept. What is recorded only where it is named here: registered scores of outputs, your own
            too, and `tdds_change`, how far a prediction lies from the example's last over all classes (for `tdds`);
            that holds n x classes float32 numbers in memory, and in the state.
        task: what is trained, a `Task` or its name; single-label classification when None. Of another task,
            what it measures is recorded; scores that need more, such as `aum` of a regression, there are none.

    Raises:
        BadInputError: neither or both of `num_examples` and `ids`, ids not increasing, an unknown column.

    Example:
        >>> recorder = Recorder(num_examples=2)
        >>> for epoch in range(3):
        ...     logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
        ...     recorder.update(torch.tensor([1, 0]), logits, torch.tensor([1, 0]))
        ...     recorder.end_epoch()
        >>> recorder.table(["forgetting"]).column("forgetting").tolist()
        [0.0, 3.0]
    """

    def __init__(
        self,
        num_examples: int | None = None,
        *,
        ids: Any = None,
        folder: str | Path | None = None,
        columns: Sequence[str] | None = None,
        task: str | Task | None = None,
    ) -> None:
        task = task_for(task) if isinstance(task, str) else task
        self.task = None if task is None or task.single_label else task
        self._ids = ExampleIds("recorder", num_examples, ids)
        self.ids: NDArray[np.int64] = self._ids.all()
        chosen = MEASURES if columns is None else tuple(columns)
        further = sorted({name for name in chosen if name not in MEASURES})
        for name in further:
            if not can_be_recorded(name):
                raise BadInputError(
                    f"there is no measure {name!r} to record; there are {', '.join((*MEASURES, CHANGE))}, and the "
                    "scores of outputs."
                )
            if self.task is not None:
                raise BadInputError(
                    f"{name} is recorded of single-label classification, not of the task {self.task.name!r}."
                )
        self.columns: tuple[str, ...] = (*MEASURES, *further)
        self._last = LastProbabilities(len(self.ids)) if CHANGE in further else None
        self._keep_columns((*chosen, *_ALWAYS))
        self._measures_known = self.task is None  # else the first batch tells which of them the task has
        self.trace = Trace(self.ids, folder)
        self.epoch = 0
        self.labels: NDArray[np.int64] = np.full(len(self.ids), _UNKNOWN)
        self._was_correct = np.zeros(len(self.ids), bool)
        self._merged: EpochRows | None = None

    def update(self, ids: Any, logits: Any, targets: Any) -> None:
        """Record one batch of the training pass: call it with what the loss was computed from.

        Args:
            ids: (batch,) integers.
            logits: (batch, classes), tensor on any device or numpy; detached here. Of another task than
                classification, the outputs that it takes.
            targets: (batch,) integer labels; of another task, the targets that it takes.

        Raises:
            BadInputError: shapes that do not fit; on the CPU also unknown ids and logits that are not finite.
        """
        if self._merged is not None:
            raise BadInputError(
                "this epoch was already merged over ranks; call end_epoch before the next update."
            )
        numbers = ids_of_batch(ids)
        with torch.no_grad():
            if self.task is None:
                reading = read_batch(logits, targets)
                labels = reading.targets
                asked = dict.fromkeys((*self.columns, "prediction", "correct"))
                measures = measures_of(reading, [name for name in asked if name in MEASURES])
                for name in self._scores:
                    measures[name] = score_of_batch(name, reading.logits, labels)
                if self._last is not None:
                    self._last.check(reading.logits)
            else:
                labels = target_numbers(targets)
                with readable(self.task, logits, targets):
                    measures = self.task.measures(detached(logits), targets)
            if len(numbers) != len(labels):
                raise BadInputError(
                    f"there are {len(labels)} rows of logits, but ids of shape "
                    f"{tuple(numbers.shape)}; give one id a row."
                )
            if len(numbers) == 0:
                return
            if numbers.is_cpu:
                self._ids.places_of(numbers.numpy())
            if not self._measures_known:
                self._keep_columns(measures)
            if measures["probability"].is_cpu:
                self._check_finite(numbers, measures["probability"])
            if self._last is not None:
                places = self._ids.places_on_device(numbers, reading.logits.device)
                measures[CHANGE] = self._last.change(places, reading.logits)
            self._log.add(numbers, measures, labels)

    def _keep_columns(self, there: Collection[str]) -> None:
        """Keep those columns that are there; before the first row."""
        self.columns = tuple(name for name in self.columns if name in there)
        self._log = PresentationLog(_real(self.columns))
        self._scores = [name for name in self.columns if name not in (*MEASURES, CHANGE)]
        self._measures_known = True

    def reduce(self, all_reduce: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Merge what every rank saw of this epoch; call it on each rank before `end_epoch`.

        Args:
            all_reduce: returns the sum of a tensor over all ranks.

        Raises:
            BadInputError: as `end_epoch`; `all_reduce` returns no sum; ranks saw different labels of one id.
        """
        rows = self._collapsed()
        merged = merge(rows, all_reduce, self._log.device)
        if self._last is not None:
            self._last.merge(rows.seen, all_reduce, self._log.device)
        self._merged = merged
        self._log.clear()

    def end_epoch(self, write: bool = True) -> None:
        """Close the epoch: one row an example goes to the trace.

        Args:
            write: False on ranks that follow but leave the trace to another.

        Raises:
            BadInputError: nothing recorded, an unknown id, logits that are not finite, a changed label.
        """
        rows = self._collapsed() if self._merged is None else self._merged
        seen = rows.seen
        if not seen.any():
            raise BadInputError(
                f"no example was recorded in epoch {self.epoch + 1}; call update in the loop."
            )
        changed = seen & (self.labels != _UNKNOWN) & (self.labels != rows.target)
        if changed.any():
            place = int(np.argmax(changed))
            what = f"had label {self.labels[place]} and now has {rows.target[place]}"
            raise BadInputError(
                f"id {self.ids[place]} {what if self.task is None else 'has other targets than before'} "
                f"({int(changed.sum())} such ids); ids must be fixed positions in the data, not places in the loader."
            )
        for name in self._scores:
            bad = seen & ~np.isfinite(rows.real[name])
            if bad.any():
                raise BadInputError(
                    f"the score {name!r} is not finite for {int(bad.sum())} examples in epoch {self.epoch + 1} "
                    f"(first id {self.ids[np.argmax(bad)]}); let it return finite numbers."
                )
        if write:
            if self.epoch == 0:
                self.trace.set_aside()
            lost = self._was_correct & seen & ~rows.first_correct
            found: dict[str, NDArray[Any]] = {
                **{name: np.where(seen, values, np.float32(np.nan)) for name, values in rows.real.items()},
                "prediction": np.where(seen, rows.prediction, -1),
                "correct": rows.correct,
                "learnt": rows.learnt,
                "forgotten": rows.forgotten + lost,
            }
            names = (*self.columns, "learnt", "forgotten")
            self.trace.append(self.epoch + 1, {"seen": seen, **{name: found[name] for name in names}})
        self.labels[seen] = rows.target[seen]
        self._was_correct[seen] = rows.correct[seen]
        self._merged = None
        self._log.clear()
        self.epoch += 1

    def table(
        self,
        scores: Sequence[str] | None = None,
        at_epoch: int | Sequence[int] | None = None,
        *,
        labels: ArrayLike | None = None,
        class_names: Sequence[str] = (),
        provenance: Mapping[str, Any] | None = None,
        unseen: str = "refuse",
    ) -> ScoreTable:
        """Scores of what was recorded, for one seed; see `table_from_trace`, which takes the same arguments.

        `labels`, (n,) integers, may be left out: they are those recorded, or one class where the task has none.

        Raises:
            BadInputError: as `table_from_trace`.
        """
        if labels is None:
            labels = self.labels if self.task is None else np.zeros(len(self.ids), np.int64)
        return table_from_trace(
            self.trace,
            labels,
            scores,
            at_epoch,
            class_names=class_names,
            provenance=provenance,
            unseen=unseen,
        )

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything that goes on from here, also in the middle of an epoch: a flat mapping of tensors.

        A trace in a folder stays there and is not repeated; one in memory is included.
        """
        ids, values = self._log.rows()
        state = {
            "epoch": torch.tensor(self.epoch),
            "ids": torch.tensor([self._ids.count, self._ids.first, self._ids.last]),
            "labels": torch.from_numpy(self.labels.copy()),
            "was_correct": torch.from_numpy(self._was_correct.copy()),
            "presented.ids": ids,
            "presented.values": values,
        }
        if self.task is not None and self._measures_known:
            state["measures"] = torch.tensor([name in self.columns for name in MEASURES])
        if self._last is not None and self._last.values is not None:
            state["last_probabilities"] = self._last.values.detach().cpu().clone()
        if self._merged is not None:
            for part, content in vars(self._merged).items():
                named = content if isinstance(content, dict) else {"": content}
                for name, values_of_all in named.items():
                    state[f"merged.{part}.{name}"] = torch.from_numpy(values_of_all.copy())
        if self.trace.folder is None:
            for epoch in self.trace.epochs:
                for name in (*self.columns, "learnt", "forgotten", "seen"):
                    state[f"trace.{epoch}.{name}"] = torch.from_numpy(self.trace.of_epoch(epoch, name).copy())
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from a state, to the same bits. Epochs that the folder has beyond it are forgotten.

        Raises:
            BadInputError: the state is of other ids or columns, lacks parts or has odd ones, or the folder lacks
                epochs before it; nothing has changed then.
        """
        parts = StateParts(state, "recorder")
        mine = [self._ids.count, self._ids.first, self._ids.last]
        theirs = parts.array("ids", "i", 3).tolist()
        if theirs != mine:
            raise BadInputError(
                f"the recorder's state is of other ids: {theirs} (n, first, last), not {mine}."
            )
        columns = self.columns
        if self.task is not None and "measures" in parts:
            kept = parts.array("measures", "b", len(MEASURES))
            columns = tuple(name for name, there in zip(MEASURES, kept, strict=True) if there)
            if not set(_ALWAYS) <= set(columns) <= set(self.columns):
                raise parts.wrong("measures", "names other columns than this recorder has")
        log = PresentationLog(_real(columns))
        log.extend(*self._presented(parts, log))
        epoch, count = parts.number("epoch"), len(self.ids)
        labels, was_correct = parts.array("labels", "i", count), parts.array("was_correct", "b", count)
        merged = _merged(parts, log.measures, count)
        trace = self._trace_of(parts, columns, epoch)
        last = None
        if self._last is not None and (epoch or len(log.rows()[0])):
            last = torch.from_numpy(parts.array("last_probabilities", "f", count, None))
        # All of it fits: from here on nothing is refused.
        if self.task is not None and "measures" in parts:
            self._keep_columns(columns)
        if self.trace.folder is not None:
            self.trace.truncate(epoch) if epoch or len(log.rows()[0]) else self.trace.set_aside()
        self.trace, self._log, self._merged = trace, log, merged
        self.epoch, self.labels, self._was_correct = epoch, labels, was_correct
        if self._last is not None:
            self._last = LastProbabilities(count)
            if last is not None:
                self._last.load(last)

    def _presented(self, parts: StateParts, log: PresentationLog) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and measures of what the epoch under way has presented."""
        name = "presented.values"
        width = log.rows()[1].shape[1]
        values = parts.array(name, "f", None, None)
        if values.shape[1] != width or values.dtype != np.float32:
            raise BadInputError(
                "the recorder's state has other columns; make the Recorder with the same columns."
            )
        ids = parts.array("presented.ids", "i", len(values))
        self._ids.places_of(ids.astype(np.int64))
        whole = values[:, len(log.measures) :]
        finite = np.isfinite(whole).all() and np.isfinite(values[:, log.measures.index("probability")]).all()
        if not finite or (np.floor(whole) != whole).any():
            raise parts.wrong(name, "holds predictions or labels that are no whole numbers")
        return torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(values)

    def _trace_of(self, parts: StateParts, columns: tuple[str, ...], epoch: int) -> Trace:
        """The trace of a state: in memory as the state has it, in a folder that of the folder."""
        if self.trace.folder is not None:
            there = set(self.trace.epochs)
            lacking = next((number for number in range(1, epoch + 1) if number not in there), None)
            if lacking is not None:
                raise BadInputError(f"the trace in {self.trace.folder} lacks epoch {lacking} of the state.")
            return self.trace
        trace = Trace(self.ids)
        numbers = {name.split(".")[1] for name in parts.state if name.startswith("trace.")}
        odd = next((number for number in numbers if not number.isascii() or not number.isdigit()), None)
        if odd is not None or any(not 1 <= int(number) <= epoch for number in numbers):
            raise parts.wrong("epoch", f"is {epoch}, and its trace has others than epochs 1 to {epoch}")
        if numbers and len(numbers) != epoch:
            raise parts.wrong("epoch", f"is {epoch}, and its trace has {len(numbers)} epochs")
        for number in sorted(map(int, numbers)):
            kinds = {name: _KINDS.get(name, "f") for name in (*columns, "learnt", "forgotten", "seen")}
            found = {
                name: parts.array(f"trace.{number}.{name}", kind, len(self.ids))
                for name, kind in kinds.items()
            }
            trace.append(number, found)
        return trace

    def _check_finite(self, ids: torch.Tensor, probability: torch.Tensor) -> None:
        not_finite = ~torch.isfinite(probability)
        if not_finite.any():
            first = int(ids[int(not_finite.nonzero()[0])])
            raise BadInputError(
                f"logits of {int(not_finite.sum())} of {len(not_finite)} presentations in epoch {self.epoch + 1} are "
                f"not finite (first id {first}); training has diverged or an input is broken."
            )

    def _collapsed(self) -> EpochRows:
        ids, values = self._log.rows()
        places = self._ids.places_of(ids.numpy())
        self._check_finite(ids, values[:, self._log.measures.index("probability")])
        return collapse(self._log.measures, values.numpy(), places, len(self.ids))


def _real(columns: Sequence[str]) -> tuple[str, ...]:
    """Those columns that hold real numbers."""
    return tuple(name for name in columns if name not in _KINDS)


def _merged(parts: StateParts, measures: Sequence[str], count: int) -> EpochRows | None:
    """What the ranks saw together, where a state was saved between `reduce` and `end_epoch`."""
    if not any(name.startswith("merged.") for name in parts.state):
        return None
    kinds = {"presentations": "i", "target": "i", "first_correct": "b", **_KINDS}
    del kinds["seen"]
    return EpochRows(
        real={name: parts.array(f"merged.real.{name}", "f", count) for name in measures},
        **{name: parts.array(f"merged.{name}.", kind, count) for name, kind in kinds.items()},
    )
