"""From a score table to the ids that stay, and the file that says so."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict, Unpack

from datadiet.data.examples import CLASS_TASKS
from datadiet.engine.embedding import Embeddings
from datadiet.engine.reloading import data_of_table
from datadiet.foundation.defaults import DEFAULT_RULE, DEFAULT_SCORE
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import with_options
from datadiet.foundation.outputs import check_file, new_file, refuse_reads, usable_name
from datadiet.foundation.parsing import require, shown
from datadiet.foundation.progress import ProgressDisplay
from datadiet.foundation.tables import TableKind
from datadiet.jobs.groups import groupings_for_table, say_notes, subset_forms
from datadiet.jobs.left_out import kept_shares
from datadiet.jobs.options import KeepOptions, weights
from datadiet.jobs.outputs import check_out, data_of, inputs_of, read_results
from datadiet.scores import ScoreTable
from datadiet.selection import AutoChoice, Chosen, choose, explain_auto, mixture, rule_card

_KIND = TableKind("datadiet.kept", "kept file")
_HEAD = "# datadiet kept ids of data "
_WHOLE = re.compile(r"([0-9]{1,19})(\.0*)?", re.ASCII)


class _About(TypedDict, total=False):
    """What is used again of what is known of kept ids; there may be more."""

    fingerprint: str | None
    source: str | None
    score: str | None
    rule: str
    keep: float
    options: Mapping[str, Any]
    n_from: int


def keep(
    table: ScoreTable,
    fraction: float | int,
    *,
    by: str | Mapping[str, float] | None = None,
    rule: str = DEFAULT_RULE,
    per_class: bool = False,
    balance: str | None = None,
    floor: int | float | None = None,
    groups: Any = None,
    allow_empty_class: bool = False,
    seed: int = 0,
    embeddings: Any = None,
    **options: Any,
) -> np.ndarray:
    """The ids that stay: exactly `round(fraction * n)` of them, sorted.

    No class vanishes unless that is allowed: each keeps at least 5 of its examples, or its share where that is fewer.

    Args:
        table: scores.
        fraction: share that stays, in (0, 1], or an int count.
        by: the score, or several with weights, mixed by rank (`datadiet.selection.mixture`); may be left out
            when the table has one only, the rule needs none, or the table has the score that the rule is named
            after, or `mean_el2n`, the default.
        rule: "auto", "hardest", "window", "random", or any other of `datadiet.selection.rule_cards`.
        per_class: the same fraction of every class.
        balance: "class" or "group" for equal counts of every class or group.
        floor: fewest examples to stay of each group, or of each class where no groups are given: a count, or a
            float fraction of the group.
        groups: group of each row of the table, strings or integers, as `Grouping.train_groups` gives them.
        allow_empty_class: let a class (an intent) lose all its examples. Bins of a number and sets of labels may always
            be lost.
        seed: of rules that draw.
        embeddings: for rules that need them: an array (n, d) in id order, `Embeddings`, or a file of them.
        options: of the rule, such as `start` of "window".

    Returns:
        Sorted int64 ids, shape (kept,).

    Raises:
        BadInputError: no such score or rule, a fraction outside (0, 1], quotas that cannot be met, fewer examples than
            classes.

    Example:
        >>> table = ScoreTable.from_seeds([0, 1, 2, 3], [0, 1, 0, 1], [{"el2n": [0.1, 0.9, 0.5, 0.3]}])
        >>> keep(table, 0.5, by="el2n", rule="hardest").tolist()
        [1, 2]
    """
    return keep_chosen(
        table,
        fraction,
        by=by,
        rule=rule,
        per_class=per_class,
        balance=balance,
        floor=floor,
        groups=groups,
        allow_empty_class=allow_empty_class,
        seed=seed,
        embeddings=embeddings,
        **options,
    ).ids


def keep_chosen(
    table: ScoreTable,
    fraction: float | int,
    *,
    by: str | Mapping[str, float] | None = None,
    rule: str = DEFAULT_RULE,
    groups: Any = None,
    allow_empty_class: bool = False,
    seed: int = 0,
    embeddings: Any = None,
    **options: Any,
) -> Chosen:
    """What `keep` returns, and what stays only because no class is to be lost; arguments as for `keep`."""
    require(by, str | Mapping[str, float] | None, "by")
    if rule == "auto" and not set(options) - {"per_class", "balance", "floor"}:
        rule = auto_for(table, fraction).rule
    chosen = rule_card(rule)
    if by is None and "scores" in chosen.needs:
        by = default_score(table, rule)
        if by is None:
            raise BadInputError(f"Say which score to keep by; the table has {', '.join(table.names)}.")
    hardness: np.ndarray | None
    if isinstance(by, Mapping) and len(by) == 1 and min(by.values()) > 0:
        by = next(iter(by))
    if isinstance(by, Mapping):
        hardness = mixture({name: table.hardness(name) for name in by}, by)
        by = "+".join(by)
    else:
        hardness = table.hardness(by) if by is not None else None
    named = chosen.scores_named_in(options)
    if (chosen.extra or named) and "extra" not in options:
        options["extra"] = {
            **_further_columns(table, rule, chosen.extra, by, table.column),
            **_further_columns(table, rule, named, by, table.hardness),
        }
    if "embeddings" in chosen.needs:
        options["embeddings"] = _vectors(table, rule, embeddings)
    # Where labels are bins of a number or sets of labels, to lose one is no loss of a class.
    has_classes = table.provenance.get("task", "classification") in CLASS_TASKS
    return choose(
        table.ids,
        hardness,
        fraction,
        rule=rule,
        labels=table.labels,
        groups=groups,
        keep_classes=has_classes and not allow_empty_class,
        allow_empty_class=allow_empty_class,
        seed=checked_seed(seed),
        **options,
    )


def auto_for(table: ScoreTable, fraction: float | int) -> AutoChoice:
    """The rule that `auto` takes for a table, and why."""
    classes, facts = len(np.unique(table.labels)), table.provenance
    return explain_auto(len(table), fraction, classes, kind_for_auto(facts.get("kind"), facts.get("task")))


def kind_for_auto(kind: str | None, task: str | None) -> str | None:
    """The kind of data that `auto` goes by: that of other tasks than classification is none that it knows."""
    return kind if task in (None, "classification") else None


def default_score(table: ScoreTable, rule: str) -> str | None:
    """The score to keep by when none is named: the one the rule is named after, the only one there is, or the default.

    None where the rule needs no score, or several would do and the default is not there.
    """
    if "scores" not in rule_card(rule).needs:
        return None
    if rule in table.names:
        return rule
    only = table.names[0] if len(table.names) == 1 else None
    return DEFAULT_SCORE if DEFAULT_SCORE in table.names else only


def _further_columns(
    table: ScoreTable,
    rule: str,
    names: Sequence[str],
    by: str | None,
    read: Callable[[str], np.ndarray],
) -> dict[str, np.ndarray]:
    """Columns that a rule needs beside its score, of the same epoch as it."""
    at = (by or "").partition("@")
    wanted = {name: name if name in table.names else name + at[1] + at[2] for name in names}
    missing = [column for column in wanted.values() if column not in table.names]
    if missing:
        raise BadInputError(
            f"The rule {rule!r} also needs the score {missing[0]!r}, which the table does not have; add it with "
            f"datadiet score --scores ...,{missing[0].partition('@')[0]}."
        )
    return {name: read(column) for name, column in wanted.items()}


def _vectors(table: ScoreTable, rule: str, embeddings: Any) -> np.ndarray:
    if embeddings is None:
        raise BadInputError(
            f"The rule {rule!r} needs embeddings: write them with datadiet score --embeddings FILE, then give that "
            "file to --embeddings here."
        )
    if isinstance(embeddings, np.ndarray):
        return embeddings
    if not isinstance(embeddings, Embeddings):
        require(embeddings, Path, "embeddings")
    found = embeddings if isinstance(embeddings, Embeddings) else Embeddings.read(embeddings, table.ids)
    if table.provenance.get("fingerprint"):
        found.check_data(table.provenance["fingerprint"])
    return found.of(table.ids)


def checked_seed(seed: int) -> int:
    """The seed, a whole number that is not negative.

    Raises:
        BadInputError: it is another.
    """
    if require(seed, int, "seed") < 0:
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

    @classmethod
    def of_table(cls, ids: np.ndarray, table: ScoreTable, scores: str | Path, **choice: Any) -> Kept:
        """Ids chosen from a score table.

        Args:
            ids: that stay.
            table: the table.
            scores: its file, whose hash is noted.
            choice: how they were chosen: `score`, `rule`, `keep`, and what more there is to say.
        """
        about = {
            "fingerprint": table.provenance.get("fingerprint"),
            "source": table.provenance.get("source"),
            **choice,
            "n_from": len(table),
            "scores_sha256": hashlib.sha256(Path(scores).read_bytes()).hexdigest(),
        }
        return cls(ids, about)

    def write(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write as Parquet, one column `id` with what is known in the file's metadata; else as text.

        A name that does not end in `.parquet` gives a text file with one id a line, after a comment that says which
        data they are of.

        Args:
            path: of the file.
            overwrite: whether a file of another content is replaced.

        Raises:
            BadInputError: the file cannot be written, or another is there.
        """
        ids = np.asarray(self.ids, dtype=np.int64)
        with new_file(path, "kept file", overwrite=overwrite) as temporary:
            if Path(path).suffix == ".parquet":
                _KIND.write(temporary, {"id": ids}, self.about)
            else:
                known = self.about.get("fingerprint")
                lines = [f"{_HEAD}{known}"] if known is not None else []
                lines += map(str, ids.tolist())
                temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> Kept:
        """Read a kept file: Parquet with a column `id`, or a text file with one id a line and comments after `#`.

        Raises:
            BadInputError: missing, unreadable, damaged, or without ids; ids that are no whole numbers, or stand twice.
        """
        path = Path(path)
        if not path.is_file():
            raise BadInputError(f"There is no kept file at {str(path)!r}.")
        if path.suffix != ".parquet":
            return cls._of_text(path)
        columns, facts = _KIND.read(path)
        about = {name: value for name, value in (facts or {}).items() if name != "format"}
        try:
            if "id" not in columns:
                raise BadInputError("it has no column 'id'.")
            return cls(_whole_ids(columns["id"]), require(about, _About, "its metadata"))
        except BadInputError as error:
            raise BadInputError(f"The kept file {str(path)!r} cannot be used: {error}") from error

    @classmethod
    def _of_text(cls, path: Path) -> Kept:
        about: dict[str, Any] = {}
        ids = []
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise BadInputError(f"The kept file {str(path)!r} is no text in UTF-8: {error}.") from error
        for number, line in enumerate(lines, start=1):
            if line.startswith(_HEAD):
                about["fingerprint"] = line.removeprefix(_HEAD).strip()
            for word in line.partition("#")[0].split():
                if (found := _WHOLE.fullmatch(word)) is None:
                    raise BadInputError(
                        f"The kept file {str(path)!r} must hold one whole number a line: line {number} holds "
                        f"{shown(word)}."
                    )
                ids.append(int(found[1]))
        try:
            return cls(
                _whole_ids(np.array(ids, dtype=object if max(ids, default=0) >= 2**63 else np.int64)), about
            )
        except BadInputError as error:
            raise BadInputError(f"The kept file {str(path)!r} cannot be used: {error}") from error

    @property
    def unchecked(self) -> str | None:
        """The sentence to say where nothing tells which data the ids are of; else None."""
        if self.about.get("fingerprint") is not None:
            return None
        return "Nothing tells whether the kept ids belong to this data: they name no data."

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


