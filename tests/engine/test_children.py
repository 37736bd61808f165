"""Children of a run: the parent's weights, another order, the schedule where it stood, resumed to the same bits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import datadiet as dd
from datadiet.engine.children import train_child
from datadiet.engine.points import load_weights
from datadiet.engine.runs import Run, train_run
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.checkpoint import read_tensors, weights_hash, write_tensors
from datadiet.engine.training.loop import TrainingLoop, learning_rate
from datadiet.engine.training.randomness import derive_seed


def last_weights(run: Run) -> dict[str, torch.Tensor]:
    return run.weights(run.total_steps)[0]


def parent_of(setup: Setup, steps: list[int]) -> Run:
    return train_run(setup, 3, record=True, weights_at=steps)


def test_a_child_takes_the_steps_that_plain_sgd_from_the_parents_weights_takes(tiny) -> None:
    step, seed = tiny.step_of(2), 7
    parent = parent_of(tiny, [step])
    child = train_child(tiny, parent, step, seed)
    model, _ = load_weights(tiny, parent, step)
    recipe, own = tiny.recipe, derive_seed(parent.seed, "child", step, seed)
    parameters = list(model.train().parameters())
    speed = [torch.zeros_like(parameter) for parameter in parameters]
    for now in range(step, parent.total_steps):
        epoch, within = divmod(now, parent.steps_per_epoch)
        batches = list(
            tiny.train.epoch(batch_size=recipe.batch_size, seed=derive_seed(own, "order"), epoch=epoch)
        )
        loss = F.cross_entropy(model(batches[within].inputs), batches[within].targets)
        rate = learning_rate(recipe, now, parent.total_steps)
        with torch.no_grad():
            for index, gradient in enumerate(torch.autograd.grad(loss, parameters)):
                decayed = gradient + recipe.weight_decay * parameters[index]
                speed[index] = recipe.momentum * speed[index] + decayed
                pull = decayed + recipe.momentum * speed[index] if recipe.nesterov else speed[index]
                parameters[index] -= rate * pull
    torch.testing.assert_close(last_weights(child), model.state_dict(), rtol=1e-4, atol=1e-5)


def test_a_child_of_the_last_step_is_its_parent(tiny) -> None:
    parent = parent_of(tiny, [10**9])
    child = train_child(tiny, parent, parent.total_steps, 0)
    assert weights_hash(last_weights(child)) == weights_hash(last_weights(parent))
    assert child.result["accuracy"] == parent.result["accuracy"]


def test_children_differ_by_seed_step_and_parent_and_are_trained_once(tiny, monkeypatch) -> None:
    steps = [0, tiny.step_of(1)]
    first, second = (train_run(tiny, seed, record=True, weights_at=steps) for seed in (3, 4))
    asked = [(first, 0, 0), (first, 0, 1), (first, steps[1], 0), (second, 0, 0)]
    children = [train_child(tiny, *one) for one in asked]
    assert len({child.folder.path.name for child in children}) == len(children)
    assert len({weights_hash(last_weights(child)) for child in children}) == len(children)
    monkeypatch.setattr(TrainingLoop, "run", lambda *_: pytest.fail("it was trained again"))
    assert not any(train_child(tiny, *one).trained for one in asked)


@pytest.mark.parametrize("step", [10, 17, 31])
def test_a_child_that_was_killed_ends_with_the_same_bits(
    vectors, tiny_recipe, tmp_path, killed_at, step
) -> None:
    whole = prepare(vectors, tiny_recipe, workspace=tmp_path / "whole", device="cpu")
    begin = whole.step_of(1)
    expected = train_child(whole, parent_of(whole, [begin]), begin, 1)
    interrupted = prepare(
        vectors, tiny_recipe, workspace=tmp_path / "interrupted", device="cpu", checkpoint_every=0.0
    )
    parent = parent_of(interrupted, [begin])

    with killed_at(step):
        train_child(interrupted, parent, begin, 1)
    resumed = train_child(interrupted, parent, begin, 1)
    assert resumed.trained and weights_hash(last_weights(resumed)) == weights_hash(last_weights(expected))
    assert read_tensors(resumed.folder.test_path)[0].keys() == {"ids", "prediction", "correct"}
    assert (
        resumed.test_predictions()["prediction"].tolist()
        == expected.test_predictions()["prediction"].tolist()
    )


def test_a_child_of_a_subset_needs_the_ids_of_its_parent(tiny) -> None:
    ids = tiny.examples.train.ids[:40]
    parent = train_run(tiny, 0, ids=ids, weights_at=[0])
    assert train_child(tiny, parent, 0, 0, ids=ids).num_examples == 40
    with pytest.raises(dd.BadInputError, match="trained on other ids"):
        train_child(tiny, parent, 0, 0)


def test_a_parent_of_another_recipe_is_refused(vectors, tiny_recipe, tmp_path) -> None:
    tiny = prepare(vectors, tiny_recipe, workspace=tmp_path, device="cpu")
    other = prepare(vectors, tiny_recipe.replace(lr=0.05), workspace=tmp_path, device="cpu")
    with pytest.raises(dd.BadInputError, match="its recipe is another"):
        train_child(other, parent_of(tiny, [0]), 0, 0)


def test_a_step_without_weights_or_beyond_the_end_is_refused(tiny) -> None:
    parent = parent_of(tiny, [0])
    with pytest.raises(dd.BadInputError, match="keeps no weights at step 8"):
        train_child(tiny, parent, 8, 0)
    with pytest.raises(dd.BadInputError, match="has steps 0 to"):
        train_child(tiny, parent, parent.total_steps + 1, 0)


def test_weights_that_are_not_those_that_were_kept_are_found_out(tiny) -> None:
    parent = parent_of(tiny, [0])
    state, facts = parent.weights(0)
    state["head.bias"] += 1e-3
    write_tensors(parent.folder.weights_path(0), state, facts)
    with pytest.raises(dd.RunFailedError, match="not as it was written"):
        train_child(tiny, parent, 0, 0)
