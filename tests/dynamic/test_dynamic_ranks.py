"""Two processes under torchrun see, epoch by epoch, what one process sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ranks_program import play_everything
from test_dynamic_sampler import SELECTORS, flat

BATCH = 4


@pytest.fixture(scope="module")
def ranks(ranks_of: Callable[[Path], list[Any]]) -> list[dict[str, Any]]:
    return ranks_of(Path(__file__).with_name("ranks_program.py"))


@pytest.fixture(scope="module")
def single() -> dict[str, Any]:
    return play_everything()


def in_turn(ranks: list[dict[str, Any]], what: str, epoch: int) -> list[list[int]]:
    """The batches of both ranks in the order of steps."""
    first, second = (rank[what][epoch] for rank in ranks)
    assert len(first) - len(second) in (0, 1)
    turns = [batch for pair in zip(first, second, strict=False) for batch in pair]
    return turns + first[len(second) :]


@pytest.mark.parametrize("name", SELECTORS)
def test_uneven_ranks_see_the_very_batches_of_one_process(name: str, ranks: Any, single: Any) -> None:
    what = f"{name}, uneven"
    for epoch, batches in enumerate(single[what]):
        assert in_turn(ranks, what, epoch) == batches


@pytest.mark.parametrize("name", [*SELECTORS, "scored", "recorded"])
def test_filled_up_ranks_see_the_ids_of_one_process_and_repeat_only_the_first(
    name: str, ranks: Any, single: Any
) -> None:
    for epoch, batches in enumerate(single[name]):
        dealt, alone = flat(in_turn(ranks, name, epoch)), flat(batches)
        assert dealt[: len(alone)] == alone
        extra = len(dealt) - len(alone)
        assert extra == -len(alone) % (2 * BATCH)
        assert dealt[len(alone) :] == alone[:extra]


@pytest.mark.parametrize("name", SELECTORS)
def test_single_ids_are_dealt_in_turn(name: str, ranks: Any, single: Any) -> None:
    what = f"{name}, single ids"
    for epoch, alone in enumerate(single[what]):
        dealt = in_turn(ranks, what, epoch)
        assert dealt[: len(alone)] == alone
        assert len(dealt) - len(alone) == len(alone) % 2


@pytest.mark.parametrize("name", SELECTORS)
def test_ranks_go_on_from_one_rank_s_state_in_mid_epoch(name: str, ranks: Any) -> None:
    for rank in ranks:
        assert rank[f"{name}, resumed"] == rank[name]
