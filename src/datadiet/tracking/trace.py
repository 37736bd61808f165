"""The trace: what a training run saw of each example, epoch by epoch, on disk or in memory, and scores from it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from datadiet.foundation.atomic import atomic_file, move, remove
from datadiet.foundation.errors import BadInputError
from datadiet.scores.registry import card, cards
from datadiet.scores.table import ScoreTable
from datadiet.scores.training_dynamics import count_forgetting
from datadiet.tracking.presentations import as_ids

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


_IDS_FILE = "ids.safetensors"
_EPOCH_FILE = re.compile(r"train-(\d{5,})\.safetensors")
_ALL = slice(None)

#: Numbers of one (epochs, rows) block that scores are computed from; bounds the memory at 64 MiB a column.
_BLOCK_NUMBERS = 1 << 24


class Trace:
    """Columns of training passes by example id: float32 measures, int32 predictions, bool flags.

    In a folder it is `ids.safetensors` and one `train-00003.safetensors` an epoch, each written whole or not
    at all; reading maps the files and touches only the rows that were asked for. Without a folder it stays in
    memory. The bool column `seen` says which examples an epoch presented; without it, all were.

    Args:
        ids: (n,) integers, strictly increasing.
        folder: where to write; made when missing. One that holds a trace of the same ids is continued.

    Raises:
        BadInputError: ids not increasing, or the folder holds the trace of other ids.

    Example:
        >>> trace = Trace([3, 5, 9])
        >>> trace.append(1, {"correct": np.array([True, False, True])})
        >>> trace.append(2, {"correct": np.array([True, True, False])})
        >>> trace.column("correct", slice(1, 3)).tolist()
        [[False, True], [True, False]]
    """

    def __init__(self, ids: ArrayLike, folder: str | Path | None = None) -> None:
        self.ids: NDArray[np.int64] = as_ids(ids)
        self.folder = None if folder is None else Path(folder)
        self._memory: dict[int, dict[str, NDArray[Any]]] = {}
        self._only: frozenset[str] | None = None
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in self.folder.glob(".*.safetensors.*.tmp"):  # what a killed writer left half-done
            remove(stale)
        ids_file = self.folder / _IDS_FILE
        if not ids_file.exists():
            with atomic_file(ids_file) as file:
                file.write(save({"ids": self.ids}))
        elif not np.array_equal(_read(ids_file, "ids"), self.ids):
            raise BadInputError(f"{self.folder} holds a trace of other examples; give another folder.")

    @classmethod
    def open(cls, folder: str | Path, only: Collection[str] | None = None) -> Trace:
        """The trace in a folder.

        Args:
            folder: where it is.
            only: names of the files that belong to it; None for all that look so.

        Raises:
            BadInputError: there is none.
        """
        ids_file = Path(folder) / _IDS_FILE
        if not ids_file.is_file():
            raise BadInputError(f"there is no trace in {folder}: it has no {_IDS_FILE}.")
        trace = cls(_read(ids_file, "ids"))
        trace.folder = Path(folder)
        trace._only = None if only is None else frozenset(only)
        return trace

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs that are there, increasing."""
        if self.folder is None:
            return tuple(sorted(self._memory))
        there = (path.name for path in self.folder.iterdir())
        names = (_EPOCH_FILE.fullmatch(name) for name in there if self._only is None or name in self._only)
        return tuple(sorted(int(name.group(1)) for name in names if name))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that every epoch has."""
        of_epochs = [set(self._columns_of(epoch)) for epoch in self.epochs]
        return tuple(sorted(set.intersection(*of_epochs))) if of_epochs else ()

    def append(self, epoch: int, columns: Mapping[str, Any]) -> None:
        """Write an epoch, whole or not at all; one that is there already is replaced.

        Args:
            epoch: number of the pass, not negative.
            columns: name -> (n,) array or tensor in the order of `ids`.

        Raises:
            BadInputError: a column of another length.
        """
        if epoch < 0:
            raise BadInputError(f"an epoch's number cannot be negative, got {epoch}.")
        arrays: dict[str, NDArray[Any]] = {}
        for name, values in columns.items():
            array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
            if array.shape != self.ids.shape:
                raise BadInputError(
                    f"column {name!r} of epoch {epoch} has shape {array.shape}, the trace has {len(self.ids)} ids."
                )
            kind: Any = {"f": np.float32, "i": np.int32, "u": np.int32, "b": np.bool_}[array.dtype.kind]
            arrays[name] = np.array(array, dtype=kind, order="C")
        if self.folder is None:
            self._memory[epoch] = arrays
            return
        with atomic_file(self.file_of(epoch)) as file:
            file.write(save(arrays))

    def truncate(self, epoch: int) -> None:
        """Forget every epoch after `epoch`: what a run wrote after the checkpoint that it resumes from."""
        for later in self.epochs:
            if later > epoch:
                self._memory.pop(later, None)
                if self.folder is not None:
                    remove(self.file_of(later))

    def set_aside(self) -> None:
        """Move every epoch to a folder of its own inside, `earlier-1` or the next number that is free."""
        if self.folder is None or not self.epochs:
            return
        number = next(n for n in count(1) if not (self.folder / f"earlier-{n}").exists())
        aside = Trace(self.ids, self.folder / f"earlier-{number}")
        for epoch in self.epochs:
            move(self.file_of(epoch), aside.file_of(epoch))

    def of_epoch(self, epoch: int, name: str, rows: slice = _ALL) -> NDArray[Any]:
        """One column of one epoch, (rows,).

        Raises:
            BadInputError: no such epoch, or no such column in it.
        """
        if epoch not in self.epochs:
            raise BadInputError(f"the trace has no epoch {epoch}; it has {_described(self.epochs)}.")
        if self.folder is not None:
            return _read(self.file_of(epoch), name, rows)
        if name not in self._memory[epoch]:
            raise BadInputError(f"epoch {epoch} of the trace has no column {name!r}.")
        return self._memory[epoch][name][rows]

    def column(self, name: str, rows: slice = _ALL, through_epoch: int | None = None) -> NDArray[Any]:
        """One column of every epoch, up to and with `through_epoch`: (epochs, rows).

        Raises:
            BadInputError: no epoch is that early, or one lacks the column.
        """
        return np.stack([self.of_epoch(epoch, name, rows) for epoch in self._through(through_epoch)])

    def seen(self, rows: slice = _ALL, through_epoch: int | None = None) -> NDArray[np.bool_]:
        """Which examples each epoch presented: (epochs, rows) bool.

        Raises:
            BadInputError: no epoch is that early.
        """
        return np.stack([self._seen_in(epoch, rows) for epoch in self._through(through_epoch)])

    def latest(self, name: str, epoch: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """A column as of the last time each example was presented, up to and with `epoch`.

        Returns:
            (n,) values, and (n,) bool: presented in `epoch` itself. What was never presented is NaN (or 0).

        Raises:
            BadInputError: no such epoch, or one lacks the column.
        """
        values, presented = self.of_epoch(epoch, name).copy(), self._seen_in(epoch)
        missing = ~presented
        values[missing] = np.nan if values.dtype.kind == "f" else 0
        for earlier in reversed([other for other in self.epochs if other < epoch]):
            if not missing.any():
                break
            found = missing & self._seen_in(earlier)
            values[found] = self.of_epoch(earlier, name)[found]
            missing &= ~found
        return values, presented

    def _seen_in(self, epoch: int, rows: slice = _ALL) -> NDArray[Any]:
        if "seen" in self._columns_of(epoch):
            return self.of_epoch(epoch, "seen", rows)
        return np.ones(len(self.ids[rows]), bool)

    def _through(self, epoch: int | None) -> tuple[int, ...]:
        epochs = tuple(found for found in self.epochs if epoch is None or found <= epoch)
        if not epochs or (epoch is not None and epoch > self.epochs[-1]):
            asked = "" if epoch is None else f" through epoch {epoch}"
            raise BadInputError(f"the trace does not reach{asked}; it has {_described(self.epochs)}.")
        return epochs

    def _columns_of(self, epoch: int) -> Sequence[str]:
        if self.folder is None:
            return list(self._memory[epoch])
        with _opened(self.file_of(epoch)) as file:
            return list(file.keys())

    def file_of(self, epoch: int) -> Path:
        """Where an epoch is, or will be, in the trace's folder."""
        assert self.folder is not None
        return self.folder / f"train-{epoch:05d}.safetensors"


