"""A sampler that goes through Accelerate's `prepare`, alone and in two processes, through and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate_program
import pytest
from accelerate import Accelerator

from datadiet.dynamic import DynamicSampler
from datadiet.foundation.errors import BadInputError
from datadiet.integrations.accelerate import dynamic_loader


def flat(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("alone")
    through = accelerate_program.train(folder, stop_at=(1, 2))
    resumed = accelerate_program.train(folder, resume=True)
    return {"through": through["seen"], "resumed": resumed["seen"]}


@pytest.fixture(scope="module")
def ranks(ranks_of: Callable[[Path], list[Any]]) -> list[dict[str, Any]]:
    return ranks_of(Path(accelerate_program.__file__))


def test_prepare_keeps_the_sampler_s_epochs(alone: Any) -> None:
    sizes = [len(flat(batches)) for batches in alone["through"]]
    assert sizes[0] == accelerate_program.N
    assert all(size < accelerate_program.N for size in sizes[1:])
    assert all(len(set(flat(batches))) == len(flat(batches)) for batches in alone["through"])


def test_two_processes_see_what_one_sees(alone: Any, ranks: Any) -> None:
    for epoch, batches in enumerate(alone["through"]):
        first, second = (rank["through"][epoch] for rank in ranks)
        dealt = flat([batch for pair in zip(first, second, strict=True) for batch in pair])
        single = flat(batches)
        assert dealt[: len(single)] == single
        assert dealt[len(single) :] == single[: len(dealt) - len(single)]
        assert len(dealt) - len(single) < 2 * accelerate_program.BATCH


def test_save_state_and_load_state_go_on_in_mid_epoch(alone: Any, ranks: Any) -> None:
    for run in (alone, *ranks):
        assert run["resumed"][0] == []
        assert run["resumed"][2:] == run["through"][2:]
        rest = run["through"][1][2:]
        # Accelerate fills the last round up with what it saw first, which after resuming is another batch.
        assert run["resumed"][1][:-1] == rest[:-1]
        assert len(run["resumed"][1]) == len(rest)
    assert alone["resumed"][1] == alone["through"][1][2:]


def test_a_sampler_that_deals_out_itself_is_refused() -> None:
    rows = accelerate_program.rows()
    for options in ({}, {"batch_size": 2, "rank": 0, "world_size": 2}):
        sampler = DynamicSampler(len(rows), selector="random", **options)
        with pytest.raises(BadInputError, match="Accelerate deals batches out itself"):
            dynamic_loader(Accelerator(cpu=True), rows, sampler)
