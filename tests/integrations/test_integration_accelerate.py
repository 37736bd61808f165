"""A sampler that goes through Accelerate's `prepare`: alone, in two processes, resumed; and what does not fit it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate_program
import pytest
import torch
from accelerate import Accelerator, DataLoaderConfiguration

from datadiet.dynamic import DynamicSampler, with_ids
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


def test_without_filling_up_every_id_is_handed_out_once(ranks: Any) -> None:
    first, second = (rank["not filled up"] for rank in ranks)
    full, chosen = (sorted(a + b) for a, b in zip(first, second, strict=True))
    assert full == list(range(accelerate_program.N))
    assert len(set(chosen)) == len(chosen) == 15


def test_a_sampler_that_deals_out_itself_is_refused() -> None:
    rows = accelerate_program.rows()
    for options in ({}, {"batch_size": 2, "rank": 0, "world_size": 2}):
        sampler = DynamicSampler(len(rows), selector="random", **options)
        with pytest.raises(BadInputError, match="Accelerate deals batches out itself"):
            dynamic_loader(Accelerator(cpu=True), rows, sampler)


def refused(match: str, data: Any = None, settings: dict[str, Any] | None = None, **options: Any) -> None:
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(**settings or {}))
    sampler = DynamicSampler(accelerate_program.N, batch_size=2, rank=0, world_size=1)
    with pytest.raises(BadInputError, match=match):
        dynamic_loader(
            accelerator, with_ids(accelerate_program.rows()) if data is None else data, sampler, **options
        )


@pytest.mark.parametrize("name", ["batch_size", "shuffle", "batch_sampler", "drop_last"])
def test_options_that_make_batches_are_refused(name: str) -> None:
    refused(f"leave {name}= out", **{name: 2})


@pytest.mark.parametrize("name", ["dispatch_batches", "split_batches"])
def test_settings_under_which_batches_are_cut_up_are_refused(name: str) -> None:
    refused(f"make the Accelerator with {name}=False", settings={name: True})


class Endless(torch.utils.data.IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(100))


class Pairs(torch.utils.data.Dataset[Any]):
    """Rows as they are, by number: a data set that brings its ids itself, or does not."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        torch.rand(3)  # as an augmentation draws
        return self.rows[index]


N = accelerate_program.N
ROWS = accelerate_program.rows()
IDS_IN_FRONT = [(place, *row) for place, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (Endless(), "can only be gone through in order"),
        ((row for row in ROWS), "can only be gone through in order"),
        (Pairs(ROWS), "do not bring their positions"),
        (Pairs(IDS_IN_FRONT[::-1]), "do not bring their positions"),
        (Pairs(IDS_IN_FRONT[1:] + IDS_IN_FRONT[:1]), "do not bring their positions"),
        (Pairs([(float(row[0]), *row[1:]) for row in IDS_IN_FRONT]), "do not bring their positions"),
        (Pairs([{"id": f"{row[0]}", "y": row[2]} for row in IDS_IN_FRONT]), "do not bring their positions"),
        (torch.utils.data.Subset(with_ids(ROWS + ROWS), range(N, 2 * N)), "do not bring their positions"),
        (with_ids(ROWS[:-1]), "has 28 rows, but the sampler deals out the ids 0 to 28"),
        (with_ids([*ROWS, *ROWS]), "has 58 rows, but the sampler deals out the ids 0 to 28"),
    ],
)
def test_data_whose_rows_the_sampler_cannot_name_is_refused(data: Any, match: str) -> None:
    refused(match, data)


def test_ids_of_a_column_are_looked_at_in_full() -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"x": list(range(1, N + 1))})
    middle = [*range(5), 6, 5, *range(7, N)]
    refused("do not bring their positions", rows)
    refused("do not bring their positions", with_ids(rows.select(middle)).select(middle))
    refused("do not bring their positions", with_ids(rows).with_format("torch", columns=["x"]))
    refused("do not bring their positions", rows.add_column("id", [f"{i}" for i in range(N)]))
    for fit in (
        with_ids(rows),
        with_ids(rows, "row").with_format("torch"),
        rows.add_column("n", list(range(N))),
    ):
        sampler = DynamicSampler(N, batch_size=2, rank=0, world_size=1)
        assert len(dynamic_loader(Accelerator(cpu=True), fit, sampler)) == 15


def test_a_look_at_rows_draws_nothing_from_the_training() -> None:
    sampler = DynamicSampler(N, batch_size=2, rank=0, world_size=1)
    before = torch.get_rng_state()
    dynamic_loader(Accelerator(cpu=True), Pairs(IDS_IN_FRONT), sampler)
    assert torch.equal(torch.get_rng_state(), before)


def test_explicit_ids_may_leave_rows_out() -> None:
    sampler = DynamicSampler(ids=range(1, N, 2), batch_size=2, rank=0, world_size=1)
    loader = dynamic_loader(Accelerator(cpu=True), with_ids(ROWS), sampler)
    assert sorted(number for ids, *_ in loader for number in ids.tolist()) == list(range(1, N, 2))