def _whole_ids(values: np.ndarray) -> np.ndarray:
    """Ids as they stand in a file, sorted int64.

    Raises:
        BadInputError: none, one that is no whole number from 0 on, or one that stands twice.
    """
    if len(values) == 0:
        raise BadInputError("it holds no ids.")
    plain = values.dtype.kind in "iuf"
    fits = np.zeros(len(values), bool)
    if plain:
        fits = np.isfinite(values) & (values >= 0) & (values < 2**63) & (np.floor(values) == values)
    if not fits.all():
        first = int(np.argmin(fits))
        raise BadInputError(
            f"{shown(values[first])} in row {first} is no id; ids are whole numbers from 0 on, below 2**63."
        )
    ids = np.sort(values.astype(np.int64))
    if (repeated := ids[1:][ids[1:] == ids[:-1]]).size:
        raise BadInputError(f"the id {repeated[0]} stands more than once; name each once.")
    return ids


@dataclass(frozen=True)
class KeepChoice:
    """What stays of a score table, with what it means for groups.

    Args:
        kept: the ids, and where they come from.
        shares: grouping -> a row a group: how many there are, how many stay.
        notes: what was found of the groups, sentences for people.
    """

    kept: Kept
    shares: dict[str, list[dict[str, Any]]]
    notes: list[str]


