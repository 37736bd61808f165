"""What is recorded only where it is asked for, against each example's own history walked through in float64."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tracking_merge import Ranks

from datadiet.foundation.errors import BadInputError
from datadiet.scores import outputs, register_score
from datadiet.scores.registry import SCORES
from datadiet.scores.training_dynamics import tdds_of_probabilities
from datadiet.tracking import Recorder, Trace, scores_from_trace
from datadiet.tracking.further import further_columns

CLASSES = 4
Shown = list[list[tuple[int, torch.Tensor]]]  # by epoch: (id, logits) in order


def slow_changes(shown: Shown, ids: np.ndarray) -> np.ndarray:
    """(epochs, ids): the mean over the epoch of how far each prediction lies from the example's last."""
    before: dict[int, np.ndarray] = {}
    found = np.full((len(shown), len(ids)), np.nan)
    for epoch, presentations in enumerate(shown):
        changes = defaultdict(list)
        for name, logits in presentations:
            z = logits.double().numpy()
            p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
            if name in before:
                q = before[name]
                changes[name].append(
                    sum(abs(a * (np.log(a + 1e-8) - np.log(b + 1e-8))) for a, b in zip(p, q, strict=True))
                )
            before[name] = p
        for name, values in changes.items():
            found[epoch, np.flatnonzero(ids == name)[0]] = np.mean(values)
    return found


def play(recorder: Recorder, shown: Shown, batch: int = 5) -> Recorder:
    for presentations in shown:
        for start in range(0, len(presentations), batch):
            part = presentations[start : start + batch]
            names = [name for name, _ in part]
            recorder.update(
                torch.tensor(names), torch.stack([z for _, z in part]), torch.tensor(names) % CLASSES
            )
        recorder.end_epoch()
    return recorder


def history(orders: list[list[int]], seed: int = 0) -> Shown:
    generator = torch.Generator().manual_seed(seed)
    return [[(name, torch.randn(CLASSES, generator=generator) * 3) for name in order] for order in orders]


IDS = np.array([2, 3, 7, 20, 21])


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.lists(st.sampled_from(IDS.tolist()), min_size=1, max_size=12), min_size=1, max_size=5),
    st.integers(1, 6),
)
def test_changes_are_those_of_each_examples_own_history(orders: list[list[int]], batch: int) -> None:
    shown = history(orders)
    recorder = play(Recorder(ids=IDS, columns=["tdds_change"]), shown, batch)
    found = recorder.trace.column("tdds_change")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slow_changes(shown, IDS), rtol=1e-4, atol=1e-5)


def test_tdds_is_that_of_the_probabilities_of_all_classes() -> None:
    shown = history([list(range(12))] * 7)
    recorder = play(Recorder(12, columns=["tdds_change"]), shown)
    logits = torch.stack([torch.stack([z for _, z in epoch]) for epoch in shown])
    expected = tdds_of_probabilities(logits.double().softmax(2).numpy())
    table = recorder.table()
    np.testing.assert_allclose(table.column("tdds"), expected, rtol=1e-4)
    assert not np.allclose(table.column("tdds_label"), expected, rtol=0.05)
    assert "tdds" not in play(Recorder(12), shown).table().names


