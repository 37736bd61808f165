"""The recorder on tasks beside classification: what the task measures, by id, whatever the padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.foundation.errors import BadInputError
from datadiet.tasks import IGNORED, task_for
from datadiet.tracking import Recorder
from datadiet.tracking.presentations import target_numbers

TAGS = ("O", "B-x", "I-x")


def sentences(
    count: int, epochs: int, seed: int = 0
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Outputs (epochs, count, ...) and targets of sentences of one to five words among seven tokens."""
    generator = torch.Generator().manual_seed(seed)
    slots = torch.randint(0, 3, (count, 7), generator=generator)
    words = torch.randint(1, 6, (count, 1), generator=generator)
    places = torch.arange(7)[None]
    slots[(places == 0) | (places > words)] = IGNORED
    outputs = {
        "intent": torch.randn(epochs, count, 4, generator=generator) * 2,
        "slots": torch.randn(epochs, count, 7, 3, generator=generator) * 3,
    }
    return outputs, {"intent": torch.randint(0, 4, (count,), generator=generator), "slots": slots}


def play(recorder: Recorder, outputs: dict[str, torch.Tensor], targets: dict[str, torch.Tensor]) -> Recorder:
    generator = torch.Generator().manual_seed(1)
    for epoch in range(len(outputs["intent"])):
        for rows in torch.randperm(len(targets["intent"]), generator=generator).split(3):
            length = 1 + int((targets["slots"][rows] != IGNORED).nonzero()[:, 1].max())  # as far as needed
            recorder.update(
                rows,
                {"intent": outputs["intent"][epoch, rows], "slots": outputs["slots"][epoch, rows, :length]},
                {"intent": targets["intent"][rows], "slots": targets["slots"][rows, :length]},
            )
        recorder.end_epoch()
    return recorder


def test_scores_of_a_joint_task_are_those_of_a_slow_loop() -> None:
    outputs, targets = sentences(10, 4)
    table = play(Recorder(10, task="intent_slots"), outputs, targets).table(labels=targets["intent"])
    forgetting, el2n, confidence = [], [], []
    for row in range(10):
        events, before, learnt, likely, errors = 0, False, False, [], []
        for epoch in range(4):
            words = [t for t in range(7) if targets["slots"][row, t] != IGNORED]
            logits = [outputs["intent"][epoch, row], *(outputs["slots"][epoch, row, t] for t in words)]
            truth = [int(targets["intent"][row]), *(int(targets["slots"][row, t]) for t in words)]
            chances = [torch.softmax(one.double(), 0).numpy() for one in logits]
            right = all(int(p.argmax()) == y for p, y in zip(chances, truth, strict=True))
            events += before and not right
            before, learnt = right, learnt or right
            losses = [-np.log(p[y]) for p, y in zip(chances, truth, strict=True)]
            likely.append(np.exp(-0.5 * losses[0] - 0.5 * np.mean(losses[1:])))
            squares = [((p - np.eye(len(p))[y]) ** 2).sum() for p, y in zip(chances, truth, strict=True)]
            errors.append(np.sqrt(sum(squares)))
        forgetting.append(events if learnt else 4)
        el2n.append(errors[-1])
        confidence.append(np.mean(likely))
    np.testing.assert_array_equal(table.column("forgetting"), forgetting)
    np.testing.assert_allclose(table.column("el2n"), el2n, rtol=1e-5)
    np.testing.assert_allclose(table.column("confidence"), confidence, rtol=1e-5)
    assert table.labels.tolist() == targets["intent"].tolist()


def test_a_recorder_goes_on_from_its_state_in_the_middle_of_an_epoch() -> None:
    outputs, targets = sentences(6, 3)
    straight = play(Recorder(6, task="intent_slots"), outputs, targets)

    def show(recorder: Recorder, epoch: int, rows: list[int]) -> None:
        recorder.update(
            rows,
            {name: values[epoch, rows] for name, values in outputs.items()},
            {name: values[rows] for name, values in targets.items()},
        )

    first = Recorder(6, task="intent_slots")
    show(first, 0, [0, 1, 2])
    second = Recorder(6, task="intent_slots")
    second.load_state_dict(first.state_dict())
    show(second, 0, [3, 4, 5])
    second.end_epoch()
    for epoch in (1, 2):
        show(second, epoch, list(range(6)))
        second.end_epoch()
    assert straight.table().names == second.table().names
    for name in straight.table().names:
        np.testing.assert_allclose(straight.table().column(name), second.table().column(name), rtol=1e-6)


def test_a_state_from_before_the_first_batch_can_be_gone_on_from() -> None:
    outputs, targets = sentences(6, 1)
    recorder = Recorder(6, task="intent_slots")
    recorder.load_state_dict(Recorder(6, task="intent_slots").state_dict())
    assert "el2n" in play(recorder, outputs, targets).table().names


def test_a_task_without_margins_has_no_scores_of_them() -> None:
    recorder = Recorder(3, task=task_for("regression", target_scale=2.0))
    for values in ([1.0, 5.0, 9.0], [1.2, 3.0, 9.0]):
        recorder.update([0, 1, 2], torch.tensor(values), torch.tensor([1.0, 2.0, 3.0]))
        recorder.end_epoch()
    table = recorder.table()
    np.testing.assert_allclose(table.column("el2n"), [0.7, 2.0, 7.5], rtol=1e-5)
    assert not {"aum", "margin", "entropy"} & set(table.names) and "forgetting" in table.names
    assert table.labels.tolist() == [0, 0, 0]
    with pytest.raises(BadInputError, match="aum"):
        recorder.table(["aum"])


def test_ids_that_come_back_with_other_tags_are_refused() -> None:
    outputs, targets = sentences(6, 2)
    recorder = Recorder(6, task="intent_slots")
    now = {name: values[0] for name, values in outputs.items()}
    recorder.update(list(range(6)), now, targets)
    recorder.end_epoch()
    recorder.update([1, 0, 2, 3, 4, 5], now, targets)
    with pytest.raises(BadInputError, match="has other targets than before"):
        recorder.end_epoch()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 50), max_size=8), st.lists(st.integers(0, 6), max_size=8))
def test_padding_does_not_change_the_number_of_a_target(tags: list[int], gaps: list[int]) -> None:
    padded: list[int] = []
    for place, tag in enumerate(tags):
        padded += [IGNORED] * (gaps[place] if place < len(gaps) else 0) + [tag]
    alone = target_numbers(torch.tensor([[*tags, IGNORED]]))
    assert int(alone) == int(target_numbers(torch.tensor([[*padded, IGNORED, IGNORED]])))
    assert int(alone) == sum((place + 1) * (tag + 1) for place, tag in enumerate(tags))
