"""Where score tables and kept files differ: their examples joined by id, compared, and written down."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.foundation.atomic import atomic_file, atomic_path, write_json
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.outputs import usable_name
from datadiet.jobs.agree.figures import draw_agreement
from datadiet.jobs.agree.joining import Given, Joined, join
from datadiet.jobs.keep import Kept, checked_seed
from datadiet.jobs.outputs import check_out, digest, inputs_of, question, results_of
from datadiet.pages.report.canvas import as_png, as_svg
from datadiet.scores import ScoreTable
from datadiet.selection import kept_size, rule_card, select
from datadiet.selection.similarity import class_balance, overlap, rank_correlations

WRITTEN = ("agreement.parquet", "agreement.csv", "agreement.json", "agreement.png", "agreement.svg")
DEFAULT_FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MANY_TIES = 0.1  # of a choice: from this share on its overlap is said to be made by ties
COLUMNS = (
    "first", "second", "keep", "n", "first_kept", "second_kept", "common", "overlap", "chance", "chance_low",
    "chance_high", "jaccard", "spearman", "spearman_low", "spearman_high", "kendall", "kendall_low",
    "kendall_high", "kendall_rows", "first_total_variation", "second_total_variation", "first_largest_ratio",
    "second_largest_ratio",
)  # fmt: skip
_COUNTS = ("n", "first_kept", "second_kept", "common", "kendall_rows")
_TYPES = dict.fromkeys(COLUMNS, pa.float64()) | dict.fromkeys(("first", "second"), pa.string())
_SCHEMA = pa.schema(list((_TYPES | dict.fromkeys(_COUNTS, pa.int64())).items()))


@dataclass(frozen=True)
class Agreement:
    """What `agree` found.

    Args:
        pairs: one row a pair and a fraction, with the keys of `COLUMNS`; None for what cannot be said.
        balance: one row a score (or kept file) and a fraction: `name`, `keep`, `kept`, and what
            `datadiet.selection.similarity.class_balance` gives, with the classes by name.
        n: examples that all tables share; None where only kept files were given that do not say.
        rule: the rule that turned scores into choices.
        notes: sentences on what was left out, drawn or not checked.
        folder: where it was written; None where nothing was.
    """

    pairs: list[dict[str, Any]]
    balance: list[dict[str, Any]]
    n: int | None
    rule: str
    notes: list[str] = field(default_factory=list)
    folder: Path | None = None

    def correlations(self) -> list[dict[str, Any]]:
        """The pairs of scores, each once: `first`, `second`, `n`, Spearman's rho and Kendall's tau-b."""
        wanted = [name for name in COLUMNS if name.startswith(("spearman", "kendall"))]
        seen: dict[tuple[str, str], dict[str, Any]] = {}
        for row in self.pairs:
            if row["kendall_rows"] is not None:
                key = (row["first"], row["second"])
                seen.setdefault(key, {name: row[name] for name in ("first", "second", "n", *wanted)})
        return list(seen.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the content of `agreement.json`."""
        return {
            "n": self.n,
            "rule": self.rule,
            "notes": self.notes,
            "correlations": self.correlations(),
            "pairs": self.pairs,
            "balance": self.balance,
        }

    def write(self, folder: str | Path) -> Path:
        """Write `agreement.parquet` and `.csv` (the pairs), `.json` (everything), `.png` and `.svg`.

        Raises:
            BadInputError: the folder cannot be written to.
        """
        folder = usable_name(folder)
        figure = draw_agreement(self.correlations(), self.pairs, self.balance)
        try:
            with atomic_path(folder / "agreement.parquet") as temporary:
                pq.write_table(pa.Table.from_pylist(self.pairs, schema=_SCHEMA), temporary)
            with (
                atomic_path(folder / "agreement.csv") as temporary,
                temporary.open("w", newline="", encoding="utf-8") as text,
            ):
                writer = csv.DictWriter(text, COLUMNS)
                writer.writeheader()
                writer.writerows(self.pairs)
            for name, content in (("agreement.png", as_png(figure)), ("agreement.svg", as_svg(figure))):
                with atomic_file(folder / name) as file:
                    file.write(content)
            write_json(folder / "agreement.json", self.to_dict())
        except OSError as error:
            raise BadInputError(
                f"The folder {str(folder)!r} cannot be written to: {error.strerror}."
            ) from error
        return folder


