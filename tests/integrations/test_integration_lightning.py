"""The Lightning callbacks on tiny nets: through and resumed, with settings of all kinds, attached to plain modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

from datadiet.dynamic import (  # noqa: E402
    DynamicSampler,
    InfoBatch,
    NluDataDiet,
    RandomCycles,
    Schedule,
    Uncertainty,
    with_ids,
)
from datadiet.foundation.errors import BadInputError  # noqa: E402
from datadiet.integrations.lightning import DataDietCallback, attach  # noqa: E402
from datadiet.tracking import Recorder  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
N, EPOCHS, BATCH = 26, 4, 4
SAMPLERS: dict[str, Any] = {
    "infobatch": (InfoBatch(), Schedule(warmup=1)),
    "nlu-data-diet": (NluDataDiet(keep=0.5), Schedule(warmup=1, every=2)),
    "growing": (RandomCycles(keep=0.4), Schedule(warmup=0, epochs=EPOCHS, full_tail=0.5)),
}


def rows() -> list[tuple[torch.Tensor, int]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(5, generator=generator), i % 3) for i in range(N)]


class Net(lightning.LightningModule):  # type: ignore[misc]
    def __init__(self, sampler: DynamicSampler | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(5, 3)
        self.sampler = sampler
        self.seen: dict[int, list[list[int]]] = {}

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer(inputs)

    def training_step(self, batch: Any, _: int) -> dict[str, Any]:
        ids, inputs, targets = batch
        self.seen.setdefault(self.current_epoch, []).append(ids.tolist())
        logits = self(inputs)
        losses = F.cross_entropy(logits, targets, reduction="none")
        weights = 1.0 if self.sampler is None else self.sampler.weights(ids)
        return {"loss": (losses * weights).mean(), "ids": ids, "logits": logits, "targets": targets}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)


def fit(folder: Path, name: str, resume: Path | None = None, **options: Any) -> tuple[Net, DataDietCallback]:
    selector, schedule = SAMPLERS[name]
    sampler = DynamicSampler(N, schedule, selector, batch_size=BATCH, seed=7)
    module = Net(sampler)
    callback = DataDietCallback(sampler, Recorder(num_examples=N), scoring_batch_size=16)
    saving = lightning.callbacks.ModelCheckpoint(
        dirpath=folder, filename="{step}", every_n_train_steps=1, save_top_k=-1
    )
    trainer = lightning.Trainer(
        **{
            "max_epochs": EPOCHS,
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "reload_dataloaders_every_n_epochs": 1,
            "callbacks": [callback, saving],
            **options,
        }
    )
    trainer.fit(module, DataLoader(with_ids(rows()), batch_sampler=sampler), ckpt_path=resume)
    return module, callback


def flat(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_epoch_is_what_the_sampler_chose_and_resuming_changes_nothing(name: str, tmp_path: Path) -> None:
    module, callback = fit(tmp_path, name)
    assert callback.sampler is not None
    assert callback.sampler.epoch == EPOCHS
    sizes = [len(flat(module.seen[epoch])) for epoch in range(EPOCHS)]
    assert sizes[0] == (10 if name == "growing" else N)
    assert name == "infobatch" or sizes[1:] == {"nlu-data-diet": [13] * 3, "growing": [10, N, N]}[name]
    assert name != "infobatch" or sizes[1] < N
    steps = sum(map(len, module.seen.values()))
    last_of_first = len(module.seen[0])
    for step in (2, last_of_first, last_of_first + 1, steps - 1, steps):
        again, watched = fit(tmp_path / "again", name, resume=tmp_path / f"step={step}.ckpt")
        handed = [(epoch, batch) for epoch in range(EPOCHS) for batch in module.seen[epoch]]
        resumed = [(epoch, batch) for epoch in sorted(again.seen) for batch in again.seen[epoch]]
        assert resumed == handed[step:]
        assert torch.equal(again.layer.weight, module.layer.weight)
        assert watched.recorder is not None
        assert callback.recorder is not None
        for epoch in range(1, EPOCHS + 1):
            mine, theirs = (each.recorder.trace.of_epoch(epoch, "el2n") for each in (callback, watched))
            np.testing.assert_array_equal(mine, theirs)


def test_lengths_that_lightning_would_take_for_fixed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="reload_dataloaders_every_n_epochs=1"):
        fit(tmp_path, "infobatch", reload_dataloaders_every_n_epochs=0)


def test_a_training_step_without_ids_is_told_how_to_get_them(tmp_path: Path) -> None:
    class Silent(Net):
        def training_step(self, batch: Any, index: int) -> Any:
            return super().training_step(batch, index)["loss"]

    sampler = DynamicSampler(N, selector="infobatch", batch_size=BATCH)
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[DataDietCallback(sampler)],
    )
    with pytest.raises(BadInputError, match="training_step returned no 'ids'; wrap the data set"):
        trainer.fit(Silent(sampler), DataLoader(with_ids(rows()), batch_sampler=sampler))


def loader_of(sampler: DynamicSampler | None, **options: Any) -> DataLoader[Any]:
    return DataLoader(with_ids(rows()), batch_sampler=sampler, **options)


def trainer_of(callback: Any, *others: Any, **options: Any) -> Any:
    given = {
        "max_epochs": EPOCHS,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "reload_dataloaders_every_n_epochs": 1,
        "callbacks": [callback, *others],
    }
    return lightning.Trainer(**{**given, **options})


def sampler_of(selector: Any = None, schedule: Any = None, **options: Any) -> DynamicSampler:
    selector = InfoBatch() if selector is None else selector
    return DynamicSampler(
        N, schedule or Schedule(warmup=1), selector, **{"batch_size": BATCH, "seed": 7, **options}
    )


def sizes_of(module: Net) -> list[int]:
    return [len(flat(batches)) for _, batches in sorted(module.seen.items())]


class WithValidation(Net):
    def validation_step(self, batch: Any, _: int) -> None:
        *_, inputs, targets = batch
        self.log("loss", F.cross_entropy(self(inputs), targets))


class OwnSampler(Net):
    """Makes a new sampler each time that Lightning asks for the loader."""

    def train_dataloader(self) -> Any:
        self.sampler = sampler_of(seed=7)
        return loader_of(self.sampler)


class Plain(lightning.LightningModule):  # type: ignore[misc]
    """Knows of no ids: batches of others would not fit its steps and hooks."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(5, 3)
        self.seen: dict[int, list[list[int]]] = {}

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer(inputs)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        inputs, targets = batch
        return inputs, targets

    def training_step(self, batch: Any, _: int) -> Any:
        inputs, targets = batch
        self.seen.setdefault(self.current_epoch, []).append([0] * len(inputs))
        return self.loss(self(inputs), targets)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> Any:
        return F.cross_entropy(logits, targets)

    def validation_step(self, batch: Any, _: int, dataloader_idx: int = 0) -> None:
        inputs, targets = batch
        self.log("loss", F.cross_entropy(self(inputs), targets))

    def test_step(self, batch: Any, _: int) -> None:
        inputs, targets = batch
        self.log("loss", F.cross_entropy(self(inputs), targets))

    def predict_step(self, batch: Any, _: int) -> Any:
        inputs, _targets = batch
        return self(inputs)

    configure_optimizers = Net.configure_optimizers


