"""The loop against a loop written out by hand, and what it must never do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import datadiet as dd
from datadiet.engine.setup import prepare
from datadiet.engine.training.loop import Observer, TrainingLoop, learning_rate, make_optimizer
from datadiet.engine.training.randomness import derive_seed


def loop_of(setup, *, seed=0, ids=None, observers=(), model=None, total=None) -> TrainingLoop:
    size = len(setup.examples.train) if ids is None else len(ids)
    return TrainingLoop(
        setup.recipe,
        setup.build(seed) if model is None else model,
        setup.task,
        setup.train,
        ids=ids,
        seed=seed,
        total_steps=total or setup.recipe.total_steps(size),
        accelerator=setup.accelerator,
        observers=observers,
    )


class Watch(Observer):
    def __init__(self) -> None:
        self.events: list[str] = []
        self.ids: list[np.ndarray] = []

    def on_begin(self, loop) -> None:
        self.events.append("begin")

    def on_batch(self, loop, batch, outputs, losses) -> None:
        self.events.append("batch")
        self.ids.append(batch.ids.numpy().copy())
        assert not outputs.requires_grad and not losses.requires_grad
        assert losses.shape == batch.ids.shape

    def on_epoch(self, loop) -> None:
        self.events.append("epoch")

    def on_step(self, loop) -> None:
        self.events.append("step")

    def on_end(self, loop) -> None:
        self.events.append("end")


def test_the_loop_ends_with_the_weights_of_a_loop_written_by_hand(tiny) -> None:
    loop = loop_of(tiny)
    loop.run()
    model = tiny.build(0)
    recipe = tiny.recipe
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, nesterov=True, weight_decay=5e-4)
    step = 0
    for epoch in range(4):
        for batch in tiny.train.epoch(batch_size=16, seed=derive_seed(0, "order"), epoch=epoch):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step, loop.total_steps)
            optimizer.zero_grad()
            F.cross_entropy(model(batch.inputs), batch.targets).backward()
            optimizer.step()
            step += 1
    assert step == loop.step == loop.total_steps
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loop.model_state()[name], value, rtol=1e-5, atol=1e-6)


def test_each_epoch_shows_every_id_once_in_another_order(tiny) -> None:
    watch = Watch()
    loop = loop_of(tiny, observers=[watch])
    loop.run()
    seen = np.concatenate(watch.ids).reshape(4, -1)
    assert all(np.array_equal(np.sort(epoch), tiny.examples.train.ids) for epoch in seen)
    assert not np.array_equal(seen[0], seen[1])


def test_observers_hear_events_in_order(tiny) -> None:
    watch = Watch()
    loop_of(tiny, observers=[watch], ids=tiny.examples.train.ids[:20], total=4).run()
    assert watch.events == ["begin", *["batch", "step", "batch", "epoch", "step"] * 2, "end"]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tiny) -> None:
    states = []
    for seed in (3, 3, 4):
        loop = loop_of(tiny, seed=seed)
        loop.run()
        states.append(loop.model_state())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not all(torch.equal(states[0][k], states[2][k]) for k in states[0])


def test_the_callers_random_state_and_settings_are_as_before(tiny) -> None:
    torch.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002 - the global stream is what must not be touched
    before, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    deterministic = torch.are_deterministic_algorithms_enabled()
    loop_of(tiny).run()
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002
    assert torch.are_deterministic_algorithms_enabled() == deterministic


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(16, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(inputs))


def test_stopping_at_any_step_and_going_on_ends_with_the_same_bits(tiny) -> None:
    torch.manual_seed(0)
    start = Dropping().state_dict()

    def fresh() -> TrainingLoop:
        model = Dropping()
        model.load_state_dict(start)
        return loop_of(tiny, model=model)

    whole = fresh()
    whole.run()
    for stop in (1, 7, 8, 9, 20):
        first = fresh()
        first.run(stop)
        second = fresh()
        second.load_state(first.training_state())
        second.run()
        assert all(torch.equal(whole.model_state()[k], v) for k, v in second.model_state().items()), stop


def test_a_loss_that_is_no_longer_finite_stops_the_run_and_names_the_step(
    vectors, tiny_recipe, tmp_path
) -> None:
    setup = prepare(vectors, tiny_recipe.replace(lr=1e30), workspace=tmp_path, device="cpu")
    with pytest.raises(dd.RunFailedError, match=r"step [1-9] of .*epoch 1, seed 0.*lower learning rate"):
        loop_of(setup).run()


def test_label_smoothing_changes_the_loss_but_not_what_correct_means(vectors, tiny_recipe, tmp_path) -> None:
    setup = prepare(vectors, tiny_recipe.replace(label_smoothing=0.1), workspace=tmp_path, device="cpu")
    logits, targets = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])
    mixed = F.one_hot(targets, 3) * 0.9 + 0.1 / 3
    expected = -(mixed * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(setup.task.loss(logits, targets), expected)
    assert setup.task.correct(logits, targets).tolist() == (logits.argmax(1) == targets).tolist()


def test_gradients_longer_than_the_limit_are_cut_to_it(tiny) -> None:
    tiny.recipe = tiny.recipe.replace(clip_norm=0.1, momentum=0.0, nesterov=False, weight_decay=0.0)
    loop, model = loop_of(tiny), tiny.build(0)
    loop.run(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    batches = tiny.train.epoch(batch_size=16, seed=derive_seed(0, "order"), epoch=0)
    lengths = []
    for step, batch in zip(range(3), batches, strict=False):
        optimizer.zero_grad()
        F.cross_entropy(model(batch.inputs), batch.targets).backward()
        length = torch.stack([(p.grad**2).sum() for p in model.parameters()]).sum().sqrt()
        for parameter in model.parameters():
            parameter.grad *= min(1.0, 0.1 / (float(length) + 1e-6))
        lengths.append(float(length))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(tiny.recipe, step, loop.total_steps)
        optimizer.step()
    assert max(lengths) > 0.1
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loop.model_state()[name], value, rtol=1e-5, atol=1e-6)


def test_weight_decay_leaves_biases_and_norms_alone_when_asked() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Embedding(5, 4), nn.LSTM(4, 2))
    model[0].weight.requires_grad_(False)
    recipe = dd.Recipe(optimizer="adamw", weight_decay=0.3, decay_norms_and_biases=False)
    groups = make_optimizer(recipe, model, torch.device("cpu")).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    found = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    assert found == {
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "2.weight": 0.3,
        "3.weight_ih_l0": 0.3,
        "3.weight_hh_l0": 0.3,
        "3.bias_ih_l0": 0.0,
        "3.bias_hh_l0": 0.0,
    }
    everything = make_optimizer(recipe.replace(decay_norms_and_biases=True), model, torch.device("cpu"))
    assert [group["weight_decay"] for group in everything.param_groups] == [0.3]
