"""Losses, errors and measures of every task against the formulas in float64 and against autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from task_oracle import NOTHING, OPTIONS, TASK_NAMES, batch, count, expected, padded

import datadiet as dd
from datadiet.scores.outputs import MEASURES, measure
from datadiet.tasks import IGNORED, TASKS, IntentSlots, Regression, Task, task_for

ALWAYS = {"probability", "el2n", "loss", "prediction", "correct"}


def make(name: str, **options: Any) -> Task:
    return task_for(name, **{**OPTIONS, **options})


def tensors(value: Any) -> list[torch.Tensor]:
    return list(value.values()) if isinstance(value, dict) else [value]


def rows(value: Any, keep: slice) -> Any:
    return {k: v[keep] for k, v in value.items()} if isinstance(value, dict) else value[keep]


def mapped(value: Any, change: Any) -> Any:
    return {k: change(v) for k, v in value.items()} if isinstance(value, dict) else change(value)


def test_the_names_of_tasks_are_these_and_each_knows_its_own() -> None:
    assert set(TASKS) == set(TASK_NAMES)
    assert [task_for(name).name for name in TASKS] == list(TASKS)
    assert [name for name in TASKS if task_for(name).single_label] == ["classification"]
    assert IGNORED == NOTHING == torch.nn.CrossEntropyLoss().ignore_index


@pytest.mark.parametrize("name", TASK_NAMES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.1, 2.0, 8.0]))
def test_every_measure_is_its_formula_in_float64(name, seed, scale) -> None:
    outputs, targets = batch(name, seed, scale=scale)
    found, wanted = make(name).measures(outputs, targets), expected(name, outputs, targets)
    assert set(wanted) == set(found) >= ALWAYS and set(found) <= set(MEASURES)
    for key, values in wanted.items():
        assert found[key].shape == (count(targets),), key
        np.testing.assert_allclose(found[key].numpy(), values, rtol=2e-4, atol=2e-5, err_msg=key)
    assert found["prediction"].dtype == torch.int32 and found["correct"].dtype == torch.bool
    assert all(found[key].dtype == torch.float32 for key in set(found) - {"prediction", "correct"})


def test_classification_measures_are_those_of_the_scores() -> None:
    outputs, targets = batch("classification", 3, size=50)
    found, wanted = task_for("classification").measures(outputs, targets), measure(outputs, targets)
    assert set(found) == set(wanted)
    for key in wanted:
        torch.testing.assert_close(found[key], wanted[key], rtol=1e-6, atol=1e-7)


def test_joint_el2n_is_the_root_of_the_intents_and_the_first_sub_tokens_squares() -> None:
    outputs, targets = batch("intent_slots", 5)
    found = make("intent_slots").measures(outputs, targets)["el2n"]
    for i in range(count(targets)):
        p = torch.softmax(outputs["intent"][i].double(), -1)
        total = (p - F.one_hot(targets["intent"][i], 4)).square().sum()
        for t, tag in enumerate(targets["slots"][i].tolist()):
            if tag != NOTHING:
                p = torch.softmax(outputs["slots"][i, t].double(), -1)
                total += (p - F.one_hot(torch.tensor(tag), 5)).square().sum()
        assert float(found[i]) == pytest.approx(float(total.sqrt()), rel=1e-5)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_el2n_is_the_norm_of_the_error_and_l1_error_its_sum(name) -> None:
    outputs, targets = batch(name, 1)
    task = make(name)
    errors, found = task.error(outputs, targets), task.measures(outputs, targets)
    torch.testing.assert_close(found["el2n"], errors.norm(dim=1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["l1_error"], errors.abs().sum(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_the_error_is_the_gradient_that_its_docstring_names(name) -> None:
    outputs, targets = batch(name, 2)
    outputs = mapped(outputs, lambda t: t.double().requires_grad_())
    if name == "classification":
        loss = F.cross_entropy(outputs, targets, reduction="sum")
    elif name == "intent_slots":
        loss = F.cross_entropy(outputs["intent"], targets["intent"], reduction="sum")
        loss = loss + F.cross_entropy(
            outputs["slots"].flatten(0, 1), targets["slots"].flatten(), reduction="sum"
        )
    elif name == "token_classification":
        loss = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="sum")
    elif name == "multilabel":
        loss = F.binary_cross_entropy_with_logits(outputs, targets.double(), reduction="sum")
    else:
        standardised = (targets.double() - OPTIONS["target_mean"]) / OPTIONS["target_scale"]
        loss = F.mse_loss(outputs[:, 0], standardised, reduction="sum") / 2
    gradients = torch.autograd.grad(loss, tensors(outputs))
    flat = torch.cat([g.flatten(1) for g in gradients], dim=1)
    found = make(name).error(mapped(outputs, torch.Tensor.detach), targets)
    torch.testing.assert_close(found.double(), flat, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_the_loss_is_the_recorded_one_and_has_gradients(name) -> None:
    outputs, targets = batch(name, 4)
    task = make(name)
    outputs = mapped(outputs, lambda t: t.requires_grad_())
    losses = task.loss(outputs, targets)
    wanted = expected(name, mapped(outputs, torch.Tensor.detach), targets)["loss"]
    np.testing.assert_allclose(losses.detach().numpy(), wanted, rtol=1e-4, atol=1e-6)
    losses.sum().backward()
    assert all(bool(t.grad.isfinite().all()) for t in tensors(outputs))
    assert not any(m.requires_grad for m in task.measures(outputs, targets).values())


@pytest.mark.parametrize("name", TASK_NAMES)
def test_correct_is_the_same_from_outputs_measures_and_kept_predictions(name) -> None:
    outputs, targets = batch(name, 6, size=40)
    task = make(name)
    right = task.correct(outputs, targets)
    assert 0 < int(right.sum()) < 40
    assert torch.equal(right, task.measures(outputs, targets)["correct"])
    metrics = task.metrics([task.predictions(outputs, targets)], [targets])
    assert metrics["accuracy"] == pytest.approx(float(right.double().mean()))
    if name not in ("classification", "intent_slots"):
        assert torch.equal(task.measures(outputs, targets)["prediction"] == 0, right)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_an_example_has_the_same_numbers_alone_and_in_any_batch(name) -> None:
    outputs, targets = batch(name, 7)
    task = make(name)
    together = task.measures(outputs, targets)
    for i in range(count(targets)):
        alone = task.measures(rows(outputs, slice(i, i + 1)), rows(targets, slice(i, i + 1)))
        for key in together:
            torch.testing.assert_close(alone[key], together[key][i : i + 1], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["intent_slots", "token_classification"])
def test_padding_changes_no_number(name) -> None:
    outputs, targets = batch(name, 8)
    longer, more = padded(name, outputs, targets)
    for smoothing in (0.0, 0.2):
        task = make(name, tag_names=("O", "B-a", "I-a", "B-b", "I-b"), label_smoothing=smoothing)
        torch.testing.assert_close(task.loss(longer, more), task.loss(outputs, targets), rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(
            task.error(longer, more).norm(dim=1), task.error(outputs, targets).norm(dim=1)
        )
        before, after = task.measures(outputs, targets), task.measures(longer, more)
        for key in before:
            torch.testing.assert_close(after[key], before[key], rtol=1e-5, atol=1e-6)
        kept = [task.predictions(*b) for b in ((outputs, targets), (longer, more))]
        assert task.metrics(kept[1:], [more]) == task.metrics(kept[:1], [targets])
        for key, values in kept[0].items():
            wide = kept[1][key]
            assert torch.equal(wide[:, : values.shape[1]] if values.ndim == 2 else wide, values)
            assert values.ndim == 1 or bool((wide[:, values.shape[1] :] == NOTHING).all())


@pytest.mark.parametrize("name", ["intent_slots", "token_classification"])
def test_wild_outputs_at_padding_leave_gradients_finite_and_untouched(name) -> None:
    outputs, targets = padded(name, *batch(name, 9))
    task = make(name)
    slots = (outputs["slots"] if isinstance(outputs, dict) else outputs).requires_grad_()
    task.loss(outputs, targets).sum().backward()
    tags = targets["slots"] if isinstance(targets, dict) else targets
    assert bool((slots.grad[tags == NOTHING] == 0).all()) and bool(slots.grad.isfinite().all())
    assert bool((slots.grad[tags != NOTHING] != 0).any())


def test_a_sentence_without_words_has_the_intents_numbers_only() -> None:
    outputs, targets = batch("intent_slots", 10)
    assert bool((targets["slots"][-1] == NOTHING).all())
    found = IntentSlots(intent_weight=0.3).measures(outputs, targets)
    alone = task_for("classification").measures(outputs["intent"], targets["intent"])
    for key in ("el2n", "l1_error", "entropy", "margin", "logit_margin", "correct"):
        torch.testing.assert_close(found[key][-1], alone[key][-1])
    torch.testing.assert_close(found["loss"][-1], 0.3 * alone["loss"][-1])
    words = task_for("token_classification").measures(outputs["slots"], targets["slots"])
    assert {key: float(values[-1]) for key, values in words.items()} == {
        "probability": 1.0, "el2n": 0.0, "l1_error": 0.0, "entropy": 0.0, "loss": 0.0, "margin": 1.0,
        "logit_margin": 0.0, "prediction": 0.0, "correct": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["classification", "intent_slots", "token_classification", "multilabel"])
def test_label_smoothing_is_in_the_loss_and_in_nothing_else(name) -> None:
    outputs, targets = batch(name, 11)
    plain, smooth = make(name), make(name, label_smoothing=0.1)
    for key, values in plain.measures(outputs, targets).items():
        assert torch.equal(smooth.measures(outputs, targets)[key], values)
    assert torch.equal(plain.error(outputs, targets), smooth.error(outputs, targets))

    def smoothed(logits: torch.Tensor, target: int) -> float:
        logs = torch.log_softmax(logits.double(), -1)
        return float(-0.9 * logs[target] - 0.1 * logs.mean())

    def of_words(logits: torch.Tensor, tags: torch.Tensor) -> float:
        losses = [smoothed(row, int(tag)) for row, tag in zip(logits, tags, strict=True) if tag != NOTHING]
        return float(np.mean(losses)) if losses else 0.0

    wanted = []
    for i in range(count(targets)):
        if name == "classification":
            wanted.append(smoothed(outputs[i], int(targets[i])))
        elif name == "intent_slots":
            intent = smoothed(outputs["intent"][i], int(targets["intent"][i]))
            wanted.append(0.3 * intent + 0.7 * of_words(outputs["slots"][i], targets["slots"][i]))
        elif name == "token_classification":
            wanted.append(of_words(outputs[i], targets[i]))
        else:
            y, z = targets[i].double() * 0.9 + 0.05, outputs[i].double()
            wanted.append(float(-(y * F.logsigmoid(z) + (1 - y) * F.logsigmoid(-z)).mean()))
    np.testing.assert_allclose(smooth.loss(outputs, targets).numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TASK_NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_outputs_are_read_in_float32(name, dtype) -> None:
    outputs, targets = batch(name, 12)
    outputs = mapped(outputs, lambda t: t.to(dtype))
    task = make(name)
    found, wanted = (
        task.measures(outputs, targets),
        task.measures(mapped(outputs, torch.Tensor.float), targets),
    )
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert task.loss(outputs, targets).dtype == torch.float32
    assert torch.equal(task.loss(outputs, targets), task.loss(mapped(outputs, torch.Tensor.float), targets))


@pytest.mark.parametrize("name", ["classification", "intent_slots", "token_classification", "multilabel"])
@pytest.mark.parametrize("size", [30.0, 1e4])
def test_confident_outputs_give_finite_numbers_and_easy_examples_stay_apart(name, size) -> None:
    outputs, targets = batch(name, 13)
    found = make(name).measures(mapped(outputs, lambda t: t * size), targets)
    assert all(bool(values.isfinite().all()) for values in found.values())
    lower, higher = (
        make(name).measures(
            mapped(rows(outputs, slice(0, 1)), lambda t, s=s: t * s), rows(targets, slice(0, 1))
        )
        for s in (10.0, 11.0)
    )
    assert 0 < float(higher["el2n"]) < float(lower["el2n"]) < 1e-10


@pytest.mark.parametrize("name", TASK_NAMES)
def test_an_empty_batch_gives_empty_measures(name) -> None:
    outputs, targets = batch(name, 14)
    nothing = slice(0, 0)
    task = make(name)
    assert task.loss(rows(outputs, nothing), rows(targets, nothing)).shape == (0,)
    found = task.measures(rows(outputs, nothing), rows(targets, nothing))
    assert all(values.shape == (0,) for values in found.values())


def test_regression_takes_a_column_or_a_row_and_refuses_more() -> None:
    outputs, targets = batch("regression", 15)
    task = make("regression")
    assert torch.equal(task.loss(outputs, targets), task.loss(outputs[:, 0], targets))
    with pytest.raises(dd.BadInputError, match="one output an example"):
        task.loss(outputs.expand(-1, 2), targets)


def test_regression_counts_standard_deviations_and_predicts_in_the_targets_unit() -> None:
    task = Regression(target_scale=4.0, target_mean=10.0)
    outputs, targets = torch.tensor([0.0, 1.0, -2.0, 0.5]), torch.tensor([10.0, 10.0, 10.0, 10.0])
    found = task.measures(outputs, targets)
    assert found["el2n"].tolist() == [0.0, 1.0, 2.0, 0.5]
    assert found["prediction"].tolist() == [0, 1, 2, 0]
    assert found["correct"].tolist() == [True, False, False, True]
    assert task.predictions(outputs, targets)["value"].tolist() == [10.0, 14.0, 2.0, 12.0]


def test_a_regression_that_has_gone_wrong_is_never_right() -> None:
    outputs = torch.tensor([float("nan"), float("inf"), -1e30])
    found = Regression().measures(outputs, torch.zeros(3))
    assert not bool(found["correct"].any()) and bool((found["prediction"] > 0).all())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("intent_slot", {}, "Did you mean 'intent_slots'"),
        ("generation", {}, "There is no task 'generation'"),
        ("regression", {"target_scale": 0.0}, "above zero"),
        ("regression", {"target_scale": float("nan")}, "above zero"),
        ("regression", {"target_mean": float("inf")}, "must be a number"),
        ("intent_slots", {"intent_weight": 1.5}, "between 0 and 1"),
    ],
)
def test_a_task_that_cannot_be_is_one_sentence(name, options, words) -> None:
    with pytest.raises(dd.BadInputError, match=words):
        task_for(name, **options)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (1, 3), (3,), (4, 3, 1)])
def test_targets_of_another_shape_are_not_stretched_to_several_labels(shape: tuple[int, ...]) -> None:
    task, outputs, targets = make("multilabel"), torch.randn(4, 3), torch.ones(shape)
    for read in (task.loss, task.error, task.correct, task.measures):
        with pytest.raises(dd.BadInputError, match=r"both are \(batch, labels\)"):
            read(outputs, targets)