# Going on


@pytest.mark.parametrize("name", ["infobatch", "nlu-data-diet"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_every_checkpoint_goes_on_exactly(name: str, accumulation: int, tmp_path: Path) -> None:
    """Also those after the last batch of an epoch, and those saved when validation ends."""
    validation = DataLoader(rows(), batch_size=8)

    def run(resume: Path | None = None) -> tuple[Net, DataDietCallback]:
        selector, schedule = SAMPLERS[name]
        module, callback = OwnSampler(None), DataDietCallback(None, Recorder(num_examples=N))
        module.validation_step = WithValidation.validation_step.__get__(module)  # type: ignore[method-assign]
        module.train_dataloader = lambda: loader_of(new(module, selector, schedule))  # type: ignore[method-assign]
        each = {"dirpath": tmp_path, "save_top_k": -1}
        saving = [
            lightning.callbacks.ModelCheckpoint(filename="batch-{step}", every_n_train_steps=1, **each),
            lightning.callbacks.ModelCheckpoint(filename="validated-{step}", **each),
        ]
        trainer = trainer_of(
            callback,
            *([] if resume else saving),
            max_epochs=3,
            accumulate_grad_batches=accumulation,
            enable_checkpointing=resume is None,
        )
        trainer.fit(module, val_dataloaders=validation, ckpt_path=resume)
        return module, callback

    def new(module: Net, selector: Any, schedule: Any) -> DynamicSampler:
        module.sampler = sampler_of(selector, schedule)
        return module.sampler

    through, callback = run()
    handed = [batch for epoch in sorted(through.seen) for batch in through.seen[epoch]]
    checkpoints = sorted(tmp_path.glob("*.ckpt"))
    assert len(checkpoints) > 9
    for checkpoint in checkpoints:
        again, watched = run(checkpoint)
        assert [batch for epoch in sorted(again.seen) for batch in again.seen[epoch]] == (
            handed[-count:] if (count := sum(map(len, again.seen.values()))) else []
        )
        assert torch.equal(again.layer.weight, through.layer.weight)
        assert watched.sampler is not None
        assert watched.sampler.epoch == 3
        assert watched.recorder is not None
        assert callback.recorder is not None
        np.testing.assert_array_equal(
            watched.recorder.trace.of_epoch(3, "el2n"), callback.recorder.trace.of_epoch(3, "el2n")
        )


def test_a_checkpoint_saved_without_the_callback_is_refused(tmp_path: Path) -> None:
    plain = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path
    )
    plain.fit(Plain(), DataLoader(rows(), batch_size=BATCH))
    plain.save_checkpoint(tmp_path / "plain.ckpt")
    sampler = sampler_of()
    with pytest.raises(BadInputError, match="saved without DataDietCallback"):
        trainer_of(DataDietCallback(sampler)).fit(
            Net(sampler), loader_of(sampler), ckpt_path=tmp_path / "plain.ckpt"
        )


def test_validating_a_checkpoint_does_not_turn_the_sampler_back(tmp_path: Path) -> None:
    sampler = sampler_of()
    module, trainer = WithValidation(sampler), trainer_of(DataDietCallback(sampler), max_epochs=1)
    trainer.fit(module, loader_of(sampler))
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, loader_of(sampler))
    trainer.validate(
        module, DataLoader(rows(), batch_size=8), ckpt_path=tmp_path / "first.ckpt", verbose=False
    )
    assert sampler.epoch == 2