def agree(
    tables: Mapping[str, Given] | Sequence[Given] | Given,
    *,
    scores: Sequence[str] | None = None,
    keep: Sequence[float] = DEFAULT_FRACTIONS,
    rule: str = "hardest",
    per_class: bool = False,
    seed: int = 0,
    any_data: bool = False,
    out: str | Path | None = None,
    overwrite: bool = False,
    default: str | Path | None = None,
    **options: Any,
) -> Agreement:
    """Compare scores and selections: rank correlations, overlap at each fraction, class balance.

    Every pair of the scores is compared: of one table its own columns, of several all of theirs. A score of
    which lower means harder is turned first, so that sign conventions do not show as disagreement. Rows are
    joined by example id; ids that one table lacks are left out of all, and counted in the notes.

    Args:
        tables: score tables and kept ids, or files of them; with names as a mapping, else named after files.
        scores: which scores; "el2n" stands for "el2n@2" and "el2n@4" too. None for all but `random`.
        keep: fractions to compare the choices at, each in (0, 1).
        rule: how scores become choices.
        per_class: choose the same fraction of every class.
        seed: of rules that draw, and of the bootstrap.
        any_data: compare tables of different data, by id alone.
        out: folder of the tables and figures; None to write nothing.
        overwrite: replace what another question came to there.
        default: folder where `out` is not given, or a free one beside it; None to write nothing then.
        options: of the rule.

    Raises:
        BadInputError: nothing to compare, tables of different data, no such score, no example in common.

    Example:
        >>> from datadiet.scores import ScoreTable
        >>> a = ScoreTable.from_seeds(range(4), [0, 0, 1, 1], [{"el2n": [1.0, 2.0, 3.0, 4.0]}])
        >>> b = ScoreTable.from_seeds(range(4), [0, 0, 1, 1], [{"margin": [4.0, 3.0, 1.0, 2.0]}])
        >>> row = agree([a, b], keep=[0.5]).pairs[0]
        >>> row["first"], row["second"], row["overlap"], round(row["spearman"], 2)
        ('el2n (table 1)', 'margin (table 2)', 1.0, 0.8)
    """
    fractions = _checked_fractions(keep)
    if "scores" not in rule_card(rule).needs:
        raise BadInputError(f"Rule {rule!r} does not look at scores; compare with another, such as hardest.")
    alone = isinstance(tables, ScoreTable | Kept | str | Path)
    listed: Iterable[Any] = [tables] if alone else tables  # type: ignore[assignment]
    inputs = inputs_of({}, files=tables.values() if isinstance(tables, Mapping) else listed)
    where = {"out": out, "overwrite": overwrite, "workspace": "."}
    check_out(where, inputs, WRITTEN)
    joined = join(tables, scores, any_data=any_data)
    if len(joined.series) + len(joined.kept) < 2:
        raise BadInputError(
            "There is only one score or kept file to look at; give another table, or a table of several scores."
        )

    results = None
    if out is not None or default is not None:
        told = {"keep": fractions, "rule": rule, "per_class": per_class, "seed": seed, "any_data": any_data}
        there = {name: digest(joined.ids, joined.labels, values) for name, values in joined.series.items()}
        there |= {name: digest(ids) for name, ids in joined.kept.items()}
        asked = question("agree", {**told, **options}, tables=there)
        results = results_of(asked, where, inputs, WRITTEN, default=default or "")
    pairs: list[dict[str, Any]] = []
    balance: list[dict[str, Any]] = []

    def chosen(name: str, size: float | int) -> _Choice:
        assert joined.ids is not None
        ids = select(
            joined.ids,
            joined.series[name],
            size,
            rule=rule,
            labels=joined.labels,
            per_class=per_class,
            seed=checked_seed(seed),
            **options,
        )
        return _choice(joined, name, ids)

    # Choices first: what the rule refuses is refused before anything slow is done.
    for fraction in fractions if joined.series else ():
        choices = [chosen(name, fraction) for name in joined.series]
        balance += [choice.balance_row(fraction) for choice in choices]
        pairs += [_row(joined.total, fraction, *two) for two in itertools.combinations(choices, 2)]
    given = [_choice(joined, name, ids) for name, ids in joined.kept.items()]
    further: list[dict[str, Any]] = []
    for choice in given if joined.ids is not None else ():
        share = choice.size / len(choice.members)
        balance.append(choice.balance_row(share))
        further += [_row(joined.total, share, choice, chosen(name, choice.size)) for name in joined.series]
    for first, second in itertools.combinations(given, 2):
        smaller = min(first.size, second.size) / joined.total if joined.total else None
        further.append(_row(joined.total, smaller, first, second))
    correlations = {
        (row["first"], row["second"]): row
        for row in rank_correlations(joined.series, seed=checked_seed(seed))
    }
    pairs = [row | correlations[row["first"], row["second"]] for row in pairs] + further
    notes = list(joined.notes)
    if rule == "hardest" and not per_class:
        notes += _ties(joined, fractions)
    if any(row["kendall_rows"] < row["n"] for row in correlations.values()):
        notes.append("Kendall's tau is taken over a million of the examples, drawn at random.")
    found = Agreement(pairs, balance, joined.total, rule, notes)
    if results is not None:
        with results.written() as new:
            found.write(new)
        found = replace(found, folder=results.path)
    return found


