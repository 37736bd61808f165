"""What people decided about suspected examples: the file that the review page gives, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.foundation.atomic import write_json
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.example_keys import PartName, key_of, part_and_id
from datadiet.foundation.parsing import parse_json

FORMAT = "datadiet-decisions"
VERSION = 1
CHOICES = ("keep", "drop", "relabel")


@dataclass(frozen=True)
class Decisions:
    """One decision an example.

    Args:
        choices: id -> "keep" (it stays with its label though it was suspected), "drop" (it leaves) or
            "relabel" (it stays with another label), of the train part.
        labels: id -> name of the other class, of those that are relabelled.
        class_names: the classes that could be chosen from.
        fingerprint: of the data; None when unknown.
        test_choices: as `choices`, of the test part, whose ids may be the same numbers.
        test_labels: as `labels`, of the test part.

    Raises:
        BadInputError: a choice that does not exist, or a relabelling to no class or an unknown one.

    Example:
        >>> decisions = Decisions({3: "drop", 8: "relabel"}, {8: "cat"}, ("cat", "dog"))
        >>> decisions.dropped.tolist(), decisions.new_classes(("dog", "cat"))
        ([3], {8: 1})
    """

    choices: Mapping[int, str]
    labels: Mapping[int, str] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    fingerprint: str | None = None
    test_choices: Mapping[int, str] = field(default_factory=dict)
    test_labels: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part, choices, labels in self._parts():
            for id_, choice in choices.items():
                key = key_of(part, id_)
                if choice not in CHOICES:
                    raise BadInputError(
                        f"Example {key} has the decision {choice!r}; there are {', '.join(CHOICES)}."
                    )
                if choice == "relabel" and id_ not in labels:
                    raise BadInputError(
                        f"Example {key} is to be relabelled, but without a label; name its class."
                    )
                if choice == "relabel" and self.class_names and labels[id_] not in self.class_names:
                    raise BadInputError(_unknown_class(key, labels[id_], self.class_names))

    def __len__(self) -> int:
        return len(self.choices) + len(self.test_choices)

    def of_test(self) -> Decisions:
        """The decisions on the test part alone, as if it were the train part.

        Example:
            >>> Decisions({3: "drop"}, test_choices={3: "keep"}).of_test().choices
            {3: 'keep'}
        """
        return Decisions(self.test_choices, self.test_labels, self.class_names, self.fingerprint)

    def _parts(self) -> list[tuple[PartName, Mapping[int, str], Mapping[int, str]]]:
        return [("train", self.choices, self.labels), ("test", self.test_choices, self.test_labels)]

    @property
    def dropped(self) -> np.ndarray:
        """Sorted int64 ids of the training examples that leave."""
        return self._chosen("drop")

    @property
    def relabelled(self) -> np.ndarray:
        """Sorted int64 ids of the training examples that get another label."""
        return self._chosen("relabel")

    @property
    def kept(self) -> np.ndarray:
        """Sorted int64 ids of the training examples that stay with their label though they were suspected."""
        return self._chosen("keep")

    def new_classes(self, class_names: Sequence[str]) -> dict[int, int]:
        """Id -> index of its new class in `class_names`, of the relabelled training examples.

        Raises:
            BadInputError: a label is no class of these.
        """
        places = {name: index for index, name in enumerate(class_names)}
        found: dict[int, int] = {}
        for id_ in self.relabelled.tolist():
            if self.labels[id_] not in places:
                raise BadInputError(_unknown_class(str(id_), self.labels[id_], class_names))
            found[id_] = places[self.labels[id_]]
        return found

    def check_data(self, fingerprint: str) -> None:
        """Refuse to be used with other data than they were made on.

        Raises:
            BadInputError: the fingerprint differs.
        """
        if self.fingerprint is not None and self.fingerprint != fingerprint:
            raise BadInputError(
                "These decisions were made on other data than is given here (the fingerprints differ); "
                "give the data that they belong to, loaded with the same options."
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as it stands in the file."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "class_names": list(self.class_names),
            "decisions": {
                key_of(part, id_): {"decision": choice}
                | ({"label": labels[id_]} if choice == "relabel" else {})
                for part, choices, labels in self._parts()
                for id_, choice in sorted(choices.items())
            },
        }

    def write(self, path: str | Path) -> None:
        """Write the file that `read` reads."""
        write_json(path, self.as_dict())

    @classmethod
    def read(cls, path: str | Path) -> Decisions:
        """Read the file that the review page gives.

        Raises:
            BadInputError: it is missing or no such file.
        """
        path = Path(path)
        if not path.is_file():
            raise BadInputError(f"There is no decisions file at {str(path)!r}.")
        try:
            return cls.from_dict(parse_json(path.read_text(encoding="utf-8"), "it"))
        except (OSError, ValueError) as error:
            reason = str(error).rstrip(".")
            raise BadInputError(f"The decisions file {str(path)!r} cannot be used: {reason}.") from error

    @classmethod
    def from_dict(cls, data: Any) -> Decisions:
        """Decisions from plain data.

        Raises:
            BadInputError: it is not what `as_dict` gives.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise BadInputError(f"it is no file of decisions (its 'format' is not '{FORMAT}').")
        if data.get("version") != VERSION:
            raise BadInputError(f"its version is {data.get('version')!r}, and this datadiet reads {VERSION}.")
        names, entries, fingerprint = (data.get(key) for key in ("class_names", "decisions", "fingerprint"))
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadInputError("its 'class_names' is no list of names.")
        if not isinstance(entries, Mapping):
            raise BadInputError("its 'decisions' is no object of one entry an id.")
        if fingerprint is not None and not isinstance(fingerprint, str):
            raise BadInputError("its 'fingerprint' is no text.")
        choices: dict[PartName, dict[int, str]] = {"train": {}, "test": {}}
        labels: dict[PartName, dict[int, str]] = {"train": {}, "test": {}}
        for key, entry in entries.items():
            part, id_ = part_and_id(str(key))
            if not isinstance(entry, Mapping) or not isinstance(entry.get("decision"), str):
                raise BadInputError(f"the entry of example {key} has no 'decision'.")
            choices[part][id_] = entry["decision"]
            if entry["decision"] == "relabel" and isinstance(entry.get("label"), str):
                labels[part][id_] = entry["label"]
        return cls(
            choices["train"], labels["train"], tuple(names), fingerprint, choices["test"], labels["test"]
        )

    def _chosen(self, choice: str) -> np.ndarray:
        return np.array(sorted(id_ for id_, made in self.choices.items() if made == choice), dtype=np.int64)


def _unknown_class(key: str, label: str, class_names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in class_names[:10])
    more = f" and {len(class_names) - 10} more" if len(class_names) > 10 else ""
    return f"Example {key} is to be relabelled '{label}', which is no class of the data ({shown}{more})."
