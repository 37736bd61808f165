"""One door to every rule: splits the input into groups where asked, and holds the rule to the exact size."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.errors import RunFailedError
from datadiet.selection.auto import explain_auto
from datadiet.selection.checks import check_forms, check_options, sorted_pool
from datadiet.selection.groups import fill_over_floors, floors, group_quotas
from datadiet.selection.pool import Pool
from datadiet.selection.registry import RuleCard, rule_card, rule_function
from datadiet.selection.sizes import kept_size

Rows = npt.NDArray[np.int64]


def select(
    ids: npt.ArrayLike,
    hardness: npt.ArrayLike | None,
    keep: float | int,
    *,
    rule: str = "hardest",
    labels: npt.ArrayLike | None = None,
    per_class: bool = False,
    balance: str | None = None,
    floor: int | float | None = None,
    groups: npt.ArrayLike | None = None,
    allow_empty_class: bool = False,
    seed: int = 0,
    embeddings: npt.ArrayLike | None = None,
    extra: Mapping[str, npt.ArrayLike] | None = None,
    **options: Any,
) -> npt.NDArray[np.int64]:
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
        allow_empty_class: with `per_class` or `balance`, let a class end up empty instead of refusing.
        seed: of everything random; every rule and every class has a stream of its own.
        embeddings: shape (n, dimensions), for the rules that need them.
        extra: further columns by name, each of n rows, for the rules that need the trace.
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
    card = rule_card(rule)
    check_forms(per_class=per_class, balance=balance, floor=floor, labels=labels, groups=groups)
    pool, classes, parts = sorted_pool(card, ids, hardness, labels, groups, embeddings, extra)
    size = kept_size(len(pool), keep)
    if rule == "auto":
        # Decided once for the whole, not class by class, so that all classes are cut by one rule.
        choice = explain_auto(len(pool), size, 1 if classes is None else len(classes.names))
        card, options = rule_card(choice.rule), {**choice.options, **options}
    check_options(card, options)

    def apply(rows: Rows, quota: int, stream: int) -> Rows:
        part = pool if len(rows) == len(pool) else pool.take(rows)
        return rows[_apply_rule(card, part, quota, np.random.default_rng([seed, stream, tag]), options)]

    tag = zlib.crc32(card.name.encode())
    if per_class or balance is not None:
        split = parts if balance == "group" else classes
        assert split is not None  # check_forms has seen to it
        quotas = group_quotas(split, size, equal=not per_class, floor=floor, allow_empty=allow_empty_class)
        rows = split.rows()
        kept = [
            apply(rows[group], int(quotas[group]), 1 + group) for group in np.flatnonzero(quotas).tolist()
        ]
        return np.sort(pool.ids[np.concatenate(kept)])
    if floor is not None:
        split = classes if parts is None else parts
        assert split is not None
        return np.sort(pool.ids[fill_over_floors(apply, split, size, floors(split, floor, size))])
    return np.sort(pool.ids[apply(np.arange(len(pool)), size, 0)])


def _apply_rule(
    card: RuleCard, pool: Pool, size: int, generator: np.random.Generator, options: Mapping[str, Any]
) -> Rows:
    """The rows that the rule lets stay, checked: `size` of them, each once."""
    if size == 0:
        return np.empty(0, dtype=np.int64)
    rows = np.asarray(rule_function(card.name)(pool, size, generator, **options))
    marked = np.zeros(len(pool), dtype=bool)
    marked[rows] = True
    if len(rows) != size or np.count_nonzero(marked) != size:
        raise RunFailedError(
            f"Rule {card.name!r} returned {len(rows)} rows, {np.count_nonzero(marked)} of them "
            f"distinct, where {size} "
            f"of {len(pool)} were asked for: the rule is wrong, not the input."
        )
    return rows