def test_a_second_fit_goes_on_and_only_choices_that_are_trained_on_are_scored() -> None:
    sampler = sampler_of(NluDataDiet(keep=0.5))
    module, trainer = Net(None), trainer_of(DataDietCallback(sampler), max_epochs=2)
    trainer.fit(module, loader_of(sampler))
    assert (sampler.epoch, sampler.scoring_passes) == (2, 1)
    trainer.fit_loop.max_epochs = 4
    trainer.fit(module, loader_of(sampler))
    assert (sampler.epoch, sampler.scoring_passes) == (4, 3)
    assert sizes_of(module) == [N, 13, 13, 13]


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({"max_epochs": -1, "max_steps": 9}, 2),
        ({"max_epochs": -1, "max_steps": 7}, 1),
        ({"max_epochs": 3, "max_time": {"hours": 1}}, 3),
        ({"max_epochs": 3, "limit_train_batches": 7}, 3),
        ({"max_epochs": 2, "val_check_interval": 0.5, "num_sanity_val_steps": -1}, 2),
        ({"max_epochs": 2, "val_check_interval": 3}, 2),
        ({"max_epochs": 2, "val_check_interval": 6, "check_val_every_n_epoch": None}, 2),
        ({"fast_dev_run": True}, 1),
    ],
    ids=str,
)
def test_a_training_ends_well_however_it_ends(options: dict[str, Any], epochs: int) -> None:
    sampler = sampler_of(NluDataDiet(keep=0.5))
    module = WithValidation(None)
    trainer_of(DataDietCallback(sampler), **options).fit(
        module, loader_of(sampler), DataLoader(rows(), batch_size=8)
    )
    assert sampler.epoch == epochs
    assert sampler.scoring_passes == epochs - 1


