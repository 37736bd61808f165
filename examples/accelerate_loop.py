"""A dynamic sampler under Accelerate: it goes through `prepare` and into the accelerator's checkpoints.

python examples/accelerate_loop.py
accelerate launch --cpu --num_processes 2 examples/accelerate_loop.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

from datadiet.dynamic import DynamicSampler, Schedule, Uncertainty, with_ids
from datadiet.integrations.accelerate import dynamic_loader, end_epoch


def main(epochs: int = 8) -> None:
    """Five epochs on everything, then each on the half whose predictions vary most."""
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True)
    digits = load_digits()
    rows = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
    # Accelerate deals the batches out to the processes, so the sampler does not.
    sampler = DynamicSampler(
        len(rows), Schedule(warmup=5), Uncertainty(keep=0.5, window=5), batch_size=32, rank=0, world_size=1
    )
    loader = dynamic_loader(accelerator, with_ids(rows), sampler)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    for epoch in range(epochs):
        steps = len(loader)
        for ids, inputs, targets in loader:
            logits = model(inputs)
            loss = F.cross_entropy(logits, targets)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            sampler.update(ids, logits, targets)
        end_epoch(accelerator, sampler)
        accelerator.print(f"epoch {epoch}: {steps} steps a process, last loss {float(loss):.3f}")


if __name__ == "__main__":
    main()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
