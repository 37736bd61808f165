"""Any columns of the source, turned into groups of the train and the test examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datadiet.data import Examples, Part
from datadiet.data.arrow import one_array, rows_at
from datadiet.data.columns.roles import require_column
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.progress import ProgressDisplay
from datadiet.scores import ScoreTable

CLASS = "class"
MISSING = "(missing)"
CROSS = " × "
MOST_GROUPS = 200
MOST_NUMBERS = 50  # more distinct numbers than this are a measurement, not a name of a group

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Grouping:
    """One way to divide the examples: each belongs to one group.

    Args:
        name: the column, columns joined by " × ", or "class".
        names: the groups, numbers by size, words by the alphabet, what is missing last.
        train: group of each train example, shape (n_train,).
        test: group of each test example, shape (n_test,); None when the test part has no such column.
        notes: sentences for the user.

    Example:
        >>> site = Grouping("site", ("east", "west"), np.array([0, 1, 1]), np.array([1]))
        >>> site.train_groups().tolist()
        ['east', 'west', 'west']
    """

    name: str
    names: tuple[str, ...]
    train: IntArray
    test: IntArray | None
    notes: tuple[str, ...] = ()

    def train_groups(self) -> npt.NDArray[Any]:
        """Name of each train example's group, as `select` takes them: shape (n_train,), strings."""
        return np.array(self.names, dtype=object).astype(str)[self.train]

    def on_test_rows(self, rows: npt.NDArray[np.bool_]) -> Grouping:
        """The same grouping of some of the test examples, bool (n_test,)."""
        return replace(self, test=None if self.test is None else self.test[rows])


def groupings_of(examples: Examples, columns: Sequence[str] = ()) -> list[Grouping]:
    """The classes, and after them the groups of the columns asked for, each grouping once.

    Where the task has no classes, all examples being of one, there are the columns alone.

    Args:
        examples: the data.
        columns: as for `groups_of`.

    Raises:
        BadInputError: as `groups_of`.
    """
    found = groups_of(examples, columns)
    if examples.task == "classification" or examples.num_classes > 1:
        found.insert(0, class_grouping(examples))
    return list({grouping.name: grouping for grouping in found}.values())


def groups_of(examples: Examples, columns: Sequence[str]) -> list[Grouping]:
    """The groups of any columns of the source, for both parts.

    Args:
        examples: the data.
        columns: names of columns, each a grouping by itself; "a+b" divides by both at once. A missing value
            is in the group "(missing)". The label column gives the classes.

    Raises:
        BadInputError: no such column; one that holds no names (lists, images); too many groups.

    Example:
        >>> import datasets
        >>> from datadiet.data import load
        >>> rows = {"text": list("abcdefgh"), "label": [0, 1] * 4, "site": ["east"] * 3 + ["west"] * 4 + [None]}
        >>> site = groups_of(load(datasets.Dataset.from_dict(rows)), ["site"])[0]
        >>> site.names
        ('east', 'west', '(missing)')
    """
    there = examples.train.dataset.column_names
    found: dict[str, Grouping] = {}
    for wanted in columns:
        parts = [wanted] if wanted in there else [name.strip() for name in wanted.split("+")]
        for name in parts:
            require_column(name, there, "the train part")
        single = [_column_grouping(examples, name) for name in dict.fromkeys(parts)]
        grouping = single[0] if len(single) == 1 else _crossed(single)
        found.setdefault(grouping.name, grouping)
    return list(found.values())


