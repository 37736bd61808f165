"""Scores of logits that somebody saved, from any framework, a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datadiet.foundation.arrays import read_array
from datadiet.foundation.errors import BadInputError
from datadiet.scores.changes import CHANGE, change_of
from datadiet.scores.outputs import MEASURES, REAL_MEASURES, measures_of
from datadiet.scores.registry import card
from datadiet.scores.softmax import SoftmaxTerms
from datadiet.scores.table import ScoreTable

Source = str | Path | NDArray[Any]


#: Logits of one chunk and epoch: few enough to stay in the processor's cache from one step to the next.
_CHUNK_NUMBERS = 1 << 19

#: Up to here a CPU is faster when the chunk is turned to (classes, rows): every step is one long vector.
_FEW_CLASSES = 64


def score_logits(
    logits: Source | Sequence[Source],
    labels: Source,
    *,
    scores: Sequence[str] = ("el2n",),
    at_epoch: int | Sequence[int] | None = None,
    class_names: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    chunk_rows: int | None = None,
) -> ScoreTable:
    """Scores of saved logits; row i is the example with id i.

    Memory is that of the result and of a few chunks, whatever the size of the files, which are mapped.
    Only the scores that are asked for are computed. With several epochs the point scores (`el2n`, ...) are
    those of `at_epoch`, and the scores of training dynamics (`forgetting`, `aum`, ...) take them all.

    Args:
        logits: (n, classes), or (epochs, n, classes), or a sequence of (n, classes), one an epoch: floating
            point `.npy` files or arrays. Epochs are counted from 1.
        labels: (n,) integers in [0, classes), a `.npy` file or an array.
        scores: names of scores that need outputs or a trace.
        at_epoch: for point scores: one epoch, or several, which gives a column each; by default the last.
        class_names: names by label.
        provenance: more to write into the table.
        chunk_rows: rows at a time and core; by default about half a million logits.

    Returns:
        A table of one seed.

    Raises:
        BadInputError: a missing or unreadable file, a wrong rank or dtype, rows that do not match the labels,
            labels outside the classes, logits that are not finite, a score that needs something else.

    Example:
        >>> table = score_logits(np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([0, 1]), scores=["margin"])
        >>> table.column("margin").round(3)
        array([0.762, 0.   ])
    """
    epochs = _epochs_of(logits)
    truth = _array(labels, "labels")
    num_rows, num_classes = epochs[0].shape
    if truth.ndim != 1 or truth.dtype.kind not in "iu":
        raise BadInputError(f"labels must be a row of integers, got {truth.dtype} of shape {truth.shape}.")
    if len(truth) != num_rows:
        raise BadInputError(
            f"logits have {num_rows} rows but there are {len(truth)} labels; give one label a row."
        )
    targets = np.array(truth, dtype=np.int64)
    if (outside := (targets < 0) | (targets >= num_classes)).any():
        row = int(outside.argmax())
        raise BadInputError(
            f"label {targets[row]} in row {row} is outside the {num_classes} classes of the logits; "
            "labels must count from 0."
        )
    if not scores:
        raise BadInputError("name at least one score.")
    cards = [card(name) for name in dict.fromkeys(scores)]
    for chosen in cards:
        if chosen.needs not in ("outputs", "trace"):
            raise BadInputError(f"{chosen.name!r} cannot be computed from logits: it needs {chosen.needs}.")
    last = len(epochs)
    points = [last] if at_epoch is None else np.unique(at_epoch).tolist()
    for epoch in points:
        if not 1 <= epoch <= last:
            raise BadInputError(f"there is no epoch {epoch}; the logits have {last} (counted from 1).")
    point_scores = {chosen.name: chosen for chosen in cards if chosen.needs == "outputs"}
    dynamics = [chosen for chosen in cards if chosen.needs == "trace"]
    needed = dict.fromkeys(name for chosen in dynamics for name in chosen.columns)
    columns = [name for name in needed if name != CHANGE]

    kind = np.float64 if any(values.dtype.itemsize > 4 for values in epochs) else np.float32
    found: dict[str, NDArray[Any]] = {}
    names: dict[tuple[str, int], str] = {}
    for chosen in cards:
        for epoch in points if chosen.needs == "outputs" else [last]:
            column = chosen.name if chosen.needs == "trace" or len(points) == 1 else f"{chosen.name}@{epoch}"
            names[chosen.name, epoch] = column
            found[column] = np.empty(num_rows, kind)

    def score_rows(rows: slice) -> None:
        block: dict[str, list[NDArray[Any]]] = {name: [] for name in needed}
        before: torch.Tensor | None = None
        for epoch in range(1, last + 1) if dynamics else points:
            values = _class_major(epochs[epoch - 1][rows], kind)
            wanted = point_scores if epoch in points else {}
            now = values.softmax(0) if CHANGE in needed else values
            asked = (*wanted, *columns)
            measures = _measures(values, torch.from_numpy(targets[rows]), asked, epoch, rows.start)
            if CHANGE in needed:
                measures[CHANGE] = change_of(now, now * torch.nan if before is None else before, class_dim=0)
                before = now
            for name in wanted:
                found[names[name, epoch]][rows] = measures[name].numpy()
            for name, parts in block.items():
                parts.append(measures[name].numpy())
        stacked = {name: np.stack(parts) for name, parts in block.items()}
        for chosen in dynamics:
            assert chosen.function is not None
            found[chosen.name][rows] = chosen.function(*(stacked[name] for name in chosen.columns))

    size = max(1, chunk_rows or _CHUNK_NUMBERS // num_classes)
    _on_every_core(score_rows, [slice(start, start + size) for start in range(0, num_rows, size)])
    about = {
        column: {"higher_is_harder": card(name).higher_is_harder, "epoch": epoch, "taken": "given logits"}
        for (name, epoch), column in names.items()
    }
    more = dict(provenance or {})
    return ScoreTable.from_seeds(
        np.arange(num_rows, dtype=np.int64),
        targets,
        [found],
        class_names=class_names,
        provenance={**more, "scores": {**about, **more.get("scores", {})}},
    )


def _measures(
    values: torch.Tensor,
    targets: torch.Tensor,
    asked: Sequence[str],
    epoch: int,
    start: int,
) -> dict[str, torch.Tensor]:
    """The scores and trace columns of (classes, rows) logits of one epoch, checked to be finite."""
    own = [name for name in asked if name in MEASURES]
    # A flag is finite whatever the logits are; a probability tells.
    tell = next((name for name in own if name in REAL_MEASURES), "probability")
    found = {}
    for name in asked:
        if name not in own:
            function = card(name).function
            assert function is not None
            found[name] = function(values.t(), targets)
    # Last, because it computes in the memory of the logits.
    found.update(measures_of(SoftmaxTerms(values, targets, 0, overwrite=True), (*own, tell)))
    for name in dict.fromkeys((tell, *asked)):
        bad = ~torch.isfinite(found[name])
        if bad.any():
            rows = (bad.nonzero().flatten()[:5] + start).tolist()
            raise BadInputError(
                f"{name} is not finite in rows {', '.join(map(str, rows))} of epoch {epoch}: "
                "the logits there are NaN or infinite; score finite logits only."
            )
    return found


def _on_every_core(work: Callable[[slice], None], chunks: Iterable[slice]) -> None:
    """Do every chunk, each on one core.

    Threads that share nothing need no barrier after every operation, as torch's own would: on a busy machine
    that is the difference between a little slower and not moving at all.
    """
    cores = torch.get_num_threads()
    pool = ThreadPoolExecutor(cores, "score", initializer=torch.set_num_threads, initargs=(1,))
    try:
        list(pool.map(work, chunks))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)  # threads made later would take over the one thread of the workers


def _class_major(source: NDArray[Any], kind: Any) -> torch.Tensor:
    """A (rows, classes) block as a (classes, rows) tensor, read and converted in one go."""
    if source.shape[1] > _FEW_CLASSES:
        return torch.from_numpy(np.array(source, dtype=kind)).t()
    return torch.from_numpy(np.array(source.T, dtype=kind, order="C"))


def _epochs_of(logits: Source | Sequence[Source]) -> list[NDArray[Any]]:
    """(n, classes) arrays, one an epoch, all alike."""
    if isinstance(logits, (str, Path, np.ndarray)) or not isinstance(logits, Sequence):
        whole = _array(logits, "logits")
        if whole.ndim not in (2, 3):
            raise BadInputError(
                f"logits must be (n, classes) or (epochs, n, classes), got shape {whole.shape}; reshape them."
            )
        epochs = [whole] if whole.ndim == 2 else list(whole)
    else:
        epochs = [
            _array(source, f"logits of epoch {number}") for number, source in enumerate(logits, start=1)
        ]
    if not epochs:
        raise BadInputError("there are no logits: give at least one epoch.")
    for number, values in enumerate(epochs, start=1):
        if values.ndim != 2:
            raise BadInputError(f"logits of epoch {number} must be (n, classes), got shape {values.shape}.")
        if values.dtype.kind != "f":
            raise BadInputError(f"logits of epoch {number} must be floating point, got {values.dtype}.")
        if values.shape != epochs[0].shape:
            raise BadInputError(
                f"logits of epoch {number} have shape {values.shape}, those of epoch 1 {epochs[0].shape}."
            )
    if epochs[0].shape[0] == 0 or epochs[0].shape[1] < 2:
        raise BadInputError(f"logits need a row and two classes at least, got shape {epochs[0].shape}.")
    return epochs


def _array(source: Any, what: str) -> NDArray[Any]:
    if not isinstance(source, (str, Path)):
        return np.asarray(source)
    path = Path(source)
    if not path.is_file():
        raise BadInputError(f"there is no file of {what} at {path}.")
    return read_array(path, f"The file {str(path)!r} of {what}")
