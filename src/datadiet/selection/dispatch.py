"""`select`, which calls every rule: what it refuses, quotas of classes and groups, exact sizes, and the rule `auto`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datadiet.foundation.errors import BadInputError, RunFailedError
from datadiet.foundation.parsing import require
from datadiet.selection.registry import Pool, RuleCard, option_types, rule_card, rule_cards, selection_rule
from datadiet.selection.sizes import (
    Groups,
    Rows,
    class_floors,
    fill_over_floors,
    floors,
    group_quotas,
    kept_size,
    swap_for_floors,
)

# Our choice, from our own measurements (docs/selection.md): equal draws from all strata are nowhere shown to lose to
# random or to another untuned rule of the same score until too few of a class stay to fill them; texts of a bag of
# n-grams gain by no rule.
LITTLE_KEPT = 0.2
LITTLE_KEPT_PER_CLASS = 200


@dataclass(frozen=True)
class AutoChoice:
    """The rule that `auto` uses, and why.

    Args:
        rule: its name.
        facts: how much stays, in words; "" where all does.
        why: the rest of the sentence.
    """

    rule: str
    facts: str
    why: str

    @property
    def reason(self) -> str:
        """One sentence."""
        return f"{self.facts}: {self.why}." if self.facts else f"{self.why}."


def explain_auto(n: int, keep: float | int, num_classes: int = 1, kind: str | None = None) -> AutoChoice:
    """The rule that `auto` chooses for `n` examples, and why.

    `stratified`, which keeps easy and hard alike, and `random` where no rule was shown to beat it: of texts, and where
    so little stays that strata cannot be filled. The limits are our reading of our own measurements, not a law.

    Args:
        n: number of examples.
        keep: fraction that stays, or an int count.
        num_classes: number of classes; 1 where unknown.
        kind: of the data: "image", "vector", "text"; None where unknown.

    Raises:
        BadInputError: keep is no fraction in (0, 1] or count in [1, n].

    Example:
        >>> print(explain_auto(5_000, 0.3, 5).reason)
        30 % stays, 300 examples a class: easy and hard alike stay, as no other use of the score was shown to do better.
        >>> print(explain_auto(5_000, 0.3, 5, "text").reason)
        30 % stays, 300 examples a class: of texts no rule was shown to beat random, which needs no scores: take random.
    """
    size = kept_size(n, keep)
    fraction, a_class = size / n, size / max(1, num_classes)
    facts = f"{100 * fraction:.3g} % stays, {a_class:.4g} examples a class"
    if size == n:
        return AutoChoice("stratified", "", "Everything stays, whatever the rule")
    if kind == "text":
        rule, why = "random", "of texts no rule was shown to beat random, which needs no scores: take random"
    elif fraction < LITTLE_KEPT and a_class < LITTLE_KEPT_PER_CLASS:
        rule, why = (
            "random",
            "with so few, no rule was shown to beat random, which needs no scores: take random",
        )
    else:
        rule, why = (
            "stratified",
            "easy and hard alike stay, as no other use of the score was shown to do better",
        )
    return AutoChoice(rule, facts, why)


@selection_rule(
    "auto",
    when="You do not want to choose: stratified, or random where no rule was shown to beat it.",
    fails="Its limits come from a few data sets with clean labels; with much label noise, tune a window instead.",
    source="our choice, from our own measurements",
)
def auto(pool: Pool, size: int, generator: np.random.Generator) -> Rows:
    """The rule that `explain_auto` names."""
    classes = 1 if pool.labels is None else len(np.unique(pool.labels))
    return rule_card(explain_auto(len(pool), size, classes).rule).function(pool, size, generator)


@dataclass(frozen=True)
class Chosen:
    """What a rule chose.

    Args:
        ids: that stay, int64, sorted.
        by_floor: class -> how many of its examples stay although the rule by itself would not have kept them; only of
            those classes, in the order of their names.
    """

    ids: Rows
    by_floor: Mapping[Any, int]

    def named(self, names: Sequence[str]) -> Chosen:
        """The same with the names of classes that are numbers."""
        known: dict[Any, str] = dict(enumerate(names))
        return replace(self, by_floor={known.get(name, name): count for name, count in self.by_floor.items()})

    def __str__(self) -> str:
        classes, total = list(self.by_floor), sum(self.by_floor.values())
        if not classes:
            return ""
        names = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
        of = "1 class" if len(classes) == 1 else f"{len(classes)} classes"
        stay = "1 example" if total == 1 else f"{total:,} examples"
        return f"{stay} of {of} ({names}) stay{'s' if total == 1 else ''} because no class is to be lost."


def select(
    ids: ArrayLike,
    hardness: ArrayLike | None,
    keep: float | int,
    *,
    rule: str = "hardest",
    labels: ArrayLike | None = None,
    per_class: bool = False,
    balance: str | None = None,
    floor: int | float | None = None,
    groups: ArrayLike | None = None,
    keep_classes: bool = False,
    allow_empty_class: bool = False,
    seed: int = 0,
    embeddings: ArrayLike | None = None,
    extra: Mapping[str, ArrayLike] | None = None,
    **options: Any,
) -> Rows:
    """Ids that stay: exactly `kept_size(n, keep)` of them, sorted.

    The order of the rows does not matter, only the ids do: from hardest to easiest, a tie goes to the lower
    id, and what is drawn at random is drawn over the sorted ids.

    Args:
        ids: integers, shape (n,), each once.
        hardness: shape (n,), higher = harder; infinities are allowed (an example never learnt). None for
            rules that need no scores.
        keep: fraction that stays, in (0, 1], or an int count.
        rule: name of a rule, see `rule_cards`.
        labels: class of each example, shape (n,), ints or strings.
        per_class: apply the rule within each class, each with the same fraction (largest remainder).
        balance: "class" (or "group") for equal counts a class (or group); what a small one lacks, the others
            give.
        floor: fewest examples to stay of each group (of each class where no groups are given): an int count,
            or a float fraction of the group.
        groups: group of each example, shape (n,), ints or strings.
        keep_classes: let no class vanish: each keeps at least 5 examples, or its share where that is fewer, chosen by
            the rule among its own; what it takes comes from the others.
        allow_empty_class: with `per_class` or `balance`, let a class end up empty instead of refusing.
        seed: of everything random; every rule and every class has a stream of its own.
        embeddings: shape (n, dimensions), for the rules that need them.
        extra: further columns by name, each of n rows, for the rules that need the trace; and the score that an
            option such as `drop_by` names, higher = harder.
        options: of the rule, see its card.

    Returns:
        int64, sorted, shape (kept_size(n, keep),).

    Raises:
        BadInputError: what is wrong with the input, and where.

    Example:
        >>> select([10, 11, 12, 13], [0.1, 0.9, 0.5, 0.5], 0.5).tolist()
        [11, 12]
        >>> select([10, 11, 12, 13], [0.1, 0.9, 0.5, 0.6], 0.5, labels=list("aabb"), per_class=True).tolist()
        [11, 13]
        >>> select([10, 11, 12, 13], [0.1, 0.9, 0.5, 0.5], 0.5, rule="window", start=0.25).tolist()
        [12, 13]
    """
    return choose(
        ids,
        hardness,
        keep,
        rule=rule,
        labels=labels,
        per_class=per_class,
        balance=balance,
        floor=floor,
        groups=groups,
        keep_classes=keep_classes,
        allow_empty_class=allow_empty_class,
        seed=seed,
        embeddings=embeddings,
        extra=extra,
        **options,
    ).ids


def choose(
    ids: ArrayLike,
    hardness: ArrayLike | None,
    keep: float | int,
    *,
    rule: str = "hardest",
    labels: ArrayLike | None = None,
    per_class: bool = False,
    balance: str | None = None,
    floor: int | float | None = None,
    groups: ArrayLike | None = None,
    keep_classes: bool = False,
    allow_empty_class: bool = False,
    seed: int = 0,
    embeddings: ArrayLike | None = None,
    extra: Mapping[str, ArrayLike] | None = None,
    **options: Any,
) -> Chosen:
    """What `select` returns, and what stays only because no class is to be lost; arguments as for `select`.

    Example:
        >>> chosen = choose(range(6), [6, 5, 4, 3, 2, 1], 0.5, labels=list("aaaabb"), keep_classes=True)
        >>> chosen.ids.tolist(), dict(chosen.by_floor)
        ([0, 1, 4], {'b': 1})
    """
    card = rule_card(rule)
    _check_quotas(per_class, balance, floor, labels, groups, keep_classes)
    pool, classes, parts = _sorted_pool(card, ids, hardness, labels, groups, embeddings, extra, options)
    size = kept_size(len(pool), keep)
    require(floor, int | float | None, "floor")
    for name, kind in option_types(card).items():
        if name in options:
            require(options[name], kind, name)
    if unknown := sorted(set(options) - set(card.options)):
        takes = f"it takes {', '.join(sorted(card.options))}" if card.options else "it takes none"
        of = [one.name for one in rule_cards() if unknown[0] in one.options]
        raise BadInputError(
            f"Rule {card.name!r} has no option {unknown[0]!r}: {takes}."
            + (f" It is an option of {' and of '.join(of)}: name that rule." if of else "")
        )
    if rule == "auto":
        # Decided once for the whole, not class by class, so that all classes are cut by one rule.
        card = rule_card(explain_auto(len(pool), size, 1 if classes is None else len(classes.names)).rule)
    tag = zlib.crc32(card.name.encode())

    def apply(among: Rows, quota: int, stream: int) -> Rows:
        """The rows that the rule lets stay among some, checked: as many as asked for, each once."""
        if quota == 0:
            return np.empty(0, dtype=np.int64)
        part = pool if len(among) == len(pool) else pool.take(among)
        rows = np.asarray(card.function(part, quota, np.random.default_rng([seed, stream, tag]), **options))
        marked = np.zeros(len(part), dtype=bool)
        marked[rows] = True
        if len(rows) != quota or np.count_nonzero(marked) != quota:
            raise RunFailedError(
                f"Rule {card.name!r} returned {len(rows)} rows, {np.count_nonzero(marked)} of them distinct, where "
                f"{quota} of {len(part)} were asked for: the rule is wrong, not the input."
            )
        return among[rows]

    split = parts if balance == "group" or (floor is not None and parts is not None) else classes
    least = None if floor is None or split is None else floors(split, floor, size)
    own = class_floors(classes, size) if keep_classes and classes is not None else None
    if own is not None and split is classes:
        least = own if least is None else np.maximum(least, 1)
    lacked: Rows | None = None
    if per_class or balance is not None:
        assert split is not None  # _check_quotas has seen to it
        quotas = group_quotas(
            split, size, equal=not per_class, least=least, allow_empty=allow_empty_class or own is not None
        )
        rows = split.rows()
        kept = np.concatenate(
            [apply(rows[group], int(quotas[group]), 1 + group) for group in np.flatnonzero(quotas).tolist()]
        )
        if split is classes and own is not None and floor is None:
            plain = group_quotas(split, size, equal=not per_class, least=None, allow_empty=True)
            lacked = np.maximum(quotas - plain, 0)
    elif least is not None:
        assert split is not None
        kept, lacked = fill_over_floors(apply, split, size, least)
    else:
        kept = apply(np.arange(len(pool)), size, 0)
    if own is not None and split is not classes:
        assert classes is not None and parts is not None
        kept, lacked = swap_for_floors(apply, kept, classes, parts, own)
    by_floor: dict[Any, int] = {}
    if own is not None and lacked is not None and (floor is None or split is not classes):
        assert classes is not None
        by_floor = {name: int(n) for name, n in zip(classes.names.tolist(), lacked, strict=True) if n}
    return Chosen(np.sort(pool.ids[kept]), by_floor)


def _check_quotas(
    per_class: bool,
    balance: str | None,
    floor: float | None,
    labels: object,
    groups: object,
    keep_classes: bool = False,
) -> None:
    """Refuse quotas that contradict each other or lack their labels or groups."""
    if balance not in (None, "class", "group"):
        raise BadInputError(f"balance is {balance!r}: give 'class', 'group' or None.")
    if per_class and balance is not None:
        raise BadInputError(
            f"per_class keeps the same fraction of every class and balance={balance!r} equal counts: choose one."
        )
    if (per_class or balance == "class") and labels is None:
        raise BadInputError(
            f"{'per_class' if per_class else 'balance=class'} needs the class of every example: pass labels."
        )
    if keep_classes and labels is None:
        raise BadInputError("keep_classes needs the class of every example: pass labels.")
    if balance == "group" and groups is None:
        raise BadInputError("balance='group' needs the group of every example: pass groups.")
    if floor is not None and labels is None and groups is None:
        raise BadInputError(
            "floor needs to know the group of every example: pass groups, or labels for classes."
        )
    if floor is not None and groups is not None and (per_class or balance == "class"):
        raise BadInputError(
            "A floor for groups and quotas for classes cut the examples in two ways at once: "
            "drop per_class and balance, or use balance='group'."
        )


def _sorted_pool(
    card: RuleCard,
    ids: ArrayLike,
    hardness: ArrayLike | None,
    labels: ArrayLike | None,
    groups: ArrayLike | None,
    embeddings: ArrayLike | None,
    extra: Mapping[str, ArrayLike] | None,
    options: Mapping[str, Any],
) -> tuple[Pool, Groups | None, Groups | None]:
    """Everything the rule needs, in the order of the ids, with the classes and the groups.

    What the card does not ask for is neither checked nor carried.

    Raises:
        BadInputError: ids that are no integers or come twice, a column with the wrong number of rows, NaN, or
            a missing column that the rule needs.
    """
    given_ids = np.asarray(ids)
    if given_ids.ndim != 1:
        raise BadInputError(f"ids have shape {given_ids.shape}: give one id an example.")
    if given_ids.size == 0:
        raise BadInputError("There are no examples to select from.")
    if given_ids.dtype.kind not in "iu":
        raise BadInputError(
            f"ids are of type {given_ids.dtype}: give integers, for other numbers round large ids."
        )
    given_ids = given_ids.astype(np.int64, copy=False)
    n = len(given_ids)
    in_order = bool((given_ids[1:] > given_ids[:-1]).all())
    order = slice(None) if in_order else np.argsort(given_ids, kind="stable")
    sorted_ids = given_ids[order]
    if not in_order and (twice := np.unique(sorted_ids[1:][sorted_ids[1:] == sorted_ids[:-1]])).size:
        raise BadInputError(
            f"{len(twice)} ids come more than once ({_first_ids(twice)}): give each example one row."
        )

    def column(name: str, values: ArrayLike, flat: bool = True) -> NDArray[Any]:
        array = np.asarray(values)
        if array.ndim < 1 or len(array) != n:
            rows = "no rows" if array.ndim < 1 else f"{len(array)} rows"
            raise BadInputError(f"There are {n} ids, but {name} has {rows}: give one row an example.")
        if flat and array.ndim != 1:
            raise BadInputError(f"{name} has shape {array.shape}: give one value an example.")
        return array[order]

    def numbers(values: NDArray[Any], name: str, finite: bool = False) -> NDArray[Any]:
        """Floating numbers that compare exactly; NaN (or not finite) is refused with its ids."""
        if values.dtype.kind not in "fiub":
            raise BadInputError(f"{name} is of type {values.dtype}: give real numbers.")
        wide = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
        bad = ~np.isfinite(wide) if finite else np.isnan(wide)
        rows = bad if bad.ndim == 1 else bad.reshape(n, -1).any(axis=1)
        if rows.any():
            raise BadInputError(
                f"{name} is {'NaN or infinite' if finite else 'NaN'} for {int(rows.sum())} examples "
                f"(ids {_first_ids(sorted_ids[rows])}): leave them out or score them."
            )
        return wide

    classes = None if labels is None else Groups.of(column("labels", labels), "class")
    parts = None if groups is None else Groups.of(column("groups", groups), "group")
    for need, values, what in (
        ("labels", labels, "the class of every example"),
        ("scores", hardness, "the hardness of every example"),
        ("embeddings", embeddings, "an array of shape (n, dimensions)"),
    ):
        if need in card.needs and values is None:
            raise BadInputError(f"Rule {card.name!r} needs {need}: pass {what}.")
    scores = vectors = None
    if hardness is not None and "scores" in card.needs:
        scores = numbers(column("hardness", hardness), "hardness")
    if embeddings is not None and "embeddings" in card.needs:
        vectors = column("embeddings", embeddings, flat=False)
        if vectors.ndim != 2 or vectors.shape[1] == 0:
            raise BadInputError(f"embeddings have shape {vectors.shape}: give (examples, dimensions).")
        vectors = numbers(vectors, "embeddings", finite=True)
    further = {}
    for name in (*card.extra, *card.scores_named_in(options)):
        if extra is None or name not in extra:
            raise BadInputError(
                f"Rule {card.name!r} needs {name!r} of every example: pass extra={{{name!r}: ...}}."
            )
        further[name] = numbers(column(name, extra[name], flat=False), name)
    pool = Pool(sorted_ids, scores, None if classes is None else classes.codes, vectors, further)
    return pool, classes, parts


def _first_ids(ids: NDArray[np.int64]) -> str:
    return ", ".join(str(i) for i in ids[:5].tolist()) + (", ..." if len(ids) > 5 else "")
