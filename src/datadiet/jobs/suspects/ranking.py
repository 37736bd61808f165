"""The list of likely label errors: ranked, with probabilities and proposals, and the file that it is kept in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import NotRequired, TypedDict

from datadiet.foundation.errors import BadInputError
from datadiet.foundation.example_keys import PARTS, PartName
from datadiet.foundation.outputs import new_file
from datadiet.foundation.parsing import require
from datadiet.foundation.tables import TableKind
from datadiet.noise import NoiseRate

SUSPECTS = TableKind("datadiet.suspects", "file of suspects")
_SIGNAL = "signal_"
CONFLICT = "conflicting_duplicate"  # the signal of exact duplicates with different labels, 0 or 1
NO_PROPOSAL = -1  # where no model's predictions were at hand


def number_wrong(rate: NoiseRate, count: int) -> int | None:
    """How many of so many labels are wrong at that rate; None where it cannot be told.

    Example:
        >>> number_wrong(NoiseRate(0.1, 0.05, 0.2), 200)
        20
    """
    return round(rate.estimate * count) if rate.identified else None


class _NoiseRate(TypedDict):
    estimate: float
    low: float
    high: float
    confidence: NotRequired[float]
    identified: NotRequired[bool]


class _Provenance(TypedDict, total=False):
    fingerprint: str | None
    source: str | None
    load_options: Mapping[str, Any]
    holdout_seed: int | None


class _Facts(TypedDict):
    """What the metadata of a file holds."""

    noise_rate: _NoiseRate
    test_noise_rate: NotRequired[_NoiseRate | None]
    class_names: list[str]
    provenance: _Provenance


@dataclass(frozen=True, eq=False)
class Suspects:
    """Every example, the most suspicious label first.

    Args:
        ids: (n,) int64 example ids, in falling order of suspicion. Exact duplicates with different labels, of which
            not all can be right, stand before all others, in their own order. Ids of the two parts may be the same
            numbers: `part` tells them apart.
        labels: (n,) int64, the given labels.
        proposed: (n,) int64, the class that the models propose instead; -1 where they say nothing.
        probability_wrong: (n,) calibrated probability that the given label is wrong; where the noise rate cannot be
            told (`is_told`) it orders the examples and is no probability.
        suspicion: (n,) what the order is by; higher = more suspicious. That of exact duplicates with different
            labels is raised above all others by one constant.
        signals: name -> (n,), each turned so that higher is more suspicious; NaN for a test example where it is
            taken from training.
        noise_rate: the share of wrong labels in the train part, with an interval.
        class_names: names by label; empty when unknown.
        provenance: JSON-able: `fingerprint`, `source`, `method`, `trainings`, and what the score table says.
        part: (n,) "train" or "test"; all "train" where it is left out.
        test_noise_rate: the share of wrong labels in the test part; None where that was not looked at.

    Raises:
        BadInputError: columns of different lengths, an example that stands twice, values that are not finite.
    """

    ids: np.ndarray
    labels: np.ndarray
    proposed: np.ndarray
    probability_wrong: np.ndarray
    suspicion: np.ndarray
    signals: Mapping[str, np.ndarray]
    noise_rate: NoiseRate
    class_names: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    part: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=str))
    test_noise_rate: NoiseRate | None = None

    def __post_init__(self) -> None:
        count = len(self.ids)
        part = np.asarray(self.part, dtype=str) if len(self.part) else np.full(count, "train")
        object.__setattr__(self, "part", part)
        numbers = {
            "probability_wrong": self.probability_wrong,
            "suspicion": self.suspicion,
            **{f"signal {name!r}": values for name, values in self.signals.items()},
        }
        for name, column in {
            "labels": self.labels,
            "proposed": self.proposed,
            "part": part,
            **numbers,
        }.items():
            if column.shape != (count,):
                raise BadInputError(
                    f"{name} of suspects must be {count} values, one an id, got {column.shape}."
                )
        if not np.isin(part, PARTS).all():
            raise BadInputError("The part of a suspect is 'train' or 'test'.")
        in_test = part == "test"
        for name, column in numbers.items():
            if column.dtype.kind not in "biuf":
                raise BadInputError(f"{name} of suspects holds {column.dtype} instead of numbers.")
            infinite = ~np.isfinite(column)
            if name.startswith("signal "):
                infinite &= ~(in_test & np.isnan(column))
            if infinite.any():
                ids = self.ids[infinite]
                more = ", ..." if len(ids) > 5 else ""
                raise BadInputError(
                    f"{name} of suspects is not finite for {len(ids)} examples "
                    f"(ids {', '.join(map(str, ids[:5]))}{more}); score the data again."
                )
        if any(len(np.unique(self.ids[rows])) != rows.sum() for rows in (in_test, ~in_test)):
            raise BadInputError("An id stands twice among the suspects; each example has one row.")

    @classmethod
    def ranked(
        cls,
        ids: np.ndarray,
        labels: np.ndarray,
        suspicion: np.ndarray,
        probability_wrong: np.ndarray,
        proposed: np.ndarray,
        signals: Mapping[str, np.ndarray],
        noise_rate: NoiseRate,
        class_names: tuple[str, ...] = (),
        provenance: Mapping[str, Any] | None = None,
        part: np.ndarray | None = None,
        test_noise_rate: NoiseRate | None = None,
        then: np.ndarray | None = None,
    ) -> Suspects:
        """Put examples in any order into that of suspicion, highest first.

        Args:
            ids: as of `Suspects`, like all others, but in any order.
            then: (n,) what examples of one suspicion are ordered by, higher first; those that are equal in this,
                too, by part and id.

        Example:
            >>> rate = NoiseRate(0.5, 0.1, 0.9)
            >>> zero = np.zeros(2, np.int64)
            >>> found = Suspects.ranked(
            ...     np.array([4, 9]), zero, np.array([0.1, 2.0]), np.array([0.2, 0.8]), zero + 1, {}, rate
            ... )
            >>> found.ids.tolist(), found.probability_wrong.tolist()
            ([9, 4], [0.8, 0.2])
        """
        part = np.full(len(ids), "train") if part is None else np.asarray(part, dtype=str)
        then = np.zeros(len(ids)) if then is None else np.asarray(then, np.float64)
        order = np.lexsort((ids, part == "test", -then, -suspicion))
        return cls(
            ids[order], labels[order], proposed[order], probability_wrong[order], suspicion[order],
            {name: values[order] for name, values in signals.items()},
            noise_rate, class_names, dict(provenance or {}), part[order], test_noise_rate,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def conflicting(self) -> np.ndarray:
        """(n,) bool: exact duplicates of an example with another label; none where that was not looked for."""
        return np.asarray(self.signals.get(CONFLICT, np.zeros(len(self)))).astype(bool)

    def of(self, part: PartName) -> Suspects:
        """The suspects of one part, whose ids are all different.

        Example:
            >>> rate, one = NoiseRate(0.5, 0.1, 0.9), np.ones(2, np.int64)
            >>> found = Suspects(
            ...     one, one, one, np.ones(2), np.ones(2), {}, rate, part=np.array(["test", "train"])
            ... )
            >>> len(found.of("test"))
            1
        """
        rows = self.part == part
        return replace(
            self,
            **{
                name: getattr(self, name)[rows]
                for name in ("ids", "labels", "proposed", "probability_wrong", "suspicion", "part")
            },
            signals={name: values[rows] for name, values in self.signals.items()},
        )

    @property
    def about_wrong(self) -> int | None:
        """How many labels are wrong, by the noise rates of the parts; None where that cannot be told."""
        in_test = self.part == "test"
        counts = [number_wrong(self.noise_rate, int((~in_test).sum()))]
        if self.test_noise_rate is not None:
            counts.append(number_wrong(self.test_noise_rate, int(in_test.sum())))
        return None if None in counts else sum(counts)  # type: ignore[arg-type]

    @property
    def is_told(self) -> np.ndarray:
        """(n,) bool: where `probability_wrong` is a probability, as the noise rate of that part can be told."""
        of_test = self.test_noise_rate is not None and self.test_noise_rate.identified
        return np.where(self.part == "test", of_test, self.noise_rate.identified)

    @property
    def looks_wrong(self) -> np.ndarray:
        """(n,) bool: labels that are more probably wrong than right; none of a part where that cannot be told."""
        return np.asarray(self.is_told & (self.probability_wrong > 0.5))

    def class_name(self, label: int) -> str:
        """The name of a class, its number when it has none, and a dash for no class."""
        if label < 0:
            return "–"
        return self.class_names[label] if label < len(self.class_names) else str(label)

    def first(self, count: int) -> list[dict[str, Any]]:
        """The most suspicious examples as plain data; None for a proposal or probability that cannot be told."""
        conflicting = self.conflicting
        told = self.is_told
        return [
            {
                "id": int(self.ids[row]),
                "part": str(self.part[row]),
                "label": self.class_name(int(self.labels[row])),
                "proposed": None if self.proposed[row] < 0 else self.class_name(int(self.proposed[row])),
                "probability_wrong": float(self.probability_wrong[row]) if told[row] else None,
                "suspicion": float(self.suspicion[row]),
                "conflicting_duplicate": bool(conflicting[row]),
            }
            for row in range(min(count, len(self)))
        ]

    def check_data(self, fingerprint: str) -> None:
        """Refuse to be used with other data than they were found in.

        Raises:
            BadInputError: the fingerprint differs.
        """
        made_from = self.provenance.get("fingerprint")
        if made_from is not None and made_from != fingerprint:
            raise BadInputError(
                "These suspects were found in other data than is given here (the fingerprints differ); "
                "look for suspects in this data, or give the data that they belong to."
            )

    def write(
        self, path: str | Path, *, overwrite: bool = True, same: Callable[[Path], bool] | None = None
    ) -> Path:
        """Write as Parquet, whole or not at all, the most suspicious first.

        Columns: `id`, `part`, `label`, `proposed`, `probability_wrong`, `suspicion`, and `signal_<name>` for each
        signal; noise rates, class names and provenance are JSON in the file's metadata, under `datadiet.noise`.

        Args:
            path: of the file.
            overwrite: whether another file is replaced.
            same: whether the file that is there answers the same question, so that it is replaced.

        Raises:
            BadInputError: the file cannot be written, or another is there.
        """
        columns = {
            "id": self.ids,
            "part": self.part.astype(object),
            "label": self.labels,
            "proposed": self.proposed,
            "probability_wrong": self.probability_wrong,
            "suspicion": self.suspicion,
            **{_SIGNAL + name: values for name, values in self.signals.items()},
        }
        facts = {
            "noise_rate": self.noise_rate.as_dict(),
            "test_noise_rate": None if self.test_noise_rate is None else self.test_noise_rate.as_dict(),
            "class_names": list(self.class_names),
            "provenance": dict(self.provenance),
        }
        with new_file(path, "suspects", overwrite=overwrite, same=same) as temporary:
            SUSPECTS.write(temporary, columns, facts, compression="zstd")
        return Path(path)

    @classmethod
    def read(cls, path: str | Path) -> Suspects:
        """Read what `write` wrote.

        Raises:
            BadInputError: missing, unreadable, or no suspects.
        """
        path = Path(path)
        if not path.is_file():
            raise BadInputError(f"There are no suspects at {str(path)!r}.")
        columns, facts = SUSPECTS.read(path)
        if facts is None:
            raise BadInputError(f"{str(path)!r} was not written by `datadiet suspects`.")
        try:
            return cls._of_file(columns, require(facts, _Facts, "its metadata"))
        except BadInputError as error:
            raise BadInputError(f"The file of suspects {str(path)!r} cannot be used: {error}") from error

    @classmethod
    def _of_file(cls, columns: Mapping[str, np.ndarray], facts: _Facts) -> Suspects:
        names = ("id", "label", "proposed", "probability_wrong", "suspicion")
        for name in names:
            if name not in columns:
                raise BadInputError(f"it lacks the column {name!r}.")
            if columns[name].dtype.kind != ("f" if name in ("probability_wrong", "suspicion") else "i"):
                raise BadInputError(f"its column {name!r} holds {columns[name].dtype}, which cannot be used.")
        ids, labels, proposed, probability_wrong, suspicion = (columns[name] for name in names)
        test_rate = facts.get("test_noise_rate")
        part = columns.get("part", np.full(len(ids), "train"))
        if part.dtype.kind not in "OU":
            raise BadInputError(f"its column 'part' holds {part.dtype}, which cannot be used.")
        return cls(
            ids, labels, proposed, probability_wrong, suspicion,
            {n.removeprefix(_SIGNAL): column for n, column in columns.items() if n.startswith(_SIGNAL)},
            NoiseRate(**facts["noise_rate"]), tuple(facts["class_names"]), facts["provenance"],
            part, None if test_rate is None else NoiseRate(**test_rate),
        )  # fmt: skip