def test_early_stopping_within_an_epoch_closes_it() -> None:
    class Stop(lightning.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = trainer.global_step == 9

    sampler = sampler_of(NluDataDiet(keep=0.5))
    module = Net(None)
    trainer_of(DataDietCallback(sampler), Stop()).fit(module, loader_of(sampler))
    assert sizes_of(module) == [N, 8]
    assert sampler.epoch == 2


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_that_read_a_short_epoch_at_once_change_nothing(persistent: bool) -> None:
    seen = []
    for options in ({}, {"num_workers": 2, "persistent_workers": persistent, "prefetch_factor": 4}):
        sampler = sampler_of(RandomCycles(keep=0.4))
        module = Net(None)
        trainer_of(DataDietCallback(sampler), max_epochs=3).fit(module, loader_of(sampler, **options))
        seen.append(module.seen)
    assert seen[0] == seen[1]
    assert sizes_of(module) == [N, 10, 10]


def test_steps_that_are_counted_beforehand_change_nothing() -> None:
    class Counting(Net):
        def configure_optimizers(self) -> Any:
            assert self.trainer.estimated_stepping_batches > 0
            return super().configure_optimizers()

    sampler = sampler_of()
    module = Counting(sampler)
    trainer_of(DataDietCallback(sampler), max_epochs=2).fit(module, loader_of(sampler))
    assert sizes_of(module)[0] == N > sizes_of(module)[1]


# The loader that is really used


def test_samplers_made_in_train_dataloader_go_on_where_the_last_one_was() -> None:
    module = OwnSampler(None)
    trainer_of(callback := DataDietCallback()).fit(module)
    given = sampler_of()
    other = Net(given)
    trainer_of(DataDietCallback(given)).fit(other, loader_of(given))
    assert module.seen == other.seen
    assert torch.equal(module.layer.weight, other.layer.weight)
    assert callback.sampler is module.sampler
    assert callback.sampler is not None
    assert callback.sampler.epoch == EPOCHS


def test_a_sampler_of_single_ids_is_the_callback_s_too() -> None:
    sampler = sampler_of(batch_size=None)
    module = Net(sampler)
    loader = DataLoader(with_ids(rows()), sampler=sampler, batch_size=BATCH)
    trainer_of(DataDietCallback(sampler), max_epochs=2).fit(module, loader)
    assert sizes_of(module)[0] == N > sizes_of(module)[1]


def no_such_training(
    match: str, callback: Any = None, loader: Any = None, module: Any = None, **options: Any
) -> None:
    """Refused before a step is taken, and the module is left as it was."""
    module = Net(None) if module is None else module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(BadInputError, match=match):
        trainer_of(callback, **options).fit(module, loader)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not {"training_step", "on_before_batch_transfer"} & set(vars(module))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"limit_train_batches": 0.5}, "limit_train_batches=0.5 would cut the epochs"),
        ({"limit_train_batches": 1}, "limit_train_batches=1 would cut the epochs"),
        ({"overfit_batches": 2}, "overfit_batches replaces the sampler"),
        ({"val_check_interval": 5}, "val_check_interval=5 is more batches"),
        ({"reload_dataloaders_every_n_epochs": 0}, "reload_dataloaders_every_n_epochs=1"),
        ({"reload_dataloaders_every_n_epochs": 2}, "reload_dataloaders_every_n_epochs=1"),
    ],
)
def test_settings_that_would_cut_epochs_are_refused(options: dict[str, Any], match: str) -> None:
    sampler = sampler_of()
    no_such_training(match, DataDietCallback(sampler), loader_of(sampler), Net(sampler), **options)
    module = OwnSampler(None)
    no_such_training(match, DataDietCallback(), None, module, **options)


