"""The Lightning callback on a tiny net, through and resumed."""

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
    with_ids,
)
from datadiet.foundation.errors import BadInputError  # noqa: E402
from datadiet.integrations.lightning import DataDietCallback  # noqa: E402
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
    for step in (2, last_of_first + 1, steps - 1):
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


def test_neither_sampler_nor_recorder_is_refused() -> None:
    with pytest.raises(BadInputError, match="a sampler, a recorder, or both"):
        DataDietCallback()
