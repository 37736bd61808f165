"""Targets beside classes while rows are being checked: read first, and settled when the good rows are known."""

from __future__ import annotations

from collections.abc import Sequence

from datadiet.data.draft import DraftRows
from datadiet.data.label_sets import EVERYTHING, classes_of_label_sets, read_label_sets, settle_label_sets
from datadiet.data.number_labels import classes_of_numbers, read_numbers
from datadiet.data.roles import Roles
from datadiet.data.tag_rows import read_tags, settle_tags


class Targets:
    """The targets of the drafts of a task: reads them and notes the bad rows at once.

    Raises:
        BadInputError: the columns do not hold what the task needs.
    """

    def __init__(self, parts: Sequence[DraftRows], roles: Roles) -> None:
        self.parts = parts
        self.roles = roles
        self._fixed_tags: tuple[str, ...] | None = None
        self._fixed_labels = False
        if roles.tags is not None:
            self._fixed_tags = read_tags(parts, roles)
        elif roles.task == "multilabel":
            self._fixed_labels = read_label_sets(parts, roles.label)
        elif roles.task == "regression":
            read_numbers(parts, roles.label)

    def settle(self, notes: list[str]) -> None:
        """Number what the good training rows have, and note test rows that have something else."""
        if self.roles.tags is not None:
            settle_tags(self.parts, self.roles, self._fixed_tags, notes)
        elif self.roles.task == "multilabel":
            settle_label_sets(self.parts, self.roles.label, self._fixed_labels)

    def classes(self) -> tuple[str, ...]:
        """Classes for quotas, held-out parts and tables, where the label column does not hold any."""
        if self.roles.task == "multilabel":
            return classes_of_label_sets(self.parts)
        if self.roles.task == "regression":
            return classes_of_numbers(self.parts, self.roles.label)
        return (EVERYTHING,)

    def output_names(self) -> tuple[str, ...]:
        """What a model puts out, where that is not the classes."""
        if self.roles.task == "regression":
            return (self.roles.label,)
        targets = self.parts[0].targets
        return targets.names if self.roles.task == "multilabel" and targets is not None else ()
