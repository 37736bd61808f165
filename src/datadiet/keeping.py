"""From a score table to the ids that stay, and the file that says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.atomic import atomic_path
from datadiet.errors import BadInputError
from datadiet.scores import ScoreTable
from datadiet.selection import rule_card, select

_KEY = b"datadiet.kept"


def keep(
    table: ScoreTable,
    fraction: float | int,
    *,
    by: str | None = None,
    rule: str = "hardest",
    per_class: bool = False,
    seed: int = 0,
    **options: Any,
) -> np.ndarray:
    """The ids that stay: exactly `round(fraction * n)` of them, sorted.

    Args:
        table: scores.
        fraction: share that stays, in (0, 1], or an int count.
        by: the score; may be left out when the table has one only, or the rule needs none.
        rule: "hardest", "easiest", "window", "random", or any other of `datadiet.selection.rule_cards`.
        per_class: the same fraction of every class.
        seed: of rules that draw.
        options: of the rule, such as `start` of "window".

    Returns:
        Sorted int64 ids, shape (kept,).

    Raises:
        BadInputError: no such score or rule, a fraction outside (0, 1].

    Example:
        >>> table = ScoreTable.from_seeds([0, 1, 2, 3], [0, 1, 0, 1], [{"el2n": [0.1, 0.9, 0.5, 0.3]}])
        >>> keep(table, 0.5, by="el2n").tolist()
        [1, 2]
    """
    needs_scores = "scores" in rule_card(rule).needs
    if by is None and needs_scores:
        if len(table.names) != 1:
            raise BadInputError(f"Say which score to keep by; the table has {', '.join(table.names)}.")
        by = table.names[0]
    hardness = table.hardness(by) if by is not None else None
    return select(
        table.ids,
        hardness,
        fraction,
        rule=rule,
        labels=table.labels,
        per_class=per_class,
        seed=checked_seed(seed),
        **options,
    )


def checked_seed(seed: int) -> int:
    """The seed, which must not be negative.

    Raises:
        BadInputError: it is.
    """
    if seed < 0:
        raise BadInputError(f"seed is {seed}; it must be 0 or above.")
    return seed


@dataclass(frozen=True)
class Kept:
    """Ids that stay and where they come from.

    Args:
        ids: sorted int64.
        about: `fingerprint` of the data, `score`, `rule`, `keep`, `options`, `n_from`.
    """

    ids: np.ndarray
    about: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: str | Path) -> None:
        """Write as Parquet, one column `id` with what is known in the file's metadata; else as text.

        A name that does not end in `.parquet` gives a text file with one id a line.

        Raises:
            BadInputError: the file cannot be written.
        """
        ids = np.asarray(self.ids, dtype=np.int64)
        table = pa.table({"id": ids}).replace_schema_metadata({_KEY: json.dumps(dict(self.about)).encode()})
        try:
            with atomic_path(path) as temporary:
                if Path(path).suffix == ".parquet":
                    pq.write_table(table, temporary)
                else:
                    temporary.write_text("".join(f"{id_}\n" for id_ in ids.tolist()), encoding="utf-8")
        except OSError as error:
            raise BadInputError(
                f"The kept file {str(path)!r} cannot be written: {error.strerror or error}."
            ) from error

    @classmethod
    def read(cls, path: str | Path) -> Kept:
        """Read a kept file: Parquet with a column `id`, or a text file with one id a line.

        Raises:
            BadInputError: missing, unreadable, or without ids.
        """
        path = Path(path)
        if not path.is_file():
            raise BadInputError(f"There is no kept file at {str(path)!r}.")
        if path.suffix != ".parquet":
            try:
                ids = [int(line) for line in path.read_text(encoding="utf-8").split()]
                return cls(np.array(ids, dtype=np.int64))
            except (ValueError, OverflowError) as error:
                raise BadInputError(
                    f"The kept file {str(path)!r} must hold one whole number a line: {error}."
                ) from error
        try:
            table = pq.read_table(path)
            ids_column = table.column("id").to_numpy().astype(np.int64)
        except (pa.ArrowException, KeyError, OSError) as error:
            raise BadInputError(
                f"The kept file {str(path)!r} has no readable column 'id': {error}."
            ) from error
        about = json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
        return cls(ids_column, about)

    def check_data(self, fingerprint: str) -> None:
        """Refuse to be used with other data than it was made from.

        Raises:
            BadInputError: the fingerprint differs.
        """
        made_from = self.about.get("fingerprint")
        if made_from is not None and made_from != fingerprint:
            raise BadInputError(
                "These kept ids were made from other data than is given here (the fingerprints differ); "
                "score this data, or give the data that they belong to."
            )