@dataclass(frozen=True)
class _Choice:
    """Some of the examples, by the hardest of a score or by a kept file.

    Args:
        name: of the score or the file.
        members: bool (n,) over the joined examples; sorted ids where there is no table to join.
        size: how many.
        balance: what `class_balance` says of them; empty where there are no labels.
    """

    name: str
    members: np.ndarray
    size: int
    balance: Mapping[str, Any]

    def balance_row(self, keep: float) -> dict[str, Any]:
        return {"name": self.name, "keep": keep, "kept": self.size, **self.balance}


def _choice(joined: Joined, name: str, ids: np.ndarray) -> _Choice:
    if joined.ids is None:
        return _Choice(name, ids, len(ids), {})
    assert joined.labels is not None
    mask = joined.mask(ids)
    balance = class_balance(joined.labels, mask)
    names = joined.class_names
    for key in ("largest_class", "smallest_class"):
        balance[key] = names[balance[key]] if balance[key] < len(names) else str(balance[key])
    return _Choice(name, mask, len(ids), balance)


def _row(total: int | None, fraction: float | None, first: _Choice, second: _Choice) -> dict[str, Any]:
    """The row of a pair, but for its correlations."""
    if first.members.dtype == bool:
        common = int(np.count_nonzero(first.members & second.members))
    else:
        common = len(np.intersect1d(first.members, second.members, assume_unique=True))
    row = dict.fromkeys(COLUMNS)
    row |= {"first": first.name, "second": second.name, "keep": fraction, "n": total, "common": common}
    row |= {"first_kept": first.size, "second_kept": second.size}
    row |= overlap(first.size, second.size, common, total)
    for place, choice in (("first", first), ("second", second)):
        for measure in ("total_variation", "largest_ratio"):
            row[f"{place}_{measure}"] = choice.balance.get(measure)
    return row


def _ties(joined: Joined, fractions: Sequence[float]) -> list[str]:
    """A sentence for each score whose choices are in good part cut through equal values, and so made by id."""
    notes = []
    for name, hardness in joined.series.items():
        for fraction in fractions:
            size = kept_size(len(hardness), fraction)
            cut = np.partition(hardness, len(hardness) - size)[len(hardness) - size]
            above, equal = int(np.count_nonzero(hardness > cut)), int(np.count_nonzero(hardness == cut))
            if equal > size - above >= MANY_TIES * size:
                notes.append(
                    f"From {100 * fraction:g} % kept on, choices by {name} are cut through equal scores "
                    f"({equal:,} examples at the cut); which of those stay is decided by id, alike in all tables, "
                    "so the overlap says more of ids than of scores."
                )
                break
    return notes


def _checked_fractions(keep: Sequence[float]) -> list[float]:
    for fraction in keep:
        if not 0 < fraction < 1:
            raise BadInputError(
                f"keep is {fraction:g}; it is the fraction that stays and must lie between 0 and 1."
            )
    if not keep:
        raise BadInputError("keep is empty; give at least one fraction that stays, such as 0.5.")
    return sorted({float(fraction) for fraction in keep})
