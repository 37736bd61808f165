"""The recorder in loops like people's own: whatever the order, batches and subsets, scores go by id."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from datadiet.foundation.errors import BadInputError
from datadiet.scores import outputs
from datadiet.scores import training_dynamics as dynamics
from datadiet.tracking import Recorder, Trace, table_from_trace

CLASSES = 4


def history(epochs: int, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of every epoch, (epochs, count, classes), and labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(epochs, count, CLASSES, generator=generator) * 2
    return logits, torch.randint(0, CLASSES, (count,), generator=generator)


def play(
    recorder: Recorder,
    logits: torch.Tensor,
    labels: torch.Tensor,
    ids: np.ndarray | None = None,
    batch_size: int = 7,
    seed: int = 0,
    orders: Callable[[int], torch.Tensor] | None = None,
) -> Recorder:
    """Present every example once an epoch, shuffled."""
    names = torch.from_numpy(np.arange(len(labels)) if ids is None else ids)
    generator = torch.Generator().manual_seed(seed)
    for epoch, outputs_of_epoch in enumerate(logits):
        order = torch.randperm(len(labels), generator=generator) if orders is None else orders(epoch)
        for batch in order.split(batch_size):
            recorder.update(names[batch], outputs_of_epoch[batch], labels[batch])
        recorder.end_epoch()
    return recorder


def expected_scores(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, np.ndarray]:
    wide, truth = logits.double().numpy(), labels.numpy()
    correct = wide.argmax(axis=2) == truth
    probability = np.exp([-outputs.loss(epoch, truth) for epoch in wide])
    margins = np.stack([outputs.logit_margin(epoch, truth) for epoch in wide])
    return {
        "el2n": outputs.el2n(wide[-1], truth),
        "margin": outputs.margin(wide[-1], truth),
        "forgetting": dynamics.forgetting(correct),
        "aum": margins.mean(axis=0),
        "confidence": probability.mean(axis=0),
        "variability": probability.std(axis=0),
        "dyn_unc": dynamics.dyn_unc(probability),
        "dual": dynamics.dual(probability),
        "tdds_label": dynamics.tdds_label(probability),
    }


def assert_same_tables(first: object, second: object) -> None:
    np.testing.assert_array_equal(first.ids, second.ids)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.names == second.names and first.provenance == second.provenance
    for name in first.names:
        np.testing.assert_array_equal(first.columns[name], second.columns[name])


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 5), st.integers(1, 30), st.integers(1, 31), st.integers(0, 1000))
def test_scores_go_by_id_whatever_the_order_and_the_batches(
    epochs: int, count: int, batch_size: int, seed: int
) -> None:
    logits, labels = history(epochs, count, seed)
    table = play(Recorder(count), logits, labels, batch_size=batch_size, seed=seed).table()
    assert table.ids.tolist() == list(range(count))
    assert table.labels.tolist() == labels.tolist()
    for name, values in expected_scores(logits, labels).items():
        np.testing.assert_allclose(table.column(name), values, rtol=1e-4, atol=1e-5)


def test_large_ids_are_exact_with_half_precision_logits() -> None:
    ids = np.array([5, 2049, 2050, 70_001, 2**31 + 1, 2**31 + 2, 2**53 + 1])
    logits, labels = history(3, len(ids))
    half = logits.half()
    table = play(Recorder(ids=ids), half, labels, ids=ids, batch_size=2).table()
    assert table.ids.tolist() == ids.tolist()
    for name, values in expected_scores(half, labels).items():
        np.testing.assert_allclose(table.column(name), values, rtol=1e-4, atol=1e-5)


def test_ids_in_half_precision_are_refused() -> None:
    with pytest.raises(BadInputError, match="ids must be integers"):
        Recorder(4096).update(torch.tensor([2049.0]).half(), torch.zeros(1, 2), torch.tensor([0]))


def test_a_batch_of_one_and_numpy_and_lists_are_fine() -> None:
    logits, labels = history(1, 3)
    recorder = Recorder(3)
    recorder.update([2], logits[0, 2:].numpy(), labels[2:].numpy())
    recorder.update(np.array([0], np.int32), logits[0, :1], labels[:1])
    recorder.update(torch.tensor([1], dtype=torch.uint8), logits[0, 1:2], labels[1:2])
    recorder.update([], torch.zeros(0, CLASSES), torch.zeros(0, dtype=torch.int64))
    recorder.end_epoch()
    np.testing.assert_allclose(
        recorder.table(["el2n"]).column("el2n"), outputs.el2n(logits[0], labels).numpy(), rtol=1e-6
    )


def test_forgetting_by_hand() -> None:
    right, wrong = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    stories = {0: "rrrr", 1: "wwww", 2: "rwrw", 3: "wrrr", 4: "rwww"}
    recorder = Recorder(5)
    for epoch in range(4):
        for example in (3, 1, 4, 0, 2):
            logits = right if stories[example][epoch] == "r" else wrong
            recorder.update(torch.tensor([example]), logits, torch.tensor([0]))
        recorder.end_epoch()
    forgetting = recorder.table(["forgetting"]).column("forgetting")
    assert forgetting.tolist() == [0.0, 4.0, 2.0, 0.0, 1.0]


def test_several_presentations_in_an_epoch_and_in_a_batch_count_in_their_order() -> None:
    right, wrong = [3.0, 0.0], [0.0, 3.0]
    recorder = Recorder(3)
    # 0: right wrong right | wrong wrong; 1: wrong | right right wrong; 2: wrong | wrong.
    recorder.update([0, 0, 1, 0, 2], torch.tensor([right, wrong, wrong, right, wrong]), torch.zeros(5).long())
    recorder.end_epoch()
    recorder.update([0, 1], torch.tensor([wrong, right]), torch.zeros(2).long())
    recorder.update([1, 1, 0, 2], torch.tensor([right, wrong, wrong, wrong]), torch.zeros(4).long())
    recorder.end_epoch()
    forgetting = recorder.table(["forgetting"]).column("forgetting")
    assert forgetting[:2].tolist() == [2.0, 1.0]
    assert forgetting[2] > forgetting[:2].max()


def test_measures_of_several_presentations_are_their_mean() -> None:
    logits = torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(0))
    recorder = Recorder(1)
    for row in logits:
        recorder.update([0], row[None], [1])
    recorder.end_epoch()
    expected = outputs.el2n(logits.double(), torch.tensor([1, 1, 1])).mean().item()
    assert recorder.table(["el2n"]).column("el2n")[0] == pytest.approx(expected, rel=1e-6)


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_repeated_and_missing_presentations_follow_each_examples_own_history(data: st.DataObject) -> None:
    epochs = data.draw(st.integers(1, 5))
    recorder = Recorder(4)
    told: dict[int, list[bool]] = {example: [] for example in range(4)}
    for _ in range(epochs):
        shown = data.draw(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=12))
        size = data.draw(st.integers(1, len(shown)))
        for start in range(0, len(shown), size):
            part = shown[start : start + size]
            logits = torch.tensor([[2.0, 0.0] if right else [0.0, 2.0] for _, right in part])
            recorder.update([example for example, _ in part], logits, torch.zeros(len(part)).long())
        for example, right in shown:
            told[example].append(right)
        recorder.end_epoch()
    table = recorder.table(["forgetting"], unseen="leave_out")
    found = dict(zip(table.ids.tolist(), table.column("forgetting").tolist(), strict=True))
    assert set(found) == {example for example, story in told.items() if story}
    counts = {
        example: sum(a and not b for a, b in zip(told[example], told[example][1:], strict=False))
        for example in found
        if any(told[example])
    }
    for example, score in found.items():
        if example in counts:
            assert score == counts[example]
        else:
            assert score >= epochs and score > max(counts.values(), default=0)


def test_a_dropped_last_batch_carries_the_example_over_and_says_so() -> None:
    logits, labels = history(2, 5)
    recorder = Recorder(5)
    for epoch, shown in enumerate(([0, 1, 2, 3, 4], [0, 1, 2, 3])):
        recorder.update(shown, logits[epoch, shown], labels[shown])
        recorder.end_epoch()
    table = recorder.table(["el2n"])
    expected = torch.cat([outputs.el2n(logits[1, :4], labels[:4]), outputs.el2n(logits[0, 4:], labels[4:])])
    np.testing.assert_allclose(table.column("el2n"), expected.numpy(), rtol=1e-6)
    assert table.provenance["scores"]["el2n"]["carried_over"] == 1
    assert table.provenance["scores"]["el2n"]["taken"] == "training pass"


def test_examples_never_presented_are_refused_or_left_out() -> None:
    logits, labels = history(1, 5)
    recorder = Recorder(5)
    recorder.update([4, 1], logits[0, [4, 1]], labels[[4, 1]])
    recorder.end_epoch()
    with pytest.raises(BadInputError, match=r"3 of 5 examples were not presented by then \(first id 0\)"):
        recorder.table()
    assert recorder.table(unseen="leave_out").ids.tolist() == [1, 4]


def test_a_subset_has_its_own_ids() -> None:
    ids = np.array([2, 30, 31, 400])
    logits, labels = history(3, 4)
    table = play(Recorder(ids=ids), logits, labels, ids=ids, batch_size=3).table()
    assert table.ids.tolist() == [2, 30, 31, 400]
    np.testing.assert_allclose(table.column("aum"), expected_scores(logits, labels)["aum"], rtol=1e-5)


def test_point_scores_are_those_of_the_epoch_that_was_asked_for() -> None:
    logits, labels = history(4, 20)
    recorder = play(Recorder(20), logits, labels)
    second = recorder.table(["el2n", "forgetting"], at_epoch=2)
    np.testing.assert_allclose(second.column("el2n"), outputs.el2n(logits[1], labels).numpy(), rtol=1e-5)
    assert second.provenance["scores"]["el2n"]["epoch"] == 2
    assert second.provenance["scores"]["forgetting"]["epoch"] == 4
    both = recorder.table(["el2n"], at_epoch=[4, 1])
    assert both.names == ("el2n@1", "el2n@4")
    np.testing.assert_allclose(both.column("el2n@1"), outputs.el2n(logits[0], labels).numpy(), rtol=1e-5)
    with pytest.raises(BadInputError, match="no epoch 9; it has epochs 1 to 4"):
        recorder.table(["el2n"], at_epoch=9)


def test_averages_go_over_the_whole_of_training_and_do_not_reset() -> None:
    logits, labels = history(5, 10)
    recorder = Recorder(10)
    for epoch in range(5):
        play(recorder, logits[epoch : epoch + 1], labels)
    np.testing.assert_allclose(
        recorder.table(["aum"]).column("aum"), expected_scores(logits, labels)["aum"], rtol=1e-5
    )


def test_only_the_columns_that_were_chosen_are_kept() -> None:
    logits, labels = history(2, 6)
    recorder = play(Recorder(6, columns=["el2n"]), logits, labels)
    assert set(recorder.trace.columns) == {"probability", "el2n", "correct", "seen", "learnt", "forgotten"}
    assert set(recorder.table().names) == {
        "el2n",
        "mean_el2n",
        "forgetting",
        "confidence",
        "variability",
        "dyn_unc",
        "dual",
        "tdds_label",
    }
    with pytest.raises(BadInputError, match="cannot give 'aum'"):
        recorder.table(["aum"])
    with pytest.raises(BadInputError, match="cannot give 'grand', which needs gradients"):
        recorder.table(["grand"])


def test_recording_leaves_the_graph_and_the_logits_alone() -> None:
    logits = torch.zeros(2, CLASSES, requires_grad=True)
    recorder = Recorder(2)
    recorder.update([0, 1], logits, torch.tensor([0, 1]))
    outputs_before = logits.detach().clone()
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    recorder.end_epoch()
    assert logits.grad is not None and torch.equal(logits.detach(), outputs_before)


def test_a_batch_that_is_reused_as_a_buffer_is_recorded_as_it_was() -> None:
    ids, logits, labels = torch.tensor([0]), torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    recorder = Recorder(2)
    recorder.update(ids, logits, labels)
    ids.fill_(1)
    logits.copy_(torch.tensor([[0.0, 2.0]]))
    recorder.update(ids, logits, labels)
    recorder.end_epoch()
    margins = recorder.table(["logit_margin"]).column("logit_margin")
    assert margins.tolist() == [2.0, -2.0]


@pytest.mark.parametrize(
    ("ids", "logits", "labels", "message"),
    [
        ([0, 5], torch.zeros(2, 3), [0, 0], "id 5 is not one of the recorder's 5 ids"),
        ([-1], torch.zeros(1, 3), [0], "id -1 is not one"),
        ([0], torch.zeros(2, 3), [0, 0], "ids of shape \\(1,\\)"),
        ([0, 1], torch.zeros(2, 3), [0], "2 rows"),
        ([0], torch.zeros(1, 3), [3], "target 3 in row 0"),
        ([0, 1], torch.tensor([[0.0, 1.0], [float("nan"), 0.0]]), [0, 0], "1 of 2 .* epoch 1 .*first id 1"),
        ([0, 1], torch.tensor([[float("inf"), 1.0], [0.0, 0.0]]), [1, 0], "not finite"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_and_not_recorded(
    ids: list, logits: torch.Tensor, labels: list, message: str
) -> None:
    recorder = Recorder(5)
    with pytest.raises(BadInputError, match=message):
        recorder.update(ids, logits, torch.tensor(labels))
    with pytest.raises(BadInputError, match="no example was recorded in epoch 1"):
        recorder.end_epoch()


def test_an_id_between_explicit_ids_is_unknown() -> None:
    recorder = Recorder(ids=[1, 5, 9])
    for unknown in (0, 4, 10):
        with pytest.raises(BadInputError, match=f"id {unknown} is not one"):
            recorder.update([unknown], torch.zeros(1, 2), torch.tensor([0]))


def test_ids_that_are_places_in_a_shuffled_loader_are_found_out() -> None:
    logits, labels = history(2, 50)
    recorder = Recorder(50)
    for epoch in range(2):
        order = torch.randperm(50, generator=torch.Generator().manual_seed(epoch))
        places = torch.arange(50)
        recorder.update(places, logits[epoch, order], labels[order])
        if epoch == 0:
            recorder.end_epoch()
    with pytest.raises(BadInputError, match="fixed positions in the data, not places in the loader"):
        recorder.end_epoch()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either num_examples or ids"),
        ({"num_examples": 3, "ids": [0, 1, 2]}, "either num_examples or ids"),
        ({"num_examples": 0}, "at least 1"),
        ({"ids": []}, "at least one id"),
        ({"ids": [3, 2]}, "strictly increasing"),
        ({"num_examples": 3, "columns": ["elan"]}, "no measure 'elan'"),
    ],
)
def test_a_recorder_that_makes_no_sense_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        Recorder(**arguments)


def test_a_table_before_the_first_epoch_is_refused() -> None:
    with pytest.raises(BadInputError, match="no epoch was recorded yet"):
        Recorder(3).table()


def test_a_pickled_recorder_goes_on_where_it_was() -> None:
    logits, labels = history(2, 9)
    recorder = Recorder(9)
    recorder.update(torch.arange(5), logits[0, :5], labels[:5])
    copy = pickle.loads(pickle.dumps(recorder))
    for each in (recorder, copy):
        each.update(torch.arange(5, 9), logits[0, 5:], labels[5:])
        each.end_epoch()
    assert_same_tables(recorder.table(), copy.table())


@pytest.mark.parametrize("in_folder", [False, True])
@pytest.mark.parametrize("stop", [(0, 0), (0, 2), (1, 0), (2, 1), (3, 0)])
def test_a_state_from_the_middle_of_an_epoch_goes_on_to_the_same_bits(
    in_folder: bool, stop: tuple[int, int], tmp_path: Path
) -> None:
    logits, labels = history(3, 20)

    def steps() -> list[tuple[int, int, torch.Tensor]]:
        generator = torch.Generator().manual_seed(0)
        orders = [torch.randint(0, 20, (30,), generator=generator) for _ in range(3)]
        orders[0][:20] = torch.arange(20)
        return [(e, k, part) for e, order in enumerate(orders) for k, part in enumerate(order.split(8))]

    def run(recorder: Recorder, begin: tuple[int, int], end: tuple[int, int]) -> None:
        for epoch, step, part in steps():
            if begin <= (epoch, step) < end:
                recorder.update(part, logits[epoch, part], labels[part])
                if step == 3:
                    recorder.end_epoch()

    never_stopped = Recorder(20, folder=tmp_path / "a" if in_folder else None)
    run(never_stopped, (0, 0), (9, 9))

    folder = tmp_path / "b" if in_folder else None
    killed = Recorder(20, folder=folder)
    run(killed, (0, 0), stop)
    checkpoint = save({f"recorder.{key}": value for key, value in killed.state_dict().items()})
    if stop > (0, 0):
        run(killed, stop, (9, 9))  # goes on past its checkpoint, and is lost

    resumed = Recorder(20, folder=folder)
    resumed.load_state_dict({key.removeprefix("recorder."): value for key, value in load(checkpoint).items()})
    assert resumed.trace.epochs == tuple(range(1, stop[0] + 1))
    run(resumed, stop, (9, 9))
    assert_same_tables(resumed.table(), never_stopped.table())
    for name in never_stopped.trace.columns:
        np.testing.assert_array_equal(resumed.trace.column(name), never_stopped.trace.column(name))


def test_the_state_of_another_recorder_is_refused() -> None:
    state = Recorder(5).state_dict()
    with pytest.raises(BadInputError, match="state is of other ids"):
        Recorder(6).load_state_dict(state)
    with pytest.raises(BadInputError, match="other columns"):
        Recorder(5, columns=["el2n"]).load_state_dict(state)


def test_a_folder_that_lacks_epochs_of_the_state_is_refused(tmp_path: Path) -> None:
    logits, labels = history(2, 5)
    state = play(Recorder(5, folder=tmp_path / "a"), logits, labels).state_dict()
    with pytest.raises(BadInputError, match="lacks epoch 1"):
        Recorder(5, folder=tmp_path / "b").load_state_dict(state)


def test_a_trace_on_disk_gives_the_table_without_the_recorder(tmp_path: Path) -> None:
    logits, labels = history(3, 12)
    recorder = play(Recorder(12, folder=tmp_path), logits, labels)
    assert_same_tables(table_from_trace(Trace.open(tmp_path), labels), recorder.table())
