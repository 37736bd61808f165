"""From a trace to a score table: which scores it can give, from which epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.foundation.errors import BadInputError
from datadiet.scores.outputs import REAL_MEASURES
from datadiet.scores.registry import card, cards
from datadiet.scores.table import ScoreTable
from datadiet.tracking.trace import Trace, scores_from_trace

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def scores_possible(columns: Sequence[str]) -> tuple[str, ...]:
    """Names of the registered scores that a trace with these columns gives.

    Example:
        >>> scores_possible(["probability", "correct"])
        ('forgetting', 'confidence', 'variability', 'dyn_unc', 'dual', 'tdds')
    """
    there = set(columns)
    return tuple(
        found.name
        for found in cards()
        if (found.needs == "outputs" and found.name in REAL_MEASURES and found.name in there)
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
    if not trace.num_epochs:
        raise BadInputError("no epoch was recorded yet; call end_epoch after each epoch.")
    last = trace.epochs[-1]
    epochs = (
        [last] if at_epoch is None else [at_epoch] if isinstance(at_epoch, int) else sorted(set(at_epoch))
    )
    columns = trace.columns
    names = tuple(scores) if scores is not None else scores_possible(columns)
    possible = scores_possible(columns)
    for name in names:
        needs = card(name).needs
        if name not in possible:
            raise BadInputError(
                f"the trace cannot give {name!r}, which needs {needs}; its columns are {', '.join(columns)}."
            )
    dynamics = [name for name in names if card(name).needs == "trace"]
    from_trace = scores_from_trace(trace, dynamics) if dynamics else {}
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
