"""The recorder: watches training in anyone's loop, one call a batch, and makes scores of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datadiet.foundation.errors import BadInputError
from datadiet.scores.outputs import MEASURES, REAL_MEASURES, measures_of, read_batch
from datadiet.scores.table import ScoreTable
from datadiet.tasks import Task, task_for
from datadiet.tracking.presentations import (
    EpochRows,
    ExampleIds,
    PresentationLog,
    collapse,
    detached,
    entries_under,
    ids_of_batch,
    merge,
    target_numbers,
)
from datadiet.tracking.trace import Trace, table_from_trace

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


#: Always recorded: forgetting needs the one, and a probability that is not finite shows that the logits are not.
_ALWAYS = ("probability", "correct")
_UNKNOWN = np.int64(-1)


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
        folder: where the trace goes, one file an epoch; in memory when None.
        columns: which measures to keep, of those of `measure`; all by default. `probability` and `correct`
            are always kept.
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
        unknown = [name for name in chosen if name not in MEASURES]
        if unknown:
            raise BadInputError(
                f"there is no measure {unknown[0]!r} to record; there are {', '.join(MEASURES)}."
            )
        self.columns: tuple[str, ...] = MEASURES
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
                measures = measures_of(reading, dict.fromkeys((*self.columns, "prediction", "correct")))
                labels = reading.targets
            else:
                measures, labels = self.task.measures(detached(logits), targets), target_numbers(targets)
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
            self._log.add(numbers, measures, labels)

    def _keep_columns(self, there: Collection[str]) -> None:
        """Keep those columns that are there; before the first row."""
        self.columns = tuple(name for name in self.columns if name in there)
        self._log = PresentationLog(tuple(name for name in self.columns if name in REAL_MEASURES))
        self._measures_known = True

    def reduce(self, all_reduce: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Merge what every rank saw of this epoch; call it on each rank before `end_epoch`.

        Args:
            all_reduce: returns the sum of a tensor over all ranks.

        Raises:
            BadInputError: as `end_epoch`; `all_reduce` returns no sum; ranks saw different labels of one id.
        """
        self._merged = merge(self._collapsed(), all_reduce, self._log.device)
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
        if write:
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
            BadInputError: the state is of other ids or columns, or the folder lacks epochs before it.
        """
        mine = [self._ids.count, self._ids.first, self._ids.last]
        if state["ids"].tolist() != mine:
            raise BadInputError(
                f"the recorder's state is of other ids: {state['ids'].tolist()} (n, first, last), not {mine}."
            )
        if self.task is not None and "measures" in state:
            self._keep_columns([name for name, kept in zip(MEASURES, state["measures"], strict=True) if kept])
        if state["presented.values"].shape[1] != self._log.rows()[1].shape[1]:
            raise BadInputError(
                "the recorder's state has other columns; make the Recorder with the same columns."
            )
        epoch = int(state["epoch"])
        if self.trace.folder is None:
            self.trace = Trace(self.ids)
            for number in range(1, epoch + 1):
                if columns := entries_under(state, f"trace.{number}."):
                    self.trace.append(number, columns)
        else:
            lacking = set(range(1, epoch + 1)) - set(self.trace.epochs)
            if lacking:
                raise BadInputError(
                    f"the trace in {self.trace.folder} lacks epoch {min(lacking)} of the state."
                )
            self.trace.truncate(epoch)
        self.epoch = epoch
        self.labels = state["labels"].cpu().numpy().copy()
        self._was_correct = state["was_correct"].cpu().numpy().copy()
        self._log = PresentationLog(self._log.measures)
        self._log.extend(state["presented.ids"].cpu().clone(), state["presented.values"].cpu().clone())
        merged = {key: part.cpu().numpy().copy() for key, part in entries_under(state, "merged.").items()}
        whole = {key.removesuffix("."): part for key, part in merged.items() if key.endswith(".")}
        self._merged = EpochRows(real=entries_under(merged, "real."), **whole) if merged else None

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
