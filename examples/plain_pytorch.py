"""InfoBatch in a plain PyTorch loop: a sampler, a weight, two calls.

    python examples/plain_pytorch.py [--epochs 12]

The same loop is run on everything and with the sampler, and both are tested on examples that neither trained on.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from datadiet.dynamic import DynamicSampler, InfoBatch, RandomCycles, Schedule, with_ids


def train(sampler: DynamicSampler, rows: TensorDataset, epochs: int) -> tuple[nn.Module, int]:
    """Train a small net; returns it with the number of examples that went through it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(with_ids(rows), batch_sampler=sampler)
    shown = 0
    for _ in range(epochs):
        for ids, inputs, targets in loader:
            losses = F.cross_entropy(model(inputs), targets, reduction="none")
            optimizer.zero_grad()
            (losses * sampler.weights(ids)).mean().backward()
            optimizer.step()
            sampler.update(ids, losses)
            shown += len(ids)
        sampler.end_epoch()
    return model, shown


def main() -> None:
    """Compare everything with InfoBatch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12)
    epochs = parser.parse_args().epochs
    digits = load_digits()
    inputs = torch.tensor(digits.data, dtype=torch.float32) / 16
    targets = torch.tensor(digits.target)
    rows = TensorDataset(inputs[:1400], targets[:1400])
    schedule = Schedule(warmup=1, epochs=epochs, full_tail=0.125)
    samplers = {
        "everything": DynamicSampler(len(rows), selector=RandomCycles(keep=1.0), batch_size=32),
        "infobatch": DynamicSampler(len(rows), schedule, InfoBatch(drop=0.5), batch_size=32),
    }
    for name, sampler in samplers.items():
        model, shown = train(sampler, rows, epochs)
        with torch.no_grad():
            correct = (model(inputs[1400:]).argmax(1) == targets[1400:]).float().mean()
        print(
            f"{name:12} trained on {shown:6} examples, {100 * correct:.1f} % right on {len(targets) - 1400} others"
        )


if __name__ == "__main__":
    main()