def groupings_for_table(
    table: ScoreTable, examples: Examples | None = None, columns: Sequence[str] = ()
) -> list[Grouping]:
    """The classes of a score table, and the groups of columns of its data: `train` follows the table's rows.

    Args:
        table: scores.
        examples: the data; may be None where there are no columns.
        columns: as for `groups_of`.

    Raises:
        BadInputError: as `groups_of`; the table has ids that are not in the data.

    Example:
        >>> from datadiet.scores import ScoreTable
        >>> table = ScoreTable.from_seeds([3, 5], [1, 0], [{"el2n": [0.1, 0.2]}], class_names=("cat", "dog"))
        >>> groupings_for_table(table)[0].train_groups().tolist()
        ['dog', 'cat']
    """
    present, codes = np.unique(table.labels, return_inverse=True)
    known = table.class_names
    names = tuple(known[v] if 0 <= v < len(known) else str(v) for v in present.tolist())
    found = [Grouping(CLASS, names, codes.reshape(-1).astype(np.int64), None)]
    if columns:
        assert examples is not None
        positions = examples.train.positions_of(table.ids)
        found += [
            replace(grouping, train=grouping.train[positions]) for grouping in groups_of(examples, columns)
        ]
    return list({grouping.name: grouping for grouping in reversed(found)}.values())[::-1]


def say_notes(groupings: Sequence[Grouping], display: ProgressDisplay) -> None:
    """Say what was found of the groups."""
    for grouping in groupings:
        for note in grouping.notes:
            display.say(note)


def subset_forms(
    examples: Examples | None,
    columns: Sequence[str],
    balance: str | None,
    floor: int | float | None,
    ids: npt.ArrayLike | None = None,
) -> dict[str, Any]:
    """What `keep` and `select` are to be told of groups: `balance`, `floor`, `groups`; only what was asked for.

    Floors hold for the groups where columns are named, for the classes where none are.

    Args:
        examples: the data; only looked at where groups are needed.
        columns: as for `groups_of`.
        balance: "class", "group" or None.
        floor: a count, a float fraction, or None.
        ids: the examples, in the order in which `groups` is wanted; None for all of the train part.

    Raises:
        BadInputError: several groupings, or none, where one is needed.
    """
    forms: dict[str, Any] = {}
    if balance is not None:
        forms["balance"] = balance
    if floor is not None:
        forms["floor"] = floor
    if balance == "group" or (floor is not None and columns):
        groups = one_grouping(examples, columns).train_groups()
        assert (
            examples is not None
        )  # one_grouping refuses to go without columns, and columns come with their data
        forms["groups"] = groups if ids is None else groups[examples.train.positions_of(ids)]
    return forms


def one_grouping(examples: Examples | None, columns: Sequence[str]) -> Grouping:
    """The one grouping that a subset is balanced by, or that a floor holds for.

    Raises:
        BadInputError: there is none, or several.
    """
    if not columns:
        raise BadInputError("balance='group' needs a grouping; name a column with --group (groups=...).")
    assert examples is not None
    found = groups_of(examples, columns)
    if len(found) > 1:
        raise BadInputError(
            f"A subset can be balanced, or floors be held, by one grouping only, and {len(found)} are named; "
            f"name one column, or cross them: --group {'+'.join(columns)}."
        )
    return found[0]


def class_grouping(examples: Examples) -> Grouping:
    """The classes as a grouping; classes without any example are left out.

    Example:
        >>> from datadiet.data import load
        >>> class_grouping(load("digits")).names[:3]
        ('0', '1', '2')
    """
    train, test = examples.train.labels, examples.test.labels
    present = np.union1d(train, test)
    code = np.full(len(examples.class_names), -1, dtype=np.int64)
    code[present] = np.arange(len(present))
    names = tuple(examples.class_names[label] for label in present.tolist())
    return Grouping(CLASS, names, code[train], code[test])


def _column_grouping(examples: Examples, column: str) -> Grouping:
    if column == examples.label_column:
        return class_grouping(examples)
    title = f"{CLASS} (column)" if column == CLASS else column
    in_test = column in examples.test.dataset.column_names
    parts = [_values(part, column) for part in (examples.train, *([examples.test] if in_test else ()))]
    names, codes = _named(parts)
    _check_number(names, column)
    if in_test:
        return Grouping(title, names, codes[0], codes[1])
    note = (
        f"The test part has no column '{column}': for its groups there are shares that stay, no accuracies."
    )
    return Grouping(title, names, codes[0], None, (note,))