def test_loaders_with_another_sampler_or_none_are_refused() -> None:
    shuffled = DataLoader(with_ids(rows()), batch_size=BATCH, shuffle=True)
    sampler = sampler_of()
    no_such_training("does not have the callback's sampler", DataDietCallback(sampler), shuffled)
    no_such_training(
        "does not have the callback's sampler", DataDietCallback(sampler), module=OwnSampler(None)
    )
    no_such_training("a sampler, a recorder, or both", DataDietCallback(), shuffled)
    two = [loader_of(sampler), shuffled]
    no_such_training("2 training loaders", DataDietCallback(sampler), two)
    ranks = sampler_of(rank=0, world_size=2)
    no_such_training("deals out to 2 ranks, but there are 1", DataDietCallback(ranks), loader_of(ranks))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (rows(), "do not bring their positions as ids"),
        (with_ids(rows()[:20]), "has 20 rows, but the sampler deals out the ids 0 to 25"),
        (with_ids(rows() * 2), "has 52 rows, but the sampler deals out the ids 0 to 25"),
        ([(i, *row) for i, row in reversed(list(enumerate(rows())))], "do not bring their positions as ids"),
    ],
)
def test_rows_that_do_not_fit_the_sampler_are_refused(data: Any, match: str) -> None:
    sampler = sampler_of()
    no_such_training(match, DataDietCallback(sampler), DataLoader(data, batch_sampler=sampler))


def test_a_recorder_alone_needs_no_sampler() -> None:
    recorder = Recorder(num_examples=N)
    shuffled = DataLoader(with_ids(rows()), batch_size=BATCH, shuffle=True)
    trainer_of(DataDietCallback(recorder=recorder), max_epochs=2).fit(Net(None), shuffled)
    assert recorder.epoch == 2


def test_a_batch_that_the_module_leaves_out_is_not_told_of() -> None:
    class Leaving(Net):
        def training_step(self, batch: Any, index: int) -> Any:
            return None if index == 1 else super().training_step(batch, index)

    sampler = sampler_of()
    trainer_of(DataDietCallback(sampler), max_epochs=2).fit(Leaving(sampler), loader_of(sampler))
    assert sampler.epoch == 2


# Modules as they are


def test_a_plain_module_trains_on_what_the_sampler_chose() -> None:
    sampler, module = sampler_of(), Plain()
    callback = attach(module, sampler)
    trainer = trainer_of(callback)
    trainer.fit(
        module,
        loader_of(sampler),
        [DataLoader(with_ids(rows()), batch_size=8), DataLoader(rows(), batch_size=8)],
    )
    other_sampler = sampler_of()
    other = Net(other_sampler)
    trainer_of(DataDietCallback(other_sampler)).fit(other, loader_of(other_sampler))
    assert sizes_of(module) == sizes_of(other)  # type: ignore[arg-type]
    torch.testing.assert_close(module.layer.weight, other.layer.weight)
    assert not {"training_step", "on_before_batch_transfer"} & set(vars(module))
    assert "dataloader" not in vars(trainer.fit_loop._data_source)


@pytest.mark.parametrize("with_them", [False, True])
def test_other_loops_work_with_ids_and_without(with_them: bool) -> None:
    module = Plain()
    data = with_ids(rows()) if with_them else rows()
    trainer, loader = trainer_of(attach(module)), DataLoader(data, batch_size=8)
    (tested,) = trainer.test(module, loader, verbose=False)
    assert trainer.validate(module, loader, verbose=False) == [tested]
    assert torch.cat(trainer.predict(module, loader)).shape == (N, 3)
    subset = torch.utils.data.Subset(data, range(4))  # type: ignore[arg-type]
    assert len(torch.cat(trainer.predict(module, DataLoader(subset, batch_size=8)))) == 4


def test_mappings_lose_their_id_and_nothing_else() -> None:
    class OfMappings(Plain):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            assert set(batch) == {"inputs", "targets"}
            return batch["inputs"], batch["targets"]

    datasets = pytest.importorskip("datasets")
    columns = {"inputs": [row[0].tolist() for row in rows()], "targets": [row[1] for row in rows()]}
    data = datasets.Dataset.from_dict(columns).with_format("torch")
    sampler, module = sampler_of(), OfMappings()
    loader = DataLoader(with_ids(data, "row"), batch_sampler=sampler)
    trainer_of(attach(module, sampler, id_column="row"), max_epochs=2).fit(
        module, loader, DataLoader(data, batch_size=8)
    )
    assert sizes_of(module)[1] < N  # type: ignore[arg-type]
    shuffled = DataLoader(with_ids(data, "row").shuffle(seed=1), batch_sampler=(sampler := sampler_of()))
    no_such_training(
        "do not bring their positions", attach(module, sampler, id_column="row"), shuffled, module
    )


