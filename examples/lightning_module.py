"""A dynamic sampler under Lightning: one callback, and a training step that returns what it saw.

python examples/lightning_module.py
"""

from __future__ import annotations

from typing import Any

import lightning
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from datadiet.dynamic import Curriculum, DynamicSampler, Schedule, with_ids
from datadiet.integrations.lightning import DataDietCallback


class Digits(lightning.LightningModule):
    """A small net on 8x8 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.layers(inputs)

    def training_step(self, batch: Any, index: int) -> dict[str, torch.Tensor]:
        """The loss, and what the callback tells the sampler."""
        ids, inputs, targets = batch
        losses = F.cross_entropy(self(inputs), targets, reduction="none")
        return {"loss": losses.mean(), "ids": ids, "losses": losses}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def main(epochs: int = 6) -> None:
    """One epoch on everything, then from the easiest third up to everything again."""
    lightning.seed_everything(0, verbose=False)
    digits = load_digits()
    rows = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
    sampler = DynamicSampler(
        len(rows), Schedule(warmup=1), Curriculum(start=0.33, grow_epochs=4), batch_size=32
    )
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        reload_dataloaders_every_n_epochs=1,  # epochs change their length
        callbacks=[DataDietCallback(sampler)],
    )
    trainer.fit(Digits(), DataLoader(with_ids(rows), batch_sampler=sampler))
    print(
        f"{sampler.epoch} epochs in {trainer.global_step} steps; all full ones would be {epochs * -(-len(rows) // 32)}"
    )


if __name__ == "__main__":
    main()
