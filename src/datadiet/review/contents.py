"""What a review page is made of: plain data, checked on arrival, that knows nothing of files or sources."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from datadiet.errors import BadInputError


@dataclass(frozen=True)
class ReviewItem:
    """One suspect: its labels, how suspicious it is, and what a reader sees of it.

    Args:
        id: the example id.
        given: class index of the label that the data gives.
        proposed: class index of the label proposed instead; None where there is none.
        suspicion: what the page is ordered by; higher is more suspicious.
        probability_wrong: of the given label; None where it is unknown.
        signals: name -> value, for the reader.
        picture: uint8 (height, width, 1 or 3), as `thumbnail` makes it.
        text: for text data.
        vector: for data of numbers.
        missing: why there is nothing to see, where there is not.

    >>> ReviewItem(id=17, given=0, proposed=1, text="a text").proposed
    1
    """

    id: int
    given: int
    proposed: int | None = None
    suspicion: float = 0.0
    probability_wrong: float | None = None
    signals: Mapping[str, float] = field(default_factory=dict)
    picture: npt.NDArray[np.uint8] | None = None
    text: str | None = None
    vector: Sequence[float] | npt.NDArray[np.floating] | None = None
    missing: str | None = None


@dataclass(frozen=True)
class ReviewContents:
    """Everything that a review page shows.

    Args:
        title: the name of the data.
        fingerprint: of the data; decisions are bound to it.
        class_names: names by class index.
        items: the suspects, in any order.
        ranking: what the suspicion is, in a word: "suspicion", or the name of a score.
        in_all: how many suspects there were before any were left out; the number of items if None.
        pixelated: whether the pictures are small ones, whose pixels are to be seen.

    Raises:
        BadInputError: nothing to review, an id twice, a label without a class name, a suspicion that is not
            finite, class names that are not all different.

    >>> ReviewContents("digits", "5f0c", ["zero"], [ReviewItem(3, given=1)])
    Traceback (most recent call last):
        ...
    datadiet.errors.BadInputError: example 3 has the label 1, but there are 1 class names.
    """

    title: str
    fingerprint: str
    class_names: Sequence[str]
    items: Sequence[ReviewItem]
    ranking: str = "suspicion"
    in_all: int | None = None
    pixelated: bool = False

    def __post_init__(self) -> None:
        if not self.items:
            raise BadInputError("there is nothing to review: the list of suspects is empty.")
        names = [str(name) for name in self.class_names]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise BadInputError(f"two classes are named {twice!r}; decisions could not tell them apart.")
        seen: set[int] = set()
        for item in self.items:
            if item.id in seen:
                raise BadInputError(f"example {item.id} stands more than once among the suspects.")
            seen.add(item.id)
            for label in (item.given, item.proposed):
                if label is not None and not 0 <= label < len(names):
                    raise BadInputError(
                        f"example {item.id} has the label {label}, but there are {len(names)} class names."
                    )
            if not math.isfinite(item.suspicion):
                raise BadInputError(f"the suspicion of example {item.id} is not a finite number.")