def _values(part: Part, column: str) -> tuple[list[Any], IntArray]:
    """The distinct values of a column, and for each row which of them it has."""
    array = one_array(rows_at(part.dataset, [column], slice(None)), column)
    feature = part.dataset.features[column]
    kind = array.type
    if pa.types.is_dictionary(kind):
        array, kind = array.cast(kind.value_type), kind.value_type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise BadInputError(
            f"The column '{column}' holds {kind} and cannot name groups; name one of words, whole numbers or dates."
        )
    encoded = array.dictionary_encode(null_encoding="encode")
    distinct = encoded.dictionary
    if len(distinct) > MOST_GROUPS and not pa.types.is_floating(kind):
        numbers = pa.types.is_integer(kind) or pa.types.is_decimal(kind)
        raise _too_many(len(distinct), column, numbers)
    names = getattr(feature, "names", None)
    values = [_plain(value, names) for value in distinct.to_pylist()]
    return values, np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _plain(value: Any, names: Sequence[str] | None) -> Any:
    """A value as a number, a text, or None where it is missing; class numbers as their names."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(f"{value:.7g}")
    return value if isinstance(value, int) else str(value)


def _named(parts: Sequence[tuple[list[Any], IntArray]]) -> tuple[tuple[str, ...], list[IntArray]]:
    """The names of all values of all parts, in order, and each row's place among them."""
    values = [value for distinct, _ in parts for value in distinct]
    by_name: dict[str, Any] = {}
    for value in values:
        if value is not None:
            by_name.setdefault(str(value), value)
    numbers = all(isinstance(value, int | float) for value in by_name.values())
    names = sorted(by_name, key=by_name.__getitem__ if numbers else str)
    if None in values and MISSING not in by_name:
        names.append(MISSING)
    place = {name: index for index, name in enumerate(names)}
    codes = []
    for distinct, rows in parts:
        of_value = [place[MISSING if value is None else str(value)] for value in distinct]
        codes.append(np.array(of_value, dtype=np.int64)[rows])
    return tuple(names), codes


def _crossed(single: Sequence[Grouping]) -> Grouping:
    """Every combination of groups that some example has."""
    parts = ["train"] if any(grouping.test is None for grouping in single) else ["train", "test"]
    combined = [np.stack([getattr(grouping, part) for grouping in single]) for part in parts]
    found, codes = np.unique(np.concatenate(combined, axis=1), axis=1, return_inverse=True)
    name = CROSS.join(grouping.name for grouping in single)
    names = tuple(
        CROSS.join(grouping.names[code] for grouping, code in zip(single, column, strict=True))
        for column in found.T.tolist()
    )
    _check_number(names, name)
    codes = codes.reshape(-1).astype(np.int64)
    split = combined[0].shape[1]
    notes = tuple(note for grouping in single for note in grouping.notes)
    return Grouping(name, names, codes[:split], codes[split:] if len(parts) == 2 else None, notes)


def _check_number(names: Sequence[str], column: str) -> None:
    numbers = all(_reads_as_number(name) for name in names if name != MISSING)
    if len(names) > (MOST_NUMBERS if numbers else MOST_GROUPS):
        raise _too_many(len(names), column, numbers)


def _reads_as_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _too_many(count: int, column: str, numbers: bool) -> BadInputError:
    if numbers:
        return BadInputError(
            f"The column '{column}' holds {count} different numbers, too many to be groups (at most "
            f"{MOST_NUMBERS}); add a column of ranges to the data, such as 0-17, 18-64, 65+, and name that one."
        )
    return BadInputError(
        f"The column '{column}' makes {count} groups, and at most {MOST_GROUPS} can be compared; name a coarser "
        "column."
    )
