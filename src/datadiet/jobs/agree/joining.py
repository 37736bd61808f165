"""Score tables and kept files of the same data, brought to the same examples by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datadiet.foundation.errors import BadInputError
from datadiet.foundation.tables import metadata_of
from datadiet.jobs.keep import Kept
from datadiet.jobs.outputs import read_results
from datadiet.scores import ScoreTable

MOST_SERIES = 30
Given = ScoreTable | Kept | str | Path


@dataclass(frozen=True)
class Joined:
    """Tables and kept files over the examples that all tables share.

    Args:
        ids: (n,) sorted int64; None when there is no table.
        labels: (n,) int64; None when there is no table.
        class_names: names by label.
        series: name -> hardness (n,), higher means harder.
        kept: name -> sorted ids that stay, those of `ids` where there is a table.
        total: how many examples choices are made from; None where nothing says so.
        notes: sentences on what was left out or not checked.
    """

    ids: np.ndarray | None
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    series: dict[str, np.ndarray]
    kept: dict[str, np.ndarray]
    total: int | None
    notes: list[str]

    def mask(self, kept: np.ndarray) -> np.ndarray:
        """Bool (n,): which of the examples are among some of them, given as ids."""
        assert self.ids is not None
        found = np.zeros(len(self.ids), dtype=bool)
        found[np.searchsorted(self.ids, kept)] = True
        return found


def join(
    tables: Mapping[str, Given] | Sequence[Given] | Given,
    scores: Sequence[str] | None = None,
    *,
    any_data: bool = False,
) -> Joined:
    """Read what is given as files, see that it belongs together, and match its examples by id.

    Args:
        tables: as for `datadiet.jobs.agree.agree`.
        scores: which scores; None for all but `random`.
        any_data: take tables of different data.

    Raises:
        BadInputError: tables of different data, no such score, no example in common.
    """
    given = _read(tables)
    notes: list[str] = []
    _check_same_data(given, any_data, notes)
    scored = {name: item for name, item in given.items() if isinstance(item, ScoreTable)}
    chosen = {name: item for name, item in given.items() if isinstance(item, Kept)}
    ids = _shared_ids(scored, notes)
    labels, class_names = _shared_labels(scored, ids, any_data, notes)
    series = _series(scored, scores, ids, notes)
    kept = {
        f"{name} (kept)" if name in series else name: _inside(name, item.ids, ids, notes)
        for name, item in chosen.items()
    }
    total = len(ids) if ids is not None else _known_total(chosen)
    return Joined(ids, labels, class_names, series, kept, total, notes)


def read_choice(path: str | Path) -> ScoreTable | Kept:
    """A score table or a kept file, whichever it is.

    Raises:
        BadInputError: missing, or neither.
    """
    source = read_results(path)
    if not source.is_file():
        raise BadInputError(f"There is no score table and no kept file at {str(path)!r}.")
    if source.suffix == ".parquet" and b"datadiet.scores" in metadata_of(source):
        return ScoreTable.read(source)
    return Kept.read(source)


def _read(tables: Mapping[str, Given] | Sequence[Given] | Given) -> dict[str, ScoreTable | Kept]:
    if isinstance(tables, (ScoreTable, Kept, str, Path)):
        tables = [tables]
    if not isinstance(tables, Mapping):
        named = _distinct([item if isinstance(item, (str, Path)) else None for item in tables])
        tables = dict(zip(named, tables, strict=True))
    return {
        name: read_choice(item) if isinstance(item, (str, Path)) else item for name, item in tables.items()
    }


def _distinct(paths: Sequence[str | Path | None]) -> list[str]:
    """A short name for each: its file's, its folder's where files are called alike, else the whole path."""
    forms = [
        (place, place, place)
        if path is None
        else (Path(path).stem, Path(path).absolute().parent.name, str(path))
        for place, path in ((f"table {number}", path) for number, path in enumerate(paths, start=1))
    ]
    for place in range(3):
        names = [form[place] for form in forms]
        if len(set(names)) == len(names):
            return names
    twice = next(name for name in names if names.count(name) > 1)
    raise BadInputError(f"{twice!r} is given twice; name each file once, or as NAME=FILE.")


def _check_same_data(given: Mapping[str, ScoreTable | Kept], any_data: bool, notes: list[str]) -> None:
    prints: dict[str, str] = {}
    for name, item in given.items():
        facts = item.provenance if isinstance(item, ScoreTable) else item.about
        if facts.get("fingerprint") is not None:
            prints[name] = str(facts["fingerprint"])
    different = [name for name in prints if prints[name] != next(iter(prints.values()))]
    if different:
        if not any_data:
            raise BadInputError(
                f"{different[0]!r} was made from other data than {next(iter(prints))!r} (the fingerprints differ); "
                "give tables of the same data, or compare by id alone with any_data=True (--any-data)."
            )
        notes.append("These come from different data; their examples are matched by id alone.")
    unknown = [name for name in given if name not in prints]
    if unknown and len(given) > 1:
        notes.append(f"Not known to be of the same data, for want of a fingerprint: {', '.join(unknown)}.")


def _shared_ids(scored: Mapping[str, ScoreTable], notes: list[str]) -> np.ndarray | None:
    """Sorted ids that are in every table; None without tables."""
    if not scored:
        return None
    shared = next(iter(scored.values())).ids
    for table in scored.values():
        if len(table.ids) != len(shared) or not np.array_equal(table.ids, shared):
            shared = np.intersect1d(shared, table.ids, assume_unique=True)
    if len(shared) == 0:
        raise BadInputError("The tables have no example id in common; give tables of the same data.")
    for name, table in scored.items():
        if len(table.ids) > len(shared):
            notes.append(
                f"{len(table.ids) - len(shared):,} of the {len(table.ids):,} examples of {name!r} are left out: "
                "another table lacks them."
            )
    return np.asarray(shared, dtype=np.int64)


def _shared_labels(
    scored: Mapping[str, ScoreTable], ids: np.ndarray | None, any_data: bool, notes: list[str]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels of the shared ids, as the first table has them; others must agree."""
    if ids is None:
        return None, ()
    first, *others = scored.items()
    labels = _at(first[1], first[1].labels, ids)
    for name, table in others:
        differs = int(np.count_nonzero(_at(table, table.labels, ids) != labels))
        if differs and not any_data:
            raise BadInputError(
                f"The labels of {name!r} differ from those of {first[0]!r} for {differs:,} examples; they are of other "
                "data. Compare by id alone with any_data=True (--any-data)."
            )
        if differs:
            notes.append(f"{differs:,} labels of {name!r} differ; classes are those of {first[0]!r}.")
    return labels, first[1].class_names