def test_a_data_module_s_hooks_see_no_ids_either() -> None:
    class Data(lightning.LightningDataModule):  # type: ignore[misc]
        def train_dataloader(self) -> Any:
            return loader_of(sampler_of(NluDataDiet(keep=0.5)))

        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            inputs, targets = batch
            return inputs, targets

    module, callback = (module := Plain()), attach(module)
    trainer_of(callback, max_epochs=2).fit(module, datamodule=Data())
    assert sizes_of(module) == [N, 13]  # type: ignore[arg-type]


def test_rows_that_are_no_tuples_are_handed_over_as_they_were() -> None:
    class OfTensors(Plain):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch, torch.zeros(len(batch), dtype=torch.long)

    sampler, module = sampler_of(), OfTensors()
    data = with_ids([row[0] for row in rows()])
    trainer_of(attach(module, sampler), max_epochs=2).fit(module, DataLoader(data, batch_sampler=sampler))
    assert sizes_of(module)[1] < N  # type: ignore[arg-type]


def returning(what: Any) -> Plain:
    """A module whose `training_step` returns that of logits and targets."""
    module = Plain()
    module.loss = what  # type: ignore[method-assign]
    return module


def test_selectors_by_outputs_take_those_that_are_returned_or_those_of_the_loss() -> None:
    def own_loss(logits: torch.Tensor, targets: torch.Tensor) -> Any:
        loss = -logits.log_softmax(1)[torch.arange(len(targets)), targets].mean()
        return {"loss": loss, "logits": logits.detach(), "targets": targets}

    chosen = []
    for what in (F.cross_entropy, own_loss):
        sampler, module = sampler_of(Uncertainty(keep=0.5)), returning(what)
        trainer_of(attach(module, sampler), max_epochs=3).fit(module, loader_of(sampler))
        chosen.append(sampler.chosen_ids.tolist())
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 13
    sampler, module = sampler_of(Uncertainty(keep=0.5)), returning(lambda z, y: F.mse_loss(z, z * 0))
    no_such_training("ranks by probability", attach(module, sampler), loader_of(sampler), module)


def test_a_recorder_takes_what_training_step_returns() -> None:
    recorder = Recorder(num_examples=N)
    module = returning(lambda z, y: {"loss": F.cross_entropy(z, y), "logits": z.detach(), "targets": y})
    sampler = sampler_of()
    trainer_of(attach(module, sampler, recorder), max_epochs=1).fit(module, loader_of(sampler))
    assert recorder.trace.of_epoch(1, "seen").all()
    module, sampler = Plain(), sampler_of()
    silent = attach(module, sampler, Recorder(num_examples=N))
    no_such_training("the recorder needs logits and targets", silent, loader_of(sampler), module)


def test_losses_that_cannot_be_weighed_are_refused_before_training() -> None:
    module, sampler = returning(lambda z, y: (z**2).mean()), sampler_of()
    no_such_training("cannot be weighed", attach(module, sampler), loader_of(sampler), module)
    module = Plain()
    module.automatic_optimization = False
    no_such_training("automatic_optimization=False", attach(module, sampler), loader_of(sampler), module)
    module, other = Plain(), Plain()
    no_such_training("another module than attach", attach(other, sampler), loader_of(sampler), module)


def test_a_loss_that_nobody_weighs_or_tells_of_may_be_anything() -> None:
    module, sampler = returning(lambda z, y: (z**2).mean()), sampler_of(RandomCycles(keep=0.5))
    trainer_of(attach(module, sampler), max_epochs=2).fit(module, loader_of(sampler))
    assert sizes_of(module) == [N, 13]  # type: ignore[arg-type]


def test_a_method_that_an_object_has_of_its_own_is_put_back() -> None:
    module, sampler = Plain(), sampler_of()
    own = module.training_step
    module.training_step = own  # type: ignore[method-assign]
    trainer_of(attach(module, sampler), max_epochs=1).fit(module, loader_of(sampler))
    assert module.training_step is own
