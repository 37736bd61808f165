"""What several ranks saw, merged: equal to what one would have seen, wherever an example went."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Thread

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.foundation.errors import BadInputError
from datadiet.tracking import Recorder

CLASSES = 3


class Ranks:
    """All-reduce between threads that stand for processes."""

    def __init__(self, count: int) -> None:
        self.tensors: list[torch.Tensor | None] = [None] * count
        self.barrier = Barrier(count, timeout=30)

    def all_reduce(self, rank: int) -> Callable[[torch.Tensor], torch.Tensor]:
        def reduce(tensor: torch.Tensor) -> torch.Tensor:
            self.tensors[rank] = tensor.clone()
            self.barrier.wait()
            total = torch.stack([found for found in self.tensors if found is not None]).sum(dim=0)
            self.barrier.wait()
            return total

        return reduce

    def run(self, work: Callable[[int], None]) -> None:
        failures: list[BaseException] = []

        def guarded(rank: int) -> None:
            try:
                work(rank)
            except BaseException as error:
                failures.append(error)
                self.barrier.abort()

        threads = [Thread(target=guarded, args=(rank,)) for rank in range(len(self.tensors))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]


def record(
    shown: list[list[torch.Tensor]], logits: torch.Tensor, labels: torch.Tensor
) -> tuple[Recorder, list[Recorder]]:
    """`shown[epoch][rank]` are the ids that a rank presents; returns who sees all, and the ranks."""
    count, ranks = len(labels), len(shown[0])
    alone, many = Recorder(count), [Recorder(count) for _ in range(ranks)]
    for epoch, parts in enumerate(shown):
        together = Ranks(ranks)

        def work(rank: int, epoch: int = epoch, parts: list[torch.Tensor] = parts) -> None:
            for batch in parts[rank].split(4):
                many[rank].update(batch, logits[epoch, batch], labels[batch])
            many[rank].reduce(together.all_reduce(rank))  # noqa: B023  (joined before the next epoch)
            many[rank].end_epoch()

        together.run(work)
        for part in parts:
            for batch in part.split(4):
                alone.update(batch, logits[epoch, batch], labels[batch])
        alone.end_epoch()
    return alone, many


def history(epochs: int, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(epochs, count, CLASSES, generator=generator)
    return logits, torch.randint(0, CLASSES, (count,), generator=generator)


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(3, 20), st.integers(0, 100))
def test_ranks_that_share_the_examples_equal_one_that_sees_all(
    epochs: int, ranks: int, count: int, seed: int
) -> None:
    logits, labels = history(epochs, count, seed)
    generator = torch.Generator().manual_seed(seed)
    # A new permutation an epoch: an example moves between ranks all the time.
    orders = [torch.randperm(count, generator=generator) for _ in range(epochs)]
    shown = [list(order.tensor_split(ranks)) for order in orders]
    alone, many = record(shown, logits, labels)
    expected = alone.table()
    for recorder in many:
        table = recorder.table()
        assert table.labels.tolist() == expected.labels.tolist()
        for name in expected.names:
            np.testing.assert_array_equal(table.columns[name], expected.columns[name])
        for name in alone.trace.columns:
            np.testing.assert_array_equal(recorder.trace.column(name), alone.trace.column(name))


def test_an_example_that_moves_between_ranks_is_forgotten_as_often_as_it_was() -> None:
    labels = torch.zeros(2, dtype=torch.int64)
    right, wrong = [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]
    logits = torch.tensor([[right, wrong], [wrong, wrong], [right, wrong], [wrong, wrong]])
    zero, one = torch.tensor([0]), torch.tensor([1])
    _, many = record([[zero, one], [one, zero], [zero, one], [one, zero]], logits, labels)
    for recorder in many:
        assert recorder.table(["forgetting"]).column("forgetting").tolist() == [2.0, 4.0]


def test_an_example_that_pads_the_last_batch_of_two_ranks_counts_once() -> None:
    logits, labels = history(2, 5)
    shown = [[torch.tensor([0, 1, 2]), torch.tensor([3, 4, 0])] for _ in range(2)]
    alone, many = record(shown, logits, labels)
    for name in ("el2n", "aum", "confidence", "forgetting"):
        np.testing.assert_allclose(
            many[0].table([name]).column(name), alone.table([name]).column(name), rtol=1e-6
        )
    assert (many[0].trace.column("prediction") == alone.trace.column("prediction")).all()


def test_a_rank_that_saw_nothing_takes_part() -> None:
    logits, labels = history(1, 2)
    alone, many = record([[torch.tensor([0, 1]), torch.tensor([], dtype=torch.int64)]], logits, labels)
    np.testing.assert_array_equal(many[1].table(["aum"]).column("aum"), alone.table(["aum"]).column("aum"))


def test_ranks_that_disagree_about_an_example_call_it_wrong_and_its_prediction_unknown() -> None:
    together, recorders = Ranks(2), [Recorder(1), Recorder(1)]

    def work(rank: int) -> None:
        logits = torch.tensor([[2.0, 0.0]]) if rank == 0 else torch.tensor([[0.0, 2.0]])
        recorders[rank].update([0], logits, torch.tensor([0]))
        recorders[rank].reduce(together.all_reduce(rank))
        recorders[rank].end_epoch()

    together.run(work)
    for recorder in recorders:
        assert recorder.trace.column("correct").tolist() == [[False]]
        assert recorder.trace.column("prediction").tolist() == [[-1]]
        assert recorder.trace.column("learnt").tolist() == [[True]]


def test_ranks_with_different_labels_of_one_id_are_refused() -> None:
    together, recorders = Ranks(2), [Recorder(3), Recorder(3)]

    def work(rank: int) -> None:
        recorders[rank].update([2], torch.zeros(1, 2), torch.tensor([rank]))
        recorders[rank].reduce(together.all_reduce(rank))

    with pytest.raises(BadInputError, match="different labels of the same example, at place 2"):
        together.run(work)


def test_an_all_reduce_that_returns_nothing_is_found_out() -> None:
    recorder = Recorder(1)
    recorder.update([0], torch.zeros(1, 2), torch.tensor([0]))
    with pytest.raises(BadInputError, match="must return the sum"):
        recorder.reduce(lambda tensor: None)  # type: ignore[arg-type, return-value]


def test_nothing_is_added_between_the_merge_and_the_end_of_the_epoch() -> None:
    recorder = Recorder(1)
    recorder.update([0], torch.zeros(1, 2), torch.tensor([0]))
    recorder.reduce(lambda tensor: tensor)
    with pytest.raises(BadInputError, match="call end_epoch before the next update"):
        recorder.update([0], torch.zeros(1, 2), torch.tensor([0]))


def test_a_state_between_merge_and_end_of_epoch_goes_on() -> None:
    logits, labels = history(2, 6)
    first, second = Recorder(6), Recorder(6)
    first.update(torch.arange(6), logits[0], labels)
    first.end_epoch()
    first.update(torch.arange(6), logits[1], labels)
    first.reduce(lambda tensor: tensor)
    second.load_state_dict(first.state_dict())
    for recorder in (first, second):
        recorder.end_epoch()
    for name in first.table().names:
        np.testing.assert_array_equal(first.table().column(name), second.table().column(name))


def test_ranks_that_only_follow_write_no_trace() -> None:
    recorder = Recorder(1)
    recorder.update([0], torch.zeros(1, 2), torch.tensor([0]))
    recorder.end_epoch(write=False)
    assert recorder.trace.epochs == () and recorder.epoch == 1
