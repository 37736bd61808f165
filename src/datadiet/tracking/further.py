"""Columns that a training pass is recorded with only where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from datadiet.foundation.errors import BadInputError
from datadiet.scores.changes import CHANGE, change_of
from datadiet.scores.outputs import MEASURES
from datadiet.scores.registry import SCORES, card
from datadiet.tracking.presentations import summed

if TYPE_CHECKING:
    from numpy.typing import NDArray


def can_be_recorded(column: str) -> bool:
    """Whether a column beyond the measures can be asked for: `tdds_change`, or a registered score of outputs.

    Example:
        >>> [can_be_recorded(name) for name in ("tdds_change", "least_confidence", "el2n", "grand")]
        [True, True, False, False]
    """
    if column in (*MEASURES, "seen", "learnt", "forgotten"):  # which every trace has
        return False
    return column == CHANGE or (column in SCORES and SCORES[column].needs == "outputs")


def further_columns(scores: Sequence[str]) -> tuple[str, ...]:
    """What scores of the trace need beyond what is always recorded, sorted.

    Example:
        >>> further_columns(["el2n", "mean_el2n", "aum", "mean_least_confidence", "tdds"])
        ('least_confidence', 'tdds_change')
    """
    needed = {column for name in scores if card(name).needs == "trace" for column in card(name).columns}
    return tuple(sorted(filter(can_be_recorded, needed)))


def score_of_batch(name: str, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """A registered score of outputs of one batch, (batch,).

    Raises:
        BadInputError: the score does not give one number an example.
    """
    function = card(name).function
    assert function is not None  # of every score of outputs
    found = torch.as_tensor(function(logits, targets))
    if found.shape != targets.shape:
        raise BadInputError(
            f"the score {name!r} gave shape {tuple(found.shape)} for {len(targets)} examples; let it return one number "
            "an example."
        )
    return found.detach()


class LastProbabilities:
    """The probabilities of all classes at each example's last presentation, and how far the next lie from them.

    Memory: count x classes float32 numbers on the device of the logits. 50,000 x 10 take 2 MB, 1.28 million x 1,000
    take 5.1 GB. Nothing is read back from the device.

    Args:
        count: of examples.

    Example:
        >>> last, place = LastProbabilities(2), torch.tensor([1])
        >>> last.change(place, torch.tensor([[0.0, 0.0]])), last.change(place, torch.tensor([[0.0, 0.0]]))
        (tensor([nan]), tensor([0.]))
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._rows: torch.Tensor | None = None  # NaN before the first presentation; the last row is nobody's

    @property
    def values(self) -> torch.Tensor | None:
        """(count, classes), NaN for an example that was never presented; None before the first batch."""
        return None if self._rows is None else self._rows[: self.count]

    def load(self, values: torch.Tensor) -> None:
        """Go on from the `values` of a state."""
        self._rows = torch.cat([values.float(), values.new_full((1, values.shape[1]), torch.nan)])

    def check(self, logits: torch.Tensor) -> None:
        """Refuse logits of another number of classes.

        Raises:
            BadInputError: they are.
        """
        if self._rows is not None and self._rows.shape[1] != logits.shape[1]:
            raise BadInputError(
                f"logits have {logits.shape[1]} classes, and had {self._rows.shape[1]} before; the change of a "
                "prediction is over the same classes."
            )

    def change(self, places: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """How far each prediction lies from the example's last, (batch,), which it then takes the place of.

        NaN for a first presentation. An example that comes twice in a batch is compared with itself in that order.

        Args:
            places: (batch,) int64, in 0 .. count - 1.
            logits: (batch, classes).
        """
        rows = self._on(logits.device, logits.shape[1])
        order = torch.argsort(places, stable=True)
        places, now = places[order], logits.softmax(1).float()[order]
        again = (places[1:] == places[:-1])[:, None]
        before = rows[places]
        before[1:] = torch.where(again, now[:-1], before[1:])
        change = change_of(now, before)
        final = torch.cat([~again[:, 0], again.new_ones(1)])
        rows[torch.where(final, places, self.count)] = now
        return torch.empty_like(change).index_copy_(0, order, change)

    def merge(
        self,
        seen: NDArray[Any],
        all_reduce: Callable[[torch.Tensor], torch.Tensor],
        device: torch.device,
    ) -> None:
        """Take over what other ranks presented in this epoch; the mean where several presented one example.

        Args:
            seen: (count,) bool, what this rank presented.
            all_reduce: returns the sum of a tensor over all ranks.
            device: where the tensors to reduce must be.

        Raises:
            BadInputError: `all_reduce` does not return the sum.
        """
        known = [0, 0] if self._rows is None else [self._rows.shape[1], 1]
        classes, ranks = summed(torch.tensor(known, device=device), all_reduce).tolist()
        if ranks == 0:
            return
        rows = self._on(device, classes // ranks)
        mine = torch.from_numpy(seen).to(device)[:, None]
        shown = torch.cat([torch.where(mine, rows[:-1], 0.0), mine.float()], dim=1)
        total = summed(shown, all_reduce).to(device)
        rows[:-1] = torch.where(total[:, -1:] > 0, total[:, :-1] / total[:, -1:], rows[:-1])

    def _on(self, device: torch.device, classes: int) -> torch.Tensor:
        if self._rows is None:
            self._rows = torch.full((self.count + 1, classes), torch.nan)
        self._rows = self._rows.to(device)
        return self._rows
