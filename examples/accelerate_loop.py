"""A dynamic sampler under Accelerate, its loss weighed over windows of accumulation; it goes into the checkpoints.

python examples/accelerate_loop.py
torchrun --standalone --nproc-per-node=2 examples/accelerate_loop.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

from datadiet.dynamic import DynamicSampler, InfoBatch, Schedule, weighed_loss, with_ids
from datadiet.integrations.accelerate import dynamic_loader, end_epoch


def main(epochs: int = 8) -> None:
    """One epoch on everything, then without a random half of those below the mean loss; the others weigh more."""
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    digits = load_digits()
    rows = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
    # Accelerate deals the batches out to the processes, so the sampler does not.
    sampler = DynamicSampler(
        len(rows), Schedule(warmup=1), InfoBatch(drop=0.5), batch_size=16, rank=0, world_size=1
    )
    loader = dynamic_loader(accelerator, with_ids(rows), sampler)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    for epoch in range(epochs):
        steps = len(loader)
        for ids, inputs, targets in loader:
            with accelerator.accumulate(model):

                def compute(inputs: torch.Tensor = inputs, targets: torch.Tensor = targets) -> torch.Tensor:
                    return F.cross_entropy(model(inputs), targets, label_smoothing=0.05)

                loss = weighed_loss(sampler, ids, compute)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
        end_epoch(accelerator, sampler)
        accelerator.print(f"epoch {epoch}: {steps} batches a process, last loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
