"""What a selector is asked, what it answers, and that answer as the sampler keeps and saves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datadiet.dynamic.schedule import Schedule
from datadiet.dynamic.sharding import index_type
from datadiet.foundation.errors import BadInputError
from datadiet.tracking.states import StateParts

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Cycle:
    """What a selector is asked to choose for.

    Args:
        epoch: the first epoch of the choice, from 0.
        num_examples: n; places are 0 to n - 1.
        schedule: the schedule of the training.
        always: (n,) bool, examples whose last loss was not a number. They stay whatever is chosen.
        generator: randomness of this choice alone, the same on every rank.
    """

    epoch: int
    num_examples: int
    schedule: Schedule
    always: NDArray[np.bool_]
    generator: np.random.Generator


@dataclass(frozen=True)
class Choice:
    """What is trained on until the next choice.

    Args:
        places: strictly increasing places of what stays.
        weights: (len(places),) what each one's loss is multiplied by; None for 1.
    """

    places: NDArray[np.int64]
    weights: NDArray[np.float32] | None = None


class CurrentChoice:
    """What is trained on at the moment, everything or a choice, with the weights of all examples.

    Args:
        num_examples: n.
    """

    def __init__(self, num_examples: int) -> None:
        self.num_examples = num_examples
        self.take_everything()

    def take_everything(self) -> None:
        """Let everything stay, at weight 1."""
        self.size = self.num_examples  # how many examples stay
        self._stays: NDArray[np.bool_] | None = None  # (n,), None where everything does
        self._weights: torch.Tensor | None = None  # (n,), where it was last asked for

    def take(self, choice: Choice, always: NDArray[np.bool_], name: str) -> None:
        """Let a choice stay, and what always stays, at weight 1 where the choice left it out.

        Args:
            choice: of the selector.
            always: (n,) bool.
            name: of the selector.

        Raises:
            BadInputError: the choice is not of strictly increasing places of what there is.
        """
        places, n = np.asarray(choice.places, np.int64), self.num_examples
        if len(places) and (places[0] < 0 or places[-1] >= n or (np.diff(places) <= 0).any()):
            raise BadInputError(
                f"selector {name!r} must choose strictly increasing places from 0 to {n - 1}."
            )
        stays = always.copy()
        stays[places] = True
        self.take_everything()
        self._stays, self.size = stays, int(np.count_nonzero(stays))
        if choice.weights is not None:
            weights = np.ones(n, np.float32)
            weights[places] = choice.weights
            self._weights = torch.from_numpy(weights)

    @property
    def is_weighted(self) -> bool:
        """Whether some weights are not 1."""
        return self._weights is not None

    @property
    def places(self) -> NDArray[Any]:
        """The places of what stays, increasing; four bytes each where that is enough."""
        kind = index_type(self.num_examples)
        if self._stays is None:
            return np.arange(self.num_examples, dtype=kind)
        return np.flatnonzero(self._stays).astype(kind)

    def left_out(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Which of the places in a mask do not stay, increasing."""
        return np.flatnonzero(mask & ~self._stays) if self._stays is not None else np.empty(0, np.int64)

    def weights_at(self, places: torch.Tensor) -> torch.Tensor:
        """(batch,) float32 weights on the device of the places."""
        if self._weights is None:
            return torch.ones(len(places), device=places.device)
        if self._weights.device != places.device:
            self._weights = self._weights.to(places.device)
        if places.is_cpu:  # numpy takes a batch out of many in half the time
            return torch.from_numpy(self._weights.numpy()[places.numpy()])
        return self._weights[places]

    def state(self) -> dict[str, torch.Tensor]:
        """One bit an example, and a float for each that stays where there are weights."""
        if self._stays is None:
            return {}
        state = {"choice.bits": torch.from_numpy(np.packbits(self._stays))}
        if self._weights is not None:
            state["choice.weights"] = torch.from_numpy(self._weights.cpu().numpy()[self._stays])
        return state

    def load(self, parts: StateParts) -> None:
        """The same choice again.

        Raises:
            BadInputError: a part is of another type or size.
        """
        self.take_everything()
        if "choice.bits" in parts:
            bits = parts.array("choice.bits", "u", -(-self.num_examples // 8))
            stays = np.unpackbits(bits, count=self.num_examples).astype(bool)
            weights = None
            if "choice.weights" in parts:
                weights = parts.array("choice.weights", "f", int(stays.sum()))
                if not np.isfinite(weights).all():
                    raise parts.wrong("choice.weights", "holds weights that are not finite")
            self.take(Choice(np.flatnonzero(stays), weights), stays, "saved")