@with_options()
def keep_from(scores: str | Path, **options: Unpack[KeepOptions]) -> KeepChoice:
    """Choose what stays of a score table in a file, with the columns of its data as groups.

    Args:
        scores: the file of the score table.

    Raises:
        BadInputError: as for `keep`; or other data than the table's.
    """
    embeddings, out = options["embeddings"], options["out"]
    check_out(options, inputs_of(options, files=[scores, embeddings]))
    table = ScoreTable.read(read_results(scores))
    if out is not None:
        refuse_reads([usable_name(out)], sources=data_of(table, read=bool(options["groups"])))
        check_file(usable_name(out), "kept file", overwrite=options["overwrite"])
    by, rule, fraction, columns = options["by"], options["rule"], options["keep"], options["groups"]
    told: dict[str, Any] = {"balance": options["balance"], "floor": options["floor"]}
    more, source = options["rule_options"] or {}, options["source"]
    display = options["display"] or ProgressDisplay(enabled=False)
    needed = columns or source is not None
    examples = data_of_table(table, source, options["load_options"], display) if needed else None
    chosen = keep_chosen(
        table,
        fraction,
        by=weights(by) if isinstance(by, str) else by,
        rule=rule,
        per_class=options["per_class"],
        allow_empty_class=options["allow_empty_class"],
        seed=options["seed"],
        embeddings=embeddings,
        **subset_forms(examples, columns, **told, ids=table.ids),
        **more,
    )
    ids = chosen.ids
    groupings = groupings_for_table(table, examples, columns)
    if chosen.by_floor:
        display.say(str(chosen.named(table.class_names)))
    told["group"] = columns
    auto = auto_for(table, fraction) if rule == "auto" else None
    choice = {
        "score": by or default_score(table, rule if auto is None else auto.rule),
        "rule": rule,
        "keep": fraction,
        "options": {**more, **{name: value for name, value in told.items() if value}},
        "seed": options["seed"],
    }
    kept = Kept.of_table(ids, table, scores, **choice)
    if auto is not None:
        kept = replace(kept, about={**kept.about, "auto": f"auto took {auto.rule}: {auto.reason}"})
    shares = {grouping.name: kept_shares(grouping, table.ids, [ids]) for grouping in groupings}
    say_notes(groupings, display)
    if out is not None:
        kept.write(usable_name(out), overwrite=options["overwrite"])
    return KeepChoice(kept, shares, [note for found in groupings for note in found.notes])
