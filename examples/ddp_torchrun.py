"""A dynamic sampler with DistributedDataParallel: every rank sees its share of the same choice.

    torchrun --standalone --nproc-per-node=2 examples/ddp_torchrun.py

Batches are dealt out in turn; what the ranks were told is merged when the epoch ends, each example counted once. With a
mean over the ranks' batches of equal size, as DDP takes it, a filled-up last batch shows a few examples twice;
`even_batches=False` does not, but then ranks may take a different number of steps.
"""

from __future__ import annotations

import gc

import torch
import torch.distributed as dist
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from datadiet.dynamic import DynamicSampler, NluDataDiet, Schedule, score_everything, with_ids


def main(epochs: int = 6) -> None:
    """One epoch on everything, then the hardest 40 % but for the top 5 %, chosen anew every second epoch."""
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    digits = load_digits()
    rows = with_ids(
        TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
    )
    sampler = DynamicSampler(
        len(rows), Schedule(warmup=1, every=2), NluDataDiet(keep=0.4, offset=0.05), batch_size=16
    )
    loader = DataLoader(rows, batch_sampler=sampler)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(epochs):
        if sampler.needs_scoring_pass:
            # Ranks have different numbers of scoring batches, so the bare model is asked.
            batches = DataLoader(rows, batch_sampler=sampler.scoring_batches(256))
            score_everything(model.module, batches, sampler)
        for ids, inputs, targets in loader:
            losses = F.cross_entropy(model(inputs), targets, reduction="none")
            optimizer.zero_grad()
            (losses * sampler.weights(ids)).mean().backward()
            optimizer.step()
        chosen, steps = len(sampler.chosen_ids), len(sampler)
        sampler.end_epoch()
        if dist.get_rank() == 0:
            print(
                f"epoch {epoch}: {chosen} examples in {steps} steps on each of {dist.get_world_size()} ranks"
            )
    if dist.get_rank() == 0:
        print(f"{sampler.scoring_passes} scoring passes took {sampler.scoring_seconds:.2f} s")
    del model, optimizer
    gc.collect()  # a wrapped model that outlives its process group can abort the process at its very end
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