def _series(
    scored: Mapping[str, ScoreTable], scores: Sequence[str] | None, ids: np.ndarray | None, notes: list[str]
) -> dict[str, np.ndarray]:
    """Name -> hardness of the shared examples, for every asked score of every table."""
    found: dict[str, np.ndarray] = {}
    asked = set(scores or ())
    used: set[str] = set()
    for name, table in scored.items():
        for score in table.names:
            hit = asked & {score, score.partition("@")[0]}
            if hit or (scores is None and score != "random"):
                used |= hit
                title = score if len(scored) == 1 else f"{score} ({name})"
                assert ids is not None
                found[title] = _at(table, table.hardness(score), ids)
    missing = [score for score in scores or () if score not in used]
    if missing and scored:
        known = dict.fromkeys(score for table in scored.values() for score in table.names)
        raise BadInputError(f"No table has a score {missing[0]!r}; there are {', '.join(known)}.")
    if len(found) > MOST_SERIES:
        raise BadInputError(
            f"There are {len(found)} scores to compare, more than {MOST_SERIES}; name those that matter with scores "
            "(--scores)."
        )
    for name, values in found.items():
        if len(values) > 1 and (values == values[0]).all():
            notes.append(f"{name} is the same for all examples, so it has no rank correlation.")
    return found


def _at(table: ScoreTable, values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return values if len(table.ids) == len(ids) else values[np.searchsorted(table.ids, ids)]


def _inside(name: str, kept: np.ndarray, ids: np.ndarray | None, notes: list[str]) -> np.ndarray:
    """The kept ids, each once, that the tables know."""
    found = np.unique(kept)
    if ids is not None:
        known = np.intersect1d(found, ids, assume_unique=True)
        if len(known) < len(found):
            notes.append(
                f"{len(found) - len(known):,} of the {len(found):,} ids of {name!r} are in no table, and left out."
            )
        found = known
    if len(found) == 0:
        raise BadInputError(f"{name!r} holds no id that could be compared.")
    return found


def _known_total(chosen: Mapping[str, Kept]) -> int | None:
    """How many examples kept files were chosen from, if they all say the same."""
    totals = {item.about.get("n_from") for item in chosen.values()}
    total = totals.pop() if len(totals) == 1 else None
    union = {int(id_) for item in chosen.values() for id_ in item.ids.tolist()}
    return int(total) if isinstance(total, int) and total >= len(union) else None
