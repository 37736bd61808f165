"""The table of scores: one row an example, one column a score, and where every number came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import TypedDict

from datadiet.foundation.atomic import atomic_path
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.parsing import require
from datadiet.foundation.tables import TableKind
from datadiet.scores.registry import base_name, card

SCORES = TableKind("datadiet.scores", "score table")


class _ScoreFacts(TypedDict, total=False):
    higher_is_harder: bool | None
    epoch: float | None
    step: int
    weights: list[str]
    taken: str
    num_seeds: int
    parameters: str | None
    carried_over: int


class _Machine(TypedDict, total=False):
    device: str
    processes: int


class _Provenance(TypedDict, total=False):
    """What is used of a table's provenance again; there may be more."""

    fingerprint: str | None
    source: str | None
    task: str
    holdout_seed: int | None
    left_out: list[int]
    load_options: Mapping[str, Any]
    recipe: Mapping[str, Any]
    seeds: list[int]
    workspace: str
    scores: Mapping[str, _ScoreFacts]
    machine: _Machine
    versions: Mapping[str, str]


class _Facts(TypedDict):
    """What the metadata of a file holds."""

    class_names: list[str]
    scores: Mapping[str, int]
    provenance: Mapping[str, Any]


def _first_ids(ids: NDArray[np.int64], wrong: NDArray[np.bool_]) -> str:
    bad = ids[wrong]
    named = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
    return f"{len(bad)} of {len(ids)} examples (ids {named})"


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of every example of one data set.

    Args:
        ids: (n,) int64, strictly increasing.
        labels: (n,) int64.
        class_names: names by label; empty when unknown.
        columns: score name -> (n,) mean over seeds. A point score taken at several epochs has one column an
            epoch, `el2n@2` and `el2n@4`; taken at one, `el2n`.
        spreads: score name -> (n,) standard deviation over seeds (divided by K - 1). With one seed it is NaN:
            the spread is unknown, not zero.
        per_seed: score name -> (K, n).
        provenance: JSON-able. `fingerprint` of the data, `recipe`, `seeds`, `versions`, and `scores`: name ->
            `higher_is_harder`, `epoch`, `step`, `weights` (a hash a seed), `taken` (`evaluation` or
            `training pass`), as far as they are known.

    Raises:
        BadInputError: ids not increasing, shapes that do not fit, a score that is not finite, a label without a name
            where there are names, a provenance of other types.

    Example:
        >>> table = ScoreTable.from_seeds([0, 1], [0, 1], [{"el2n": [0.5, 1.0]}, {"el2n": [0.75, 1.0]}])
        >>> table.column("el2n")
        array([0.625, 1.   ])
        >>> table.spreads["el2n"].round(3)
        array([0.177, 0.   ])
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    columns: Mapping[str, NDArray[Any]]
    spreads: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    per_seed: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.provenance, _Provenance, "provenance")
        if self.ids.ndim != 1 or self.ids.dtype != np.int64 or np.any(self.ids[1:] <= self.ids[:-1]):
            raise BadInputError("ids of a score table must be int64, sorted, each once.")
        count = len(self.ids)
        if self.labels.shape != (count,) or self.labels.dtype != np.int64:
            raise BadInputError(
                f"labels must be {count} int64 numbers like the ids, got shape {self.labels.shape}."
            )
        unnamed = (self.labels < 0) | (self.labels >= len(self.class_names))
        if self.class_names and unnamed.any():
            raise BadInputError(
                f"labels must be from 0 to {len(self.class_names) - 1}, as there are {len(self.class_names)} class "
                f"names, and are not for {_first_ids(self.ids, unnamed)}."
            )
        for name, values in self.columns.items():
            base_name(name)
            if values.shape != (count,) or values.dtype.kind != "f":
                raise BadInputError(
                    f"score {name!r} must be {count} floats, one an id, "
                    f"got {values.dtype} of shape {values.shape}."
                )
            finite = np.isfinite(values)
            if not finite.all():
                raise BadInputError(f"score {name!r} is not finite for {_first_ids(self.ids, ~finite)}.")
        for part, shape in ((self.spreads, 1), (self.per_seed, 2)):
            for name, values in part.items():
                fits = values.dtype.kind == "f" and values.ndim == shape and values.shape[-1] == count
                if name not in self.columns or not fits:
                    raise BadInputError(f"spread or seeds of {name!r} do not fit its column of {count} rows.")

    @classmethod
    def from_seeds(
        cls,
        ids: ArrayLike,
        labels: ArrayLike,
        seeds: Sequence[Mapping[str, ArrayLike]],
        *,
        class_names: Sequence[str] = (),
        provenance: Mapping[str, Any] | None = None,
    ) -> ScoreTable:
        """Combine the scores of K seeds, in any order of ids, into one table: mean, spread, each seed.

        Args:
            ids: (n,) integers, each once; sorted here, and everything else with them.
            labels: (n,) integers.
            seeds: one mapping a seed, score name -> (n,) in the order of `ids`; all with the same names.
            class_names: names by label.
            provenance: what is known; versions and directions are filled in from the cards.

        Raises:
            BadInputError: no seed, other names in one seed, duplicate ids, scores that are not finite.
        """
        numbers, classes = np.asarray(ids), np.asarray(labels)
        for what, values in (("ids", numbers), ("labels", classes)):
            if values.ndim != 1 or (values.dtype.kind not in "iu" and values.size):
                raise BadInputError(
                    f"{what} must be a row of integers, got {values.dtype} of shape {values.shape}."
                )
        if classes.shape != numbers.shape:
            raise BadInputError(f"there are {len(numbers)} ids but {len(classes)} labels.")
        if not seeds:
            raise BadInputError("a score table needs the scores of at least one seed.")
        for index, seed in enumerate(seeds):
            if set(seed) != set(seeds[0]):
                raise BadInputError(
                    f"seed number {index} has scores {sorted(seed)}, the first has {sorted(seeds[0])}."
                )
        in_order = np.all(numbers[1:] > numbers[:-1])
        order = slice(None) if in_order else np.argsort(numbers, kind="stable")
        sorted_ids = numbers[order].astype(np.int64, copy=False)
        if np.any(sorted_ids[1:] == sorted_ids[:-1]):
            twice = sorted_ids[1:][sorted_ids[1:] == sorted_ids[:-1]][0]
            raise BadInputError(f"id {twice} stands more than once; each example has one row.")
        columns: dict[str, NDArray[Any]] = {}
        spreads: dict[str, NDArray[Any]] = {}
        per_seed: dict[str, NDArray[Any]] = {}
        for name in seeds[0]:
            rows = [np.asarray(seed[name]) for seed in seeds]
            for index, row in enumerate(rows):
                if row.shape != numbers.shape:
                    raise BadInputError(
                        f"score {name!r} of seed number {index} has shape {row.shape}, "
                        f"there are {len(numbers)} ids."
                    )
            narrow = all(row.dtype in (np.float32, np.float16) for row in rows)
            kind = np.float32 if narrow else np.float64
            if len(rows) == 1:
                every = rows[0].astype(kind, copy=False)[None]
                spread = np.broadcast_to(np.float32(np.nan), sorted_ids.shape)  # takes no memory
            else:
                every = np.stack(rows).astype(kind, copy=False)
                spread = every.std(axis=0, ddof=1, dtype=np.float64).astype(kind)
            every = per_seed[name] = every[:, order]
            spreads[name] = spread[order]
            columns[name] = every[0] if len(rows) == 1 else every.mean(axis=0, dtype=np.float64).astype(kind)
        return cls(
            sorted_ids, classes[order].astype(np.int64, copy=False), tuple(map(str, class_names)),
            columns, spreads, per_seed, _completed(provenance or {}, columns, len(seeds)),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def names(self) -> tuple[str, ...]:
        """The scores in the table, in their order."""
        return tuple(self.columns)

    def column(self, name: str) -> NDArray[Any]:
        """A score as it is, (n,), in the order of `ids`.

        Raises:
            BadInputError: not in the table; when it was taken at several epochs, they are listed.
        """
        return self.columns[self._known(name)]

    def hardness(self, name: str) -> NDArray[Any]:
        """A score turned so that higher means harder, (n,): negated when its direction says so.

        Raises:
            BadInputError: not in the table.

        Example:
            >>> table = ScoreTable.from_seeds([0, 1], [0, 1], [{"aum": [2.0, -3.0]}])
            >>> table.hardness("aum")
            array([-2.,  3.])
        """
        values = self.column(name)
        return values if self.higher_is_harder(name) else -values

    def higher_is_harder(self, name: str) -> bool:
        """The direction of a score: what the table's provenance says, else its card.

        Raises:
            BadInputError: not in the table, or its direction is known nowhere.
        """
        known = self.provenance.get("scores", {}).get(self._known(name), {}).get("higher_is_harder")
        return card(name).higher_is_harder if known is None else bool(known)

    def seeds_of_runs(self) -> list[int]:
        """The seeds of the runs that the scores were taken from, in the order of `per_seed`.

        Raises:
            BadInputError: the table does not name them, or not as many as its scores have.
        """
        seeds = self.provenance.get("seeds")
        if not seeds:
            raise BadInputError("this score table names no seeds of its runs; score the data again.")
        for name, values in self.per_seed.items():
            weights = self.provenance.get("scores", {}).get(name, {}).get("weights", seeds)
            if not len(seeds) == len(values) == len(weights):
                raise BadInputError(
                    f"this score table names {len(seeds)} seeds, and has {len(values)} of {name!r}, taken with "
                    f"{len(weights)} weights; score the data again."
                )
        return list(seeds)

    def check_data(self, fingerprint: str, labels: ArrayLike | None = None) -> None:
        """Refuse to be used with other data than the table was made from.

        Args:
            fingerprint: of the data at hand.
            labels: the data's labels, by id (`labels[id]`): a table that knows no fingerprint, because it was
                made from somebody's logits, is then held against its labels instead.

        Raises:
            BadInputError: other data, or no way to tell.
        """
        made_from = self.provenance.get("fingerprint")
        if made_from is not None:
            if made_from != fingerprint:
                raise BadInputError(
                    f"this score table was made from other data: its fingerprint is {made_from}, "
                    f"the data's is {fingerprint}; score this data, or give the table of it."
                )
            return
        if labels is None:
            raise BadInputError(
                "this score table does not say which data it was made from; score the data again."
            )
        theirs = np.asarray(labels)
        outside = (self.ids < 0) | (self.ids >= len(theirs))
        if outside.any():
            raise BadInputError(
                f"the score table has {_first_ids(self.ids, outside)} "
                f"that are not among the data's {len(theirs)} rows."
            )
        differs = theirs[self.ids] != self.labels
        if differs.any():
            raise BadInputError(
                f"the labels of the score table differ from the data's for {_first_ids(self.ids, differs)}; "
                "it was made from other data or another order."
            )

    def write(self, path: str | Path) -> Path:
        """Write as Parquet, whole or not at all.

        Columns are `id`, `label`, and for each score `el2n`, `el2n.std`, `el2n.seed0`, `el2n.seed1`, ...
        Provenance and class names are JSON in the file's metadata, under `datadiet.scores`.

        Raises:
            BadInputError: the folder does not exist or cannot be written, or provenance is not JSON-able.
        """
        data: dict[str, NDArray[Any]] = {"id": self.ids, "label": self.labels}
        for name, values in self.columns.items():
            data[name] = values
            if name in self.spreads:
                data[f"{name}.std"] = self.spreads[name]
            for index, row in enumerate(self.per_seed.get(name, ())):
                data[f"{name}.seed{index}"] = row
        facts = {
            "class_names": list(self.class_names),
            "scores": {name: len(self.per_seed.get(name, ())) for name in self.columns},
            "provenance": dict(self.provenance),
        }
        target = Path(path)
        try:
            with atomic_path(target) as temporary:
                SCORES.write(temporary, data, facts, compression="zstd", use_dictionary=["label"])
        except OSError as error:
            raise BadInputError(
                f"cannot write the score table {target}: {error.strerror or error}."
            ) from error
        return target

    @classmethod
    def read(cls, path: str | Path) -> ScoreTable:
        """Read a table that `write` wrote.

        Raises:
            BadInputError: missing, not Parquet, not a score table, or damaged.
        """
        source = Path(path)
        if not source.is_file():
            raise BadInputError(f"there is no score table at {source}.")
        columns, facts = SCORES.read(source)
        if facts is None:
            raise BadInputError(
                f"{source} is not a score table of datadiet: its metadata has no {SCORES.key!r}."
            )
        try:
            return cls._of_file(columns, require(facts, _Facts, "its metadata"))
        except BadInputError as error:
            raise BadInputError(f"The score table {str(source)!r} cannot be used: {error}") from error

    @classmethod
    def _of_file(cls, columns: Mapping[str, NDArray[Any]], facts: _Facts) -> ScoreTable:
        def values(name: str) -> NDArray[Any]:
            if name not in columns:
                raise BadInputError(f"it lacks its column {name!r}.")
            return columns[name]

        counts = facts["scores"]
        return cls(
            values("id"),
            values("label"),
            tuple(facts["class_names"]),
            {name: values(name) for name in counts},
            {name: values(f"{name}.std") for name in counts if f"{name}.std" in columns},
            {
                name: np.stack([values(f"{name}.seed{seed}") for seed in range(count)])
                for name, count in counts.items()
                if count > 0
            },
            facts["provenance"],
        )

    def _known(self, name: str) -> str:
        if name in self.columns:
            return name
        epochs = [column for column in self.columns if column.startswith(f"{name}@")]
        if epochs:
            raise BadInputError(f"{name!r} was taken at several epochs; say which: {', '.join(epochs)}.")
        raise BadInputError(f"the table has no score {name!r}; it has {', '.join(self.columns) or 'none'}.")


def _completed(provenance: Mapping[str, Any], names: Mapping[str, Any], num_seeds: int) -> dict[str, Any]:
    """Provenance with every score's direction and the versions that computed it."""
    require(provenance, _Provenance, "provenance")
    known = {name: dict(entry) for name, entry in dict(provenance.get("scores", {})).items()}
    for name in names:
        entry = known.setdefault(name, {})
        if "higher_is_harder" not in entry:
            entry["higher_is_harder"] = card(name).higher_is_harder
        entry.setdefault("num_seeds", num_seeds)
    versions = {package: metadata.version(package) for package in ("datadiet", "torch", "numpy")}
    return {**provenance, "scores": known, "versions": {**versions, **provenance.get("versions", {})}}
