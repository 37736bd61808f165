"""Run by torchrun or alone: a loop under Accelerate that writes the ids that each process was handed."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator, DataLoaderConfiguration

from datadiet.dynamic import DynamicSampler, InfoBatch, RandomCycles, Schedule, with_ids
from datadiet.integrations.accelerate import dynamic_loader, end_epoch
from datadiet.tracking import Recorder

N, EPOCHS, BATCH = 29, 4, 3


def rows() -> list[tuple[torch.Tensor, int]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(5, generator=generator), i % 3) for i in range(N)]


def train(folder: Path, stop_at: tuple[int, int] | None = None, resume: bool = False) -> dict[str, Any]:
    """Losses are those of fixed outputs, so that any number of processes sees the same ones."""
    accelerator = Accelerator(cpu=True)
    sampler = DynamicSampler(
        N, Schedule(warmup=1), InfoBatch(), batch_size=BATCH, seed=2, rank=0, world_size=1
    )
    loader = dynamic_loader(accelerator, with_ids(rows()), sampler)
    recorder = Recorder(num_examples=N)
    fixed = torch.randn(N, 3, generator=torch.Generator().manual_seed(1))
    seen: list[list[list[int]]] = [[] for _ in range(EPOCHS)]
    if resume:
        accelerator.load_state(str(folder / "state"))
    for epoch in range(sampler.epoch, EPOCHS):
        announced = len(loader)
        for ids, _, targets in loader:
            logits = fixed[ids] + 0.1 * epoch
            sampler.update(ids, F.cross_entropy(logits, targets, reduction="none"))
            recorder.update(ids, logits, targets)
            seen[epoch].append(ids.tolist())
            if stop_at == (epoch, len(seen[epoch])):
                sampler.gather()
                accelerator.save_state(str(folder / "state"))
        assert resume or announced == len(seen[epoch])
        end_epoch(accelerator, sampler, recorder)
    assert resume or not accelerator.is_main_process or recorder.trace.of_epoch(1, "seen").all()
    return {"seen": seen, "rank": accelerator.process_index}


def handed_out_without_filling_up() -> list[list[int]]:
    """The ids of one rank in each epoch, where ranks may take different numbers of steps."""
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(even_batches=False))
    sampler = DynamicSampler(
        N, Schedule(warmup=1), RandomCycles(keep=0.5), batch_size=BATCH, seed=2, rank=0, world_size=1
    )
    loader = dynamic_loader(accelerator, with_ids(rows()), sampler)
    seen: list[list[int]] = []
    for _ in range(2):
        seen.append([number for ids, *_ in loader for number in ids.tolist()])
        end_epoch(accelerator, sampler)
    return seen


def main() -> None:
    folder = Path(sys.argv[1])
    through = train(folder, stop_at=(1, 2))
    resumed = train(folder, resume=True)
    (folder / f"rank{through['rank']}.json").write_text(
        json.dumps(
            {
                "through": through["seen"],
                "resumed": resumed["seen"],
                "not filled up": handed_out_without_filling_up(),
            }
        )
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
    gc.collect()  # wrapped models go before their process group
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
