"""Gradient norms of every task on a small BERT: dicts in, dicts out, against the loop of plain autograd."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch

from datadiet.models import ModelContext, build_model
from datadiet.pergrad import gradient_norms
from datadiet.tasks import IGNORED, Task, task_for

pytest.importorskip("transformers")

TASKS = ("classification", "intent_slots", "token_classification", "multilabel", "regression")
HEADS = r"^(intent_head|slot_head|classifier\.classifier)\."
LENGTHS, WIDTH, CLASSES, TAGS = (9, 4, 6, 9, 2), 9, 4, 5


def made(name: str, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    context = ModelContext(
        "text", CLASSES, (), 50, task=name, num_tags=TAGS, num_outputs=1 if name == "regression" else 0
    )
    return build_model("tiny-bert", context, {"hidden": 16, "intermediate": 24}).eval()


def task_named(name: str) -> Task:
    return task_for(name, intent_weight=0.3, target_scale=4.0, target_mean=10.0, label_smoothing=0.1)


def batch(name: str, extra: int = 0) -> tuple[dict[str, torch.Tensor], Any]:
    g = torch.Generator().manual_seed(1)
    size = len(LENGTHS)
    mask = (torch.arange(WIDTH) < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(1, 50, (size, WIDTH), generator=g) * mask
    tags = torch.randint(0, TAGS, (size, WIDTH), generator=g).masked_fill(mask == 0, IGNORED)
    tags[:, 0] = IGNORED
    tags[0, 3:5] = IGNORED
    intents = torch.randint(0, CLASSES, (size,), generator=g)
    labels, numbers = torch.randint(0, 2, (size, CLASSES), generator=g), torch.randn(size, generator=g)
    if extra:
        ids, mask = (torch.cat([t, t.new_zeros(size, extra)], 1) for t in (ids, mask))
        tags = torch.cat([tags, tags.new_full((size, extra), IGNORED)], 1)
    targets = {
        "classification": intents,
        "intent_slots": {"intent": intents, "slots": tags},
        "token_classification": tags,
        "multilabel": labels.float(),
        "regression": 10 + 4 * numbers,
    }
    return {"input_ids": ids, "attention_mask": mask}, targets[name]


def one(value: Any, i: int) -> Any:
    return {k: v[i : i + 1] for k, v in value.items()} if isinstance(value, dict) else value[i : i + 1]


def loop(model: torch.nn.Module, inputs: Any, targets: Any, task: Task, head: bool) -> torch.Tensor:
    """Norms in float64, one backward pass an example."""
    model = copy.deepcopy(model).double()
    wanted = [
        p
        for n, p in model.named_parameters()
        if not head or n.startswith(("intent_", "slot_", "classifier.cl"))
    ]
    rows = []
    for i in range(len(LENGTHS)):
        loss = task.loss(model(one(inputs, i)), one(targets, i))
        found = torch.autograd.grad(loss.sum(), wanted, allow_unused=True)
        rows.append(torch.cat([g.flatten() for g in found if g is not None]).norm())
    return torch.stack(rows)


@pytest.mark.parametrize("head", [False, True], ids=["all", "head"])
@pytest.mark.parametrize("name", TASKS)
def test_norms_of_every_task_are_those_of_the_loop(name, head) -> None:
    model, task, (inputs, targets) = made(name), task_named(name), batch(name)
    wanted = loop(model, inputs, targets, task, head)
    assert float(wanted.min()) > 1e-3 and len(set(wanted.tolist())) == len(LENGTHS)
    parameters = HEADS if head else "all"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the slow way warns
        found = gradient_norms(model, inputs, targets, task=task, parameters=parameters)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-6)
    double = gradient_norms(
        copy.deepcopy(model).double(),
        inputs,
        targets,
        task=task,
        parameters=parameters,
        verify_independence=True,
    )
    torch.testing.assert_close(double, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("tags", [TAGS, CLASSES], ids=["other-width", "same-width"])
def test_the_head_of_a_model_with_two_outputs_is_both_of_its_heads(tags) -> None:
    context = ModelContext("text", CLASSES, (), 50, task="intent_slots", num_tags=tags)
    model = build_model("tiny-bert", context, {"hidden": 16, "layers": 1}).eval()
    inputs, targets = batch("intent_slots")
    targets["slots"] = targets["slots"].clamp(max=tags - 1)
    found = gradient_norms(
        model, inputs, targets, task=task_named("intent_slots"), parameters="head", per_layer=True
    )
    assert set(found) == {
        f"{head}.{kind}" for head in ("intent_head", "slot_head") for kind in ("weight", "bias")
    }


@pytest.mark.parametrize("name", TASKS)
def test_padding_changes_no_norm_and_no_measure(name) -> None:
    model, task = made(name), task_named(name)
    short, long = batch(name), batch(name, extra=6)
    torch.testing.assert_close(
        gradient_norms(model, *long, task=task),
        gradient_norms(model, *short, task=task),
        rtol=1e-5,
        atol=1e-6,
    )
    with torch.no_grad():
        before, after = (task.measures(model(inputs), targets) for inputs, targets in (short, long))
    for key in before:
        torch.testing.assert_close(after[key], before[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_norms_do_not_depend_on_the_batch_around(name) -> None:
    model, task, (inputs, targets) = made(name), task_named(name), batch(name)
    together = gradient_norms(model, inputs, targets, task=task)
    apart = torch.cat(
        [gradient_norms(model, one(inputs, i), one(targets, i), task=task) for i in range(len(LENGTHS))]
    )
    torch.testing.assert_close(apart, together, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["intent_slots", "token_classification"])
def test_a_batch_as_large_as_its_texts_are_long_is_taken_apart_along_examples(name) -> None:
    model, task, (inputs, targets) = made(name), task_named(name), batch(name)
    square = {key: value[:, : len(LENGTHS)] for key, value in inputs.items()}
    if isinstance(targets, dict):
        targets = {**targets, "slots": targets["slots"][:, : len(LENGTHS)]}
    else:
        targets = targets[:, : len(LENGTHS)]
    found = gradient_norms(model, square, targets, task=task)
    torch.testing.assert_close(
        found.double(), loop(model, square, targets, task, False), rtol=1e-4, atol=1e-6
    )
