"""The dynamic loop against one written by hand around a bare sampler, and to the same bits after interruption."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import datadiet as dd
from datadiet.dynamic import DynamicSampler, Schedule, make_selector
from datadiet.engine.runs import describe, train_run
from datadiet.engine.setup import prepare
from datadiet.engine.training.checkpoint import TrainingState, read_tensors
from datadiet.engine.training.dynamic import DynamicLoop
from datadiet.engine.training.loop import Observer, SaveCheckpoints, learning_rate
from datadiet.engine.training.randomness import derive_seed
from datadiet.engine.workspace import content_address
from datadiet.jobs.dynamic_run import trained_share, twin_of, with_dynamic

EPOCHS, SEED = 6, 5
METHODS = {
    "infobatch": {"drop": 0.6, "full_tail": 0.2},
    "nlu-data-diet": {"keep": 0.4, "every": 2},
    "uncertainty": {"keep": 0.5, "window": 2, "warmup": 2},
    "curriculum": {"start": 0.4, "grow_epochs": 3},
    "random": {"keep": 0.3},
}


class Killed(Exception):
    """Stands for the end of the process."""


class Seen(Observer):
    """The ids of every batch, by epoch of the sampler."""

    def __init__(self) -> None:
        self.epochs: list[list[list[int]]] = []
        self.rates: list[float] = []

    def on_batch(self, loop, batch, outputs, losses) -> None:
        while len(self.epochs) <= loop.sampler.epoch:
            self.epochs.append([])
        self.epochs[loop.sampler.epoch].append(batch.ids.tolist())
        self.rates.append(loop.optimizer.param_groups[0]["lr"])


@pytest.fixture
def dynamic(vectors, tiny_recipe, tmp_path):
    def made(name: str, folder: str = "runs", **changes):
        setup = prepare(
            vectors, tiny_recipe.replace(epochs=EPOCHS, **changes), workspace=tmp_path / folder, device="cpu"
        )
        return with_dynamic(setup, name, METHODS[name])

    return made


def loop_of(setup, observers=()) -> DynamicLoop:
    size = len(setup.examples.train)
    return DynamicLoop(
        setup.recipe,
        setup.build(SEED),
        setup.task,
        setup.train,
        ids=None,
        seed=SEED,
        total_steps=setup.recipe.total_steps(size),
        accelerator=setup.accelerator,
        observers=observers,
    )


def bare_sampler(setup, name: str) -> DynamicSampler:
    options = dict(METHODS[name])
    times = {key: options.pop(key) for key in ("warmup", "every", "full_tail") if key in options}
    if name != "random":
        times.setdefault("warmup", 1)
    times.setdefault("warmup", 0)
    train = setup.examples.train
    return DynamicSampler(
        ids=train.ids,
        schedule=Schedule(**times, epochs=EPOCHS),
        selector=make_selector(name, **options),
        batch_size=setup.recipe.batch_size,
        seed=derive_seed(SEED, "order"),
    )


def by_hand(setup, name: str):
    """Train with nothing of the loop: batches, ids by epoch, rates and final weights."""
    train, sampler, model = setup.examples.train, bare_sampler(setup, name), setup.build(SEED)
    everything = next(iter(setup.train.epoch(batch_size=len(train), device="cpu")))
    place = {identity: row for row, identity in enumerate(everything.ids.tolist())}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, nesterov=True, weight_decay=5e-4)
    per_epoch = -(-len(train) // 16)
    epochs, rates = [], []
    for epoch in range(EPOCHS):
        if sampler.needs_scoring_pass:
            model.eval()
            sampler.begin_scoring()
            with torch.no_grad():
                sampler.update(everything.ids, model(everything.inputs), everything.targets)
            sampler.end_scoring(0.0)
        model.train()
        batches = list(sampler)
        for index, ids in enumerate(batches):
            rows = [place[identity] for identity in ids]
            inputs, targets = everything.inputs[rows], everything.targets[rows]
            step = epoch * per_epoch + index * per_epoch // len(batches)
            rates.append(learning_rate(setup.recipe, step, EPOCHS * per_epoch))
            optimizer.param_groups[0]["lr"] = rates[-1]
            optimizer.zero_grad()
            logits = model(inputs)
            losses = F.cross_entropy(logits, targets, reduction="none")
            (losses * sampler.weights(ids)).mean().backward()
            optimizer.step()
            sampler.update(ids, logits.detach(), targets)
        epochs.append(batches)
        sampler.end_epoch()
    return epochs, rates, model.state_dict()


@pytest.mark.parametrize("name", METHODS)
def test_a_dynamic_run_is_the_one_of_a_loop_written_by_hand_around_the_bare_sampler(name, dynamic) -> None:
    setup = dynamic(name)
    epochs, rates, weights = by_hand(setup, name)
    seen = Seen()
    loop = loop_of(setup, [seen])
    loop.run()
    assert seen.epochs == epochs
    assert seen.rates == pytest.approx(rates)
    assert loop.step == loop.total_steps == EPOCHS * 8
    assert loop.ledger.steps == sum(map(len, epochs)) < loop.total_steps
    assert loop.ledger.epoch_sizes == [sum(map(len, batches)) for batches in epochs]
    for key, value in weights.items():
        torch.testing.assert_close(loop.model_state()[key], value, rtol=1e-4, atol=1e-5)


def test_some_weights_of_infobatch_are_not_one_and_they_matter(dynamic, monkeypatch) -> None:
    setup = dynamic("infobatch")
    weighted = loop_of(setup)
    weighted.run()
    monkeypatch.setattr(DynamicLoop, "_weighted", lambda self, losses: losses)
    ignored = loop_of(setup)
    ignored.run()
    assert not torch.allclose(weighted.model_state()["head.bias"], ignored.model_state()["head.bias"])


def everything_of(run) -> dict[str, bytes]:
    found = {}
    for path in sorted(run.folder.path.rglob("*.safetensors")):
        for key, tensor in read_tensors(path)[0].items():
            found[f"{path.name}:{key}"] = tensor.numpy().tobytes()
    return found


def counts_of(ledger) -> dict[str, object]:
    return {key: ledger[key] for key in ("forwarded", "backwarded", "evaluated", "steps", "epoch_sizes")}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("steps", [3, 8, 13, 17])
def test_a_killed_dynamic_run_ends_with_the_same_bits_and_its_ledger_adds_up(
    name, steps, dynamic, monkeypatch
) -> None:
    whole = train_run(dynamic(name, "whole"), SEED, weights_at=[10**9])
    interrupted = dynamic(name, "interrupted")
    interrupted.checkpoint_every = 0.0
    written = []

    def on_step(self, loop) -> None:
        self.write(loop)
        written.append(loop.ledger.steps)
        if loop.ledger.steps == steps:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(SaveCheckpoints, "on_step", on_step)
        with pytest.raises(Killed):
            train_run(interrupted, SEED, weights_at=[10**9])
    (state_file,) = (interrupted.workspace.path / "trainings").glob("*/state.safetensors")
    before = TrainingState.read(state_file).ledger
    assert before["steps"] == steps == written[-1]
    resumed = train_run(interrupted, SEED, weights_at=[10**9])
    assert everything_of(resumed) == everything_of(whole)
    after = resumed.result["ledger"]
    assert counts_of(after) == counts_of(whole.result["ledger"])
    for clock in ("seconds", "processor_seconds"):
        assert all(after[clock][account] >= value for account, value in before[clock].items())


def test_a_twin_has_epochs_of_the_same_sizes_with_other_examples(dynamic) -> None:
    setup = dynamic("infobatch")
    run = train_run(setup, SEED)
    twin_setup = twin_of(setup, run)
    twin = train_run(twin_setup, SEED)
    own, other = run.result["ledger"], twin.result["ledger"]
    assert own["epoch_sizes"] == other["epoch_sizes"] and len(set(own["epoch_sizes"])) > 2
    assert (own["backwarded"], own["steps"]) == (other["backwarded"], other["steps"])
    assert trained_share(twin) == trained_share(run) == sum(own["epoch_sizes"]) / (EPOCHS * 120)
    chosen = []
    for one in (setup, twin_setup):
        seen = Seen()
        loop_of(one, [seen]).run()
        chosen.append({identity for batch in seen.epochs[1] for identity in batch})
    assert len(chosen[0]) == len(chosen[1]) and chosen[0] != chosen[1]


def test_a_dynamic_run_can_be_on_a_subset(dynamic) -> None:
    setup = dynamic("random")
    ids = setup.examples.train.ids[10:90]
    run = train_run(setup, 0, ids=ids, record=True)
    assert np.array_equal(run.trace().ids, ids)
    # As many steps as all data takes, 48, are 9.6 epochs of 5 steps on these: the tenth is cut short.
    assert run.result["ledger"]["epoch_sizes"] == [24] * 10
    assert run.result["epochs"] == pytest.approx(9.6)


def test_recipes_that_are_not_dynamic_have_the_address_they_had_before_there_was_a_choice(tiny) -> None:
    description = describe(tiny, 0, None, False)
    by_hand = {
        "model": "mlp",
        "model_options": {"hidden": [12]},
        "batch_size": 16,
        "drop_last": False,
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "schedule": "triangular",
        "warmup": 0.2,
        "milestones": [],
        "decay": 0.2,
        "label_smoothing": 0.0,
        "crop_pad": 0,
        "flip": False,
        "cutout": 0,
        "max_length": 256,
        "precision": "float32",
        "memory_format": "contiguous",
    }
    assert description["recipe"] == {
        **by_hand,
        "model_options": {"hidden": (12,)},
    }
    assert content_address(description["recipe"]) == content_address(by_hand)


def test_everything_dynamic_changes_the_address(tiny) -> None:
    def address(name, **options) -> str:
        return content_address(describe(with_dynamic(tiny, name, options), 0, None, False))

    found = [
        content_address(describe(tiny, 0, None, False)),
        address("infobatch"),
        address("infobatch", drop=0.4),
        address("random"),
        address("random", every=2),
    ]
    assert len(set(found)) == len(found)


def test_a_dynamic_recipe_survives_its_file(tmp_path) -> None:
    recipe = dd.Recipe(dynamic="random", dynamic_options={"keep": 0.4, "every": 2})
    recipe.to_yaml(tmp_path / "recipe.yaml")
    assert dd.Recipe.from_yaml(tmp_path / "recipe.yaml").replace(name="custom") == recipe


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("infobach", {}, "Did you mean 'infobatch'"),
        ("infobatch", {"dorp": 0.3}, "no option 'dorp'; did you mean 'drop'"),
        ("random", {"keep": 0.05}, "leaves 6 of 120 examples, less than one batch of 16"),
        ("random", {"keep": 1.5}, "keep is 1.5"),
        ("infobatch", {"drop": "much"}, "drop is 'much'; it must be a number"),
        ("infobatch", {"warmup": 9}, "leave none of the run's 4 epochs to choose in"),
    ],
)
def test_what_a_selector_cannot_take_is_said_before_anything_is_trained(tiny, name, options, words) -> None:
    with pytest.raises(dd.BadInputError, match=words):
        with_dynamic(tiny, name, options)


def test_where_dynamic_makes_no_sense_it_is_refused(vectors, tiny_recipe, tmp_path) -> None:
    recipe = tiny_recipe.replace(dynamic="random")
    with pytest.raises(dd.BadInputError, match="Scores are taken from ordinary training"):
        dd.score(vectors, recipe, workspace=tmp_path, device="cpu")
    with pytest.raises(dd.BadInputError, match="Subsets are compared by ordinary training"):
        dd.compare(vectors, {"some": vectors.train.ids[:60]}, recipe, workspace=tmp_path, device="cpu")
    with pytest.raises(dd.BadInputError, match="name the selector"):
        dd.Recipe(dynamic_options={"keep": 0.5})


def test_a_dynamic_run_stops_at_ends_of_epochs_only(dynamic) -> None:
    setup = dynamic("random")
    with pytest.raises(dd.BadInputError, match="ends of epochs only"):
        train_run(setup, 0, until=5)
    part = train_run(setup, 1, until=16, weights_at=[16])
    assert part.result is None and part.weights(16)[1]["ledger"]["epoch_sizes"] == [36, 36]
    assert everything_of(train_run(setup, 1)) == everything_of(
        train_run(dynamic("random", "straight"), 1, weights_at=[16])
    )