@pytest.mark.parametrize("in_folder", [False, True])
@pytest.mark.parametrize("stop", [(0, 0), (0, 2), (1, 0), (1, 1), (2, 2)])
def test_a_state_from_the_middle_of_an_epoch_goes_on_to_the_same_bits(
    in_folder: bool, stop: tuple[int, int], tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(1)
    shown = history([torch.randint(0, 9, (12,), generator=generator).tolist() for _ in range(3)])
    columns = ["tdds_change", "least_confidence"]

    def run(recorder: Recorder, begin: tuple[int, int], end: tuple[int, int]) -> None:
        for epoch, presentations in enumerate(shown):
            for step in range(3):
                if begin <= (epoch, step) < end:
                    part = presentations[4 * step : 4 * step + 4]
                    names = torch.tensor([name for name, _ in part])
                    recorder.update(names, torch.stack([z for _, z in part]), names % CLASSES)
                    if step == 2:
                        recorder.end_epoch()

    whole = Recorder(9, columns=columns)
    run(whole, (0, 0), (9, 9))
    folder = tmp_path if in_folder else None
    killed = Recorder(9, folder=folder, columns=columns)
    run(killed, (0, 0), stop)
    state = killed.state_dict()
    run(killed, stop, (9, 9))
    resumed = Recorder(9, folder=folder, columns=columns)
    resumed.load_state_dict(state)
    run(resumed, stop, (9, 9))
    for name in whole.trace.columns:
        np.testing.assert_array_equal(resumed.trace.column(name), whole.trace.column(name))


def test_a_state_without_the_last_probabilities_is_refused() -> None:
    recorder = play(Recorder(3, columns=["tdds_change"]), history([[0, 1, 2]]))
    state = recorder.state_dict()
    del state["last_probabilities"]
    with pytest.raises(BadInputError, match="no 'last_probabilities'"):
        Recorder(3, columns=["tdds_change"]).load_state_dict(state)


def test_ranks_that_share_the_examples_equal_one_that_sees_all() -> None:
    # One rank sees nothing in the first epoch; then every example moves between ranks.
    parts = [([0, 1, 2, 3, 4, 5], []), ([5, 3, 1], [0, 2, 4]), ([0, 2, 4], [5, 3, 1]), ([4], [5, 0])]
    shown = history([first + second for first, second in parts])
    columns = ["el2n", "tdds_change"]
    alone = play(Recorder(6, columns=columns), shown)
    many = [Recorder(6, columns=columns) for _ in range(2)]
    for epoch, sides in enumerate(parts):
        together = Ranks(2)

        def work(rank: int, epoch: int = epoch, sides: tuple[list[int], list[int]] = sides) -> None:
            mine = shown[epoch][: len(sides[0])] if rank == 0 else shown[epoch][len(sides[0]) :]
            if mine:
                names = torch.tensor([name for name, _ in mine])
                many[rank].update(names, torch.stack([z for _, z in mine]), names % CLASSES)
            many[rank].reduce(together.all_reduce(rank))  # noqa: B023  (joined before the next epoch)
            many[rank].end_epoch()

        together.run(work)
    for recorder in many:
        for name in alone.trace.columns:
            np.testing.assert_array_equal(recorder.trace.column(name), alone.trace.column(name))


def test_an_example_on_two_ranks_at_once_counts_once() -> None:
    recorders = [Recorder(2, columns=["tdds_change"]) for _ in range(2)]
    shown = history([[0, 1, 0], [0, 1, 1]])
    for presentations in shown:
        together = Ranks(2)

        def work(rank: int, presentations: list[tuple[int, torch.Tensor]] = presentations) -> None:
            mine = presentations[:2] if rank == 0 else presentations[2:]
            names = torch.tensor([name for name, _ in mine])
            recorders[rank].update(names, torch.stack([z for _, z in mine]), names)
            recorders[rank].reduce(together.all_reduce(rank))  # noqa: B023
            recorders[rank].end_epoch()

        together.run(work)
    first, second = ([z.double().softmax(0).numpy() for _, z in presentations] for presentations in shown)

    def change(p: np.ndarray, q: np.ndarray) -> float:
        return float(np.abs(p * (np.log(p) - np.log(q))).sum())

    expected = [
        change(second[0], (first[0] + first[2]) / 2),
        (change(second[1], first[1]) + change(second[2], first[1])) / 2,
    ]
    for recorder in recorders:
        found = recorder.trace.column("tdds_change")
        assert np.isnan(found[0]).all()
        np.testing.assert_allclose(found[1], expected, rtol=1e-4)


def test_any_score_of_outputs_is_recorded_where_it_is_asked_for() -> None:
    @register_score("second_logit", needs="outputs")
    def second_logit(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The second logit, whatever it says."""
        return logits[:, 1]

    try:
        shown = history([list(range(6))] * 3)
        recorder = play(Recorder(6, columns=["second_logit", "least_confidence"]), shown)
        logits = torch.stack([torch.stack([z for _, z in epoch]) for epoch in shown])
        found = scores_from_trace(recorder.trace, ["mean_second_logit", "mean_least_confidence"])
        np.testing.assert_allclose(found["mean_second_logit"], logits[1:, :, 1].mean(0), rtol=1e-5)
        least = torch.stack([outputs.least_confidence(epoch) for epoch in logits[1:]]).mean(0)
        np.testing.assert_allclose(found["mean_least_confidence"], least, rtol=1e-5)
        np.testing.assert_array_equal(
            recorder.table(["second_logit"]).column("second_logit"), logits[2, :, 1]
        )
        assert further_columns(["mean_second_logit", "second_logit", "mean_el2n"]) == ("second_logit",)
    finally:
        SCORES.forget("second_logit")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda logits: logits, r"gave shape \(3, 4\) for 3 examples"),
        (lambda logits: logits[:, 0] / 0, r"'odd' is not finite for 3 examples in epoch 1 \(first id 0\)"),
    ],
)
def test_a_score_that_gives_no_numbers_is_refused_in_its_first_epoch(result: object, message: str) -> None:
    @register_score("odd", needs="outputs")
    def odd(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Odd."""
        return result(logits)

    try:
        with pytest.raises(BadInputError, match=message):
            play(Recorder(3, columns=["odd"]), history([[0, 1, 2]]))
    finally:
        SCORES.forget("odd")


def test_what_cannot_be_recorded_is_refused() -> None:
    with pytest.raises(BadInputError, match="no measure 'grand' to record"):
        Recorder(3, columns=["grand"])
    with pytest.raises(BadInputError, match="of single-label classification, not of the task 'multilabel'"):
        Recorder(3, columns=["tdds_change"], task="multilabel")
    recorder = Recorder(3, columns=["tdds_change"])
    recorder.update([0], torch.zeros(1, 4), [0])
    with pytest.raises(BadInputError, match="logits have 5 classes, and had 4 before"):
        recorder.update([1], torch.zeros(1, 5), [0])


def test_a_batch_that_is_refused_leaves_the_last_probabilities_alone() -> None:
    recorder, other = (Recorder(2, columns=["tdds_change"]) for _ in range(2))
    for each in (recorder, other):
        each.update([0, 1], torch.eye(2), [0, 1])
    with pytest.raises(BadInputError, match="not finite"):
        recorder.update([0, 1], torch.tensor([[5.0, 0.0], [torch.nan, 0.0]]), [0, 1])
    for each in (recorder, other):
        each.end_epoch()
        each.update([0, 1], torch.zeros(2, 2), [0, 1])
        each.end_epoch()
    np.testing.assert_array_equal(recorder.trace.column("tdds_change"), other.trace.column("tdds_change"))


def test_a_trace_without_changes_gives_the_label_alone() -> None:
    trace = Trace([0, 1])
    for epoch in (1, 2, 3):
        trace.append(epoch, {"probability": np.array([0.1, 0.2 * epoch])})
    with pytest.raises(BadInputError, match="'tdds' needs column 'tdds_change'"):
        scores_from_trace(trace, ["tdds"])
    assert scores_from_trace(trace, ["tdds_label"])["tdds_label"][0] == 0
