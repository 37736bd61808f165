"""What an export is to hold: which examples stay, which get another label, and why the others leave."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.data import Examples, Part
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.example_keys import PartName
from datadiet.jobs.decisions import Decisions
from datadiet.jobs.keep import Kept

IntArray = npt.NDArray[np.int64]
# Tasks with one class an example, so that one can be put in the place of another.
CLASS_TASKS = ("classification", "intent_slots")


@dataclass(frozen=True, eq=False)
class PartPlan:
    """What stays of one part.

    Args:
        name: "train" or "test".
        part: all its examples.
        rows: positions in the part of those that stay, increasing.
        labels: class index that each of them gets, shape like `rows`.
        reasons: id -> why an example leaves, of those that do.
    """

    name: PartName
    part: Part
    rows: IntArray
    labels: IntArray
    reasons: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> IntArray:
        """Example ids of what stays."""
        return self.part.ids[self.rows]

    @property
    def relabelled(self) -> npt.NDArray[np.bool_]:
        """Which of those that stay get another label, shape like `rows`."""
        return np.asarray(self.labels != self.part.labels[self.rows])

    def key(self, id_: int) -> str:
        """An id with as many digits as the last one of the part, so that files are in the order of their ids."""
        return f"{id_:0{len(str(int(self.part.ids[-1])))}d}"


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that is decided before a byte is written.

    Args:
        examples: the data.
        parts: what is written; the train part first.
        facts: where the choice comes from: hashes of the files, what they say of themselves.
        notes: sentences for people.
        unseen: test examples with a class, label or tag that no training example has any more, or ever had.
    """

    examples: Examples
    parts: tuple[PartPlan, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unseen: int = 0

    @property
    def train(self) -> PartPlan:
        """What stays of the train part."""
        return self.parts[0]


def make_plan(
    examples: Examples,
    kept: str | Path | Kept | npt.ArrayLike | None,
    decisions: str | Path | Decisions | Mapping[str, Any] | None,
    include_test: bool,
) -> Plan:
    """Bring together the ids that stay and what people decided.

    A kept file says who stays; decisions take some of these away or give them another label, and never bring
    back what the kept file leaves out. Without a kept file everything stays that is not dropped.

    Raises:
        BadInputError: neither is given, they belong to other data, name an id twice, unknown ids or unknown
            classes, another class where there are none, or nothing would stay.
    """
    if kept is None and decisions is None:
        raise BadInputError("Say what stays: give a kept file (--kept), decisions (--decisions), or both.")
    facts: dict[str, Any] = {}
    notes: list[str] = []
    stays = np.ones(len(examples.train), dtype=bool)
    if kept is not None:
        stays[:] = False
        stays[_kept_positions(examples, kept, facts, notes)] = True
    made = Decisions({}) if decisions is None else _read_decisions(examples, decisions, facts)
    parts = [_part_plan(examples, "train", stays, made, notes)]
    test = _part_plan(examples, "test", np.ones(len(examples.test), dtype=bool), made.of_test(), notes)
    if include_test:
        parts.append(test)
    elif made.test_choices:
        notes.append(
            f"{len(made.test_choices):,} decisions are about the test part, which is not in this export."
        )
    notes += _lost_names(examples, parts[0])
    unseen = sum(_unseen_rows(parts[0], part) for part in parts[1:])
    return Plan(examples, tuple(parts), facts, tuple(notes), unseen)


def _part_plan(
    examples: Examples,
    name: PartName,
    stays: npt.NDArray[np.bool_],
    made: Decisions,
    notes: list[str],
) -> PartPlan:
    """What becomes of a part of which some rows stay, by decisions on it.

    Raises:
        BadInputError: they name unknown ids, or nothing would stay.
    """
    part = examples.train if name == "train" else examples.test
    reasons = dict.fromkeys(part.ids[~stays].tolist(), "not kept")
    new = made.new_classes(examples.class_names)
    places = _positions(part, np.array(sorted(made.choices), dtype=np.int64), "The decisions name", name)
    if outside := int((~stays[places]).sum()):
        notes.append(
            f"{outside:,} decisions are about examples that the kept ids leave out; those stay left out."
        )
    dropped = part.positions_of(made.dropped)
    reasons.update(dict.fromkeys(part.ids[dropped[stays[dropped]]].tolist(), "dropped by decision"))
    stays = stays.copy()
    stays[dropped] = False
    labels = part.labels.copy()
    labels[part.positions_of(list(new))] = list(new.values())
    rows = np.flatnonzero(stays).astype(np.int64)
    if len(rows) == 0:
        raise BadInputError(f"Nothing of the {name} part would stay; keep at least one example.")
    return PartPlan(name, part, rows, labels[rows], reasons)


def _kept_positions(examples: Examples, kept: Any, facts: dict[str, Any], notes: list[str]) -> IntArray:
    """Positions in the train part of the ids that stay, checked."""
    if isinstance(kept, str | Path):
        found = Kept.read(kept)
        notes += [found.unchecked] if found.unchecked is not None else []
        facts["kept_sha256"] = sha256_of(kept)
    else:
        found = kept if isinstance(kept, Kept) else Kept(np.asarray(kept))
    found.check_data(examples.fingerprint)
    ids = np.asarray(found.ids)
    if ids.ndim != 1 or len(ids) == 0:
        raise BadInputError("The kept ids are none at all; keep at least one example.")
    positions = _positions(examples.train, ids, "The kept ids hold")
    values, counts = np.unique(positions, return_counts=True)
    if (counts > 1).any():
        twice = int(examples.train.ids[values[counts > 1][0]])
        raise BadInputError(
            f"The kept ids name {int((counts > 1).sum())} examples more than once (the first: {twice}); "
            "name each once."
        )
    facts["kept"] = dict(found.about)
    return positions


def _read_decisions(examples: Examples, decisions: Any, facts: dict[str, Any]) -> Decisions:
    if isinstance(decisions, str | Path):
        found = Decisions.read(decisions)
        facts["decisions_sha256"] = sha256_of(decisions)
    else:
        found = decisions if isinstance(decisions, Decisions) else Decisions.from_dict(decisions)
    found.check_data(examples.fingerprint)
    parts = (found, found.of_test())
    facts["decisions"] = {
        name: sum(len(getattr(part, name)) for part in parts) for name in ("kept", "dropped", "relabelled")
    }
    relabelled = facts["decisions"]["relabelled"]
    if examples.task not in CLASS_TASKS and relabelled:
        raise BadInputError(
            f"The decisions give {relabelled:,} examples another class, but '{examples.name}' is of the task "
            f"'{examples.task}' without one class an example; drop these, or mend the source."
        )
    return found


def _positions(part: Part, ids: IntArray, where: str, name: PartName = "train") -> IntArray:
    """Positions of ids in a part; the error names those that are not there."""
    unknown = np.setdiff1d(ids, part.ids) if ids.dtype.kind in "iu" else np.empty(0)
    if len(unknown):
        shown = ", ".join(str(int(value)) for value in unknown[:5])
        raise BadInputError(
            f"{where} {len(unknown)} ids that are not in the {name} part (the first: {shown}); give the data "
            "that they were made from, loaded with the same options."
        )
    return part.positions_of(ids)


def _lost_names(examples: Examples, train: PartPlan) -> list[str]:
    """What the train part of the source has and no example of it has any more: classes, labels, tags."""
    found: list[tuple[str, tuple[str, ...], IntArray, IntArray]] = []
    if examples.task in CLASS_TASKS:
        found.append(("classes", examples.class_names, examples.train.labels, train.labels))
    targets = examples.train.targets
    if targets is not None and examples.task != "regression":
        before, after = targets.values, targets.take(train.rows).values
        if targets.offsets is None:
            found.append(("labels", targets.names, np.nonzero(before > 0)[1], np.nonzero(after > 0)[1]))
        else:
            found.append(("tags", targets.names, before[before >= 0], after[after >= 0]))
    notes: list[str] = []
    for what, names, before, after in found:
        gone = np.setdiff1d(before, after).tolist()
        if gone:
            shown = ", ".join(f"'{names[index]}'" for index in gone[:5]) + (", ..." if len(gone) > 5 else "")
            notes.append(f"{len(gone)} {what} have no training example any more: {shown}.")
    return notes


def _unseen_rows(train: PartPlan, test: PartPlan) -> int:
    """How many rows of the test part have a class, label or tag that no row has that stays of the train part."""
    unseen = ~np.isin(test.labels, train.labels)
    before, after = train.part.targets, test.part.targets
    if before is None or after is None:
        return int(unseen.sum())
    if before.task == "regression":
        return 0
    values, after = before.take(train.rows).values, after.take(test.rows)
    if after.offsets is None:
        return int((after.values[:, ~(values > 0).any(axis=0)] > 0).any(axis=1).sum())
    strange = np.flatnonzero((after.values >= 0) & ~np.isin(after.values, values))
    unseen[np.searchsorted(after.offsets, strange, side="right") - 1] = True
    return int(unseen.sum())


def sha256_of(path: str | Path) -> str:
    """SHA-256 (hex) of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
