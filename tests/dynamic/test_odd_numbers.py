"""Ids, losses, logits and labels that are none: one sentence each, and nothing is remembered of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from datadiet.dynamic import DynamicSampler
from datadiet.dynamic.measurements import measure_task_batch
from datadiet.foundation.errors import BadInputError
from datadiet.tasks import TASKS, Classification
from datadiet.tracking import Recorder

LOGITS, LABELS = torch.tensor([[0.2, 0.5, 0.1], [1.0, 0.0, 0.3]]), torch.tensor([0, 1])
ENTRIES: dict[str, Callable[[Any], Any]] = {
    "update": lambda ids: DynamicSampler(6).update(ids, torch.ones(2)),
    "weights": lambda ids: DynamicSampler(6).weights(ids),
    "Recorder.update": lambda ids: Recorder(6).update(ids, LOGITS, LABELS),
    "DynamicSampler(ids=)": lambda ids: DynamicSampler(ids=ids),
    "Recorder(ids=)": lambda ids: Recorder(ids=ids),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    "ids",
    [
        ["a1", "b2"], np.array(["1", "2"]), "ab", None, [None, 1], [0.0, 1.0], np.ones(2), torch.ones(2), [True, False],
        [object(), object()], [2**70, 1], [[1], [1, 2]], {"a": 1}, [b"a", b"b"], [torch.tensor(1), "a"],
        np.array(["2020-01-01", "2020-01-02"], "datetime64[D]"),
    ],
)  # fmt: skip
def test_ids_that_are_no_integers_are_told_how_to_get_some(entry: str, ids: Any) -> None:
    if ids is None and "ids=" in entry:
        return
    with pytest.raises(BadInputError, match=r"datadiet\.dynamic\.with_ids") as caught:
        ENTRIES[entry](ids)
    assert "\n" not in str(caught.value) and "array" not in str(caught.value)


@pytest.mark.parametrize(
    "ids", [[1, 2], (1, 2), range(1, 3), np.array([1, 2], np.uint16), np.array([1, 2], np.uint64),
            [torch.tensor(1), torch.tensor([2])], torch.tensor([1, 2], dtype=torch.int8)],
)  # fmt: skip
def test_integers_of_any_kind_are_ids(ids: Any) -> None:
    sampler, recorder = DynamicSampler(6), Recorder(6)
    sampler.update(ids, torch.tensor([5.0, 7.0]))
    recorder.update(ids, LOGITS, LABELS)
    for each in (sampler, recorder):
        each.end_epoch()
    assert sampler.selector.arrays["value"][1:3].tolist() == [5.0, 7.0]
    assert np.flatnonzero(recorder.trace.of_epoch(1, "seen")).tolist() == [1, 2]


BATCHES: dict[str, tuple[Any, Any]] = {
    "one logit": (LOGITS[:, :1], LABELS * 0),
    "a label above": (LOGITS, LABELS + 2),
    "a label below": (LOGITS, LABELS - 1),
    "whole logits": (LOGITS.long(), LABELS),
    "fewer logits": (LOGITS[:1], LABELS),
    "labels as floats": (LOGITS, LABELS.float()),
    "rows of odd lengths": ([[1.0, 2.0], [1.0]], LABELS),
    "one row": (LOGITS[0], LABELS),
    "one hot": (LOGITS, torch.eye(3)[:2].long()),
    "complex": (LOGITS.to(torch.complex64), LABELS),
}


@pytest.mark.parametrize("what", BATCHES)
@pytest.mark.parametrize("selector", ["infobatch", "nlu-data-diet", "uncertainty"])
def test_logits_and_labels_that_do_not_fit_are_refused_wherever_they_are_told(
    what: str, selector: str
) -> None:
    logits, labels = BATCHES[what]
    sampler, recorder = DynamicSampler(6, selector=selector), Recorder(6)
    measure = sampler.selector.measure
    for tell in (
        lambda: sampler.update([0, 1], logits, labels),
        lambda: recorder.update([0, 1], logits, labels),
        lambda: measure_task_batch(measure, Classification(), logits, labels),
    ):
        with pytest.raises(BadInputError) as caught:
            tell()
        assert "\n" not in str(caught.value)
    assert not len(sampler.state_dict().get("reported.places", ())) and not len(
        recorder.state_dict()["presented.ids"]
    )


@pytest.mark.parametrize(
    "numbers",
    [torch.tensor(1.0), torch.rand(2, 5), torch.rand(2, 1), torch.rand(3), ["a", "b"], [None, 1.0], 1.0,
     torch.rand(2).to(torch.complex64), [[1.0], [1.0, 2.0]]],
)  # fmt: skip
def test_losses_that_are_not_one_an_example_are_refused(numbers: Any) -> None:
    for named in ({"losses_or_logits": numbers}, {"measured": numbers}):
        sampler = DynamicSampler(6)
        with pytest.raises(BadInputError) as caught:
            sampler.update([0, 1], **named)
        assert "\n" not in str(caught.value)
        assert "reported.places" not in sampler.state_dict()


def test_losses_beside_measured_numbers_are_refused() -> None:
    for named in ({"losses_or_logits": torch.ones(2)}, {"targets": LABELS}):
        with pytest.raises(BadInputError, match="give one of them"):
            DynamicSampler(6).update([0, 1], measured=torch.ones(2), **named)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@pytest.mark.parametrize("name", ["token_classification", "intent_slots", "multilabel"])
@pytest.mark.parametrize("outputs", [LOGITS, LOGITS[:1], torch.tensor(1.0), None])
def test_outputs_that_do_not_fit_a_task_are_said_to(name: str, outputs: Any) -> None:
    task = TASKS[name]()
    for tell in (
        lambda: Recorder(6, task=task).update([0, 1], outputs, LABELS + 5),
        lambda: measure_task_batch("el2n", task, outputs, LABELS + 5),
    ):
        with pytest.raises(BadInputError, match=f"do not fit the task '{name}'") as caught:
            tell()
        assert "\n" not in str(caught.value)


def test_a_device_without_memory_is_no_misfit(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(Classification, "loss", full)
    with pytest.raises(torch.OutOfMemoryError):
        measure_task_batch("loss", Classification(), LOGITS, LABELS)
