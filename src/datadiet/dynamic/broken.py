"""Examples whose last number was not finite: they stay in training, whatever is chosen, until it is."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from datadiet.dynamic.reports import Places

if TYPE_CHECKING:
    from numpy.typing import NDArray


class BrokenExamples:
    """Remembers them by their places.

    Args:
        places: of the sampler's ids.
    """

    def __init__(self, places: Places) -> None:
        self._known = places
        self.places = np.zeros(0, np.int64)

    def ids(self) -> NDArray[np.int64]:
        """The ids, increasing."""
        return self._known.to_ids(self.places)

    def mask(self) -> NDArray[np.bool_]:
        """(n,) which they are."""
        mask = np.zeros(self._known.num_examples, bool)
        mask[self.places] = True
        return mask

    def take(self, told: NDArray[np.float32], measure: str, epoch: int) -> None:
        """Learn from what was told in an epoch, and warn of what is not finite.

        Args:
            told: (n,) numbers, infinite where they were not finite, NaN where nothing was told.
            measure: what they are called.
            epoch: when.
        """
        infinite = np.isinf(told)
        if infinite.any() or len(self.places):
            still = self.mask()
            still[~np.isnan(told)] = False
            still |= infinite
            self.places = np.flatnonzero(still)
        if infinite.any():
            where = np.flatnonzero(infinite)
            warnings.warn(
                f"{len(where)} examples had a {measure} that is not finite in epoch {epoch} (first "
                f"id {self._known.to_ids(where[:1])[0]}); they stay in training until they have a finite one.",
                stacklevel=4,
            )