def scores_from_trace(
    trace: Trace, names: Sequence[str], through_epoch: int | None = None, chunk: int | None = None
) -> dict[str, NDArray[Any]]:
    """Scores of training dynamics from a trace, a block of rows at a time.

    Args:
        trace: with the columns that the scores' cards name.
        names: scores whose card says `needs="trace"`.
        through_epoch: last epoch to look at; all by default.
        chunk: rows at a time; by default so many that a block holds 64 MiB a column.

    Returns:
        name -> (n,), NaN for an example that was never seen.

    Raises:
        BadInputError: a score that needs something else, a column that is missing, no epoch that early.

    Example:
        >>> trace = Trace([0, 1])
        >>> trace.append(1, {"correct": np.array([True, False])})
        >>> trace.append(2, {"correct": np.array([False, False])})
        >>> scores_from_trace(trace, ["forgetting"])["forgetting"].tolist()
        [1.0, 2.0]
    """
    epochs = trace._through(through_epoch)
    chosen = [card(name) for name in names]
    for found in chosen:
        if found.needs != "trace":
            raise BadInputError(f"{found.name!r} is no score of a trace: it needs {found.needs}.")
    columns = set(trace.columns)
    result: dict[str, NDArray[Any]] = {}
    if "forgetting" in names and {"forgotten", "learnt"} <= columns:
        result["forgetting"] = _counted_forgetting(trace, epochs)
        chosen = [found for found in chosen if found.name != "forgetting"]
    for found in chosen:
        missing = [name for name in found.columns if name not in columns]
        if missing:
            raise BadInputError(f"{found.name!r} needs column {missing[0]!r}, which the trace does not have.")
    needed = dict.fromkeys(name for found in chosen for name in found.columns)
    size = max(1, chunk or _BLOCK_NUMBERS // len(epochs))
    parts: dict[str, list[NDArray[Any]]] = {found.name: [] for found in chosen}
    for start in range(0, len(trace.ids) if chosen else 0, size):
        rows = slice(start, min(start + size, len(trace.ids)))
        seen = trace.seen(rows, through_epoch)
        block = {name: trace.column(name, rows, through_epoch) for name in needed}
        for found in chosen:
            assert found.function is not None
            parts[found.name].append(found.function(*(block[name] for name in found.columns), seen=seen))
    result.update({name: np.concatenate(pieces) for name, pieces in parts.items()})
    return {name: result[name] for name in names}


def _counted_forgetting(trace: Trace, epochs: Sequence[int]) -> NDArray[Any]:
    """Forgetting from what the recorder counted, which knows several presentations an epoch apart."""
    events = np.zeros(len(trace.ids), np.int64)
    learnt = np.zeros(len(trace.ids), bool)
    seen = np.zeros(len(trace.ids), bool)
    for epoch in epochs:
        shown = trace._seen_in(epoch)
        events += np.where(shown, trace.of_epoch(epoch, "forgotten"), 0)
        learnt |= shown & trace.of_epoch(epoch, "learnt")
        seen |= shown
    return count_forgetting(events, learnt, seen, len(epochs))


def scores_possible(columns: Sequence[str]) -> tuple[str, ...]:
    """Names of the registered scores that a trace with these columns gives.

    Example:
        >>> scores_possible(["probability", "correct"])
        ('forgetting', 'confidence', 'variability', 'dyn_unc', 'dual', 'tdds_label')
    """
    there = set(columns)
    return tuple(
        found.name
        for found in cards()
        if (found.needs == "outputs" and found.name in there)
        or (found.needs == "trace" and set(found.columns) <= there)
    )


def table_from_trace(
    trace: Trace,
    labels: ArrayLike,
    scores: Sequence[str] | None = None,
    at_epoch: int | Sequence[int] | None = None,
    *,
    class_names: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    unseen: str = "refuse",
) -> ScoreTable:
    """Scores of one run from its trace.

    Scores of training dynamics cover every epoch of the trace. Point scores (`el2n`, `margin`, ...) come from
    the training pass of `at_epoch`, by default the last, and provenance says so (`taken`: `training pass`).
    An example that was not presented in that very epoch has its latest presentation before it; provenance
    counts these as `carried_over`.

    Args:
        trace: of one run.
        labels: (n,) integers in the order of the trace's ids.
        scores: names; by default every score that the columns give.
        at_epoch: one epoch, or several, which gives one column each (`el2n@2`).
        class_names: names by label.
        provenance: more to write into the table.
        unseen: `refuse` when an example was never presented, or `leave_out` those examples.

    Returns:
        A table of one seed.

    Raises:
        BadInputError: no epoch, an unknown score, one that needs more than a trace, or unseen examples.
    """
    if unseen not in ("refuse", "leave_out"):
        raise BadInputError(f"unseen must be 'refuse' or 'leave_out', got {unseen!r}.")
    if not trace.epochs:
        raise BadInputError("no epoch was recorded yet; call end_epoch after each epoch.")
    last = trace.epochs[-1]
    epochs = (
        [last] if at_epoch is None else [at_epoch] if isinstance(at_epoch, int) else sorted(set(at_epoch))
    )
    columns = trace.columns
    possible = scores_possible(columns)
    names = possible if scores is None else tuple(scores)
    for name in names:
        needs = card(name).needs
        if name not in possible:
            raise BadInputError(
                f"the trace cannot give {name!r}, which needs {needs}; its columns are {', '.join(columns)}."
            )
    from_trace = scores_from_trace(trace, [name for name in names if card(name).needs == "trace"])
    found: dict[str, NDArray[Any]] = {}
    about: dict[str, dict[str, Any]] = {}
    for name in names:
        direction = {"higher_is_harder": card(name).higher_is_harder, "taken": "training pass"}
        if name in from_trace:
            found[name], about[name] = from_trace[name], {**direction, "epoch": last}
            continue
        for epoch in epochs:
            column = name if len(epochs) == 1 else f"{name}@{epoch}"
            found[column], presented = trace.latest(name, epoch)
            about[column] = {**direction, "epoch": epoch, "carried_over": int((~presented).sum())}
    known: NDArray[np.bool_] = np.ones(len(trace.ids), bool)
    for values in found.values():
        known &= np.isfinite(values)
    if not known.all() and unseen == "refuse":
        missing = trace.ids[~known]
        raise BadInputError(
            f"{len(missing)} of {len(trace.ids)} examples were not presented by then "
            f"(first id {missing[0]}); record only the ids that are trained on (ids=...), "
            "or take the table with unseen='leave_out'."
        )
    more = dict(provenance or {})
    return ScoreTable.from_seeds(
        trace.ids[known],
        np.asarray(labels)[known],
        [{name: values[known] for name, values in found.items()}],
        class_names=class_names,
        provenance={**more, "scores": {**about, **more.get("scores", {})}},
    )


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="np")
    except (SafetensorError, OSError) as error:
        raise BadInputError(f"{path} cannot be read as part of a trace: {error}.") from error


def _read(path: Path, name: str, rows: slice = _ALL) -> NDArray[Any]:
    with _opened(path) as file:
        if name not in file.keys():  # noqa: SIM118  (a handle of safetensors, not a dict)
            raise BadInputError(f"{path.name} of the trace in {path.parent} has no column {name!r}.")
        values: NDArray[Any] = file.get_slice(name)[rows]
        return values


def _described(epochs: Sequence[int]) -> str:
    if not epochs:
        return "none yet"
    return f"epochs {epochs[0]} to {epochs[-1]}" if len(epochs) > 1 else f"epoch {epochs[0]}"
