"""A dynamic sampler under Lightning: `attach` takes a module as it is, and weighs its loss.

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

from datadiet.dynamic import DynamicSampler, InfoBatch, Schedule, with_ids
from datadiet.integrations.lightning import attach


class Digits(lightning.LightningModule):
    """A small net on 8x8 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.layers(inputs)

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        """Of a batch without ids, as ever."""
        inputs, targets = batch
        return F.cross_entropy(self(inputs), targets, label_smoothing=0.05)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def main(epochs: int = 6) -> None:
    """One epoch on everything, then without a random half of those below the mean loss; the others weigh more."""
    lightning.seed_everything(0, verbose=False)
    digits = load_digits()
    rows = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
    sampler = DynamicSampler(len(rows), Schedule(warmup=1), InfoBatch(drop=0.5), batch_size=32)
    module = Digits()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        reload_dataloaders_every_n_epochs=1,  # epochs change their length
        callbacks=[attach(module, sampler)],
    )
    trainer.fit(module, DataLoader(with_ids(rows), batch_sampler=sampler))
    print(
        f"{sampler.epoch} epochs in {trainer.global_step} steps; all full ones would be {epochs * -(-len(rows) // 32)}"
    )


if __name__ == "__main__":
    main()
