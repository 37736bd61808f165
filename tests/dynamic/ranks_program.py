"""Run by torchrun: plays epochs on every rank and writes the ids that each one was handed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from test_dynamic_sampler import SELECTORS, N, make, number_of

from datadiet.dynamic import DynamicSampler, NluDataDiet, Schedule
from datadiet.tracking import Recorder


def play_one(sampler: DynamicSampler) -> list[list[int]]:
    batches = []
    for batch in sampler:
        sampler.update(torch.tensor(batch), measured=torch.from_numpy(number_of(batch, sampler.epoch)))
        batches.append(batch)
    sampler.end_epoch()
    return batches


def through(name: str, **options: object) -> list[list[list[int]]]:
    sampler = make(name, **options)
    return [play_one(sampler) for _ in range(5)]


def resumed(name: str) -> list[list[list[int]]]:
    """As `through` on single batches, but interrupted in epoch 2, with only the first rank's state kept."""
    sampler = make(name)
    seen = [play_one(sampler) for _ in range(2)]
    handed = iter(sampler)
    first = [next(handed) for _ in range(2)]
    for batch in first:
        sampler.update(torch.tensor(batch), measured=torch.from_numpy(number_of(batch, 2)))
    sampler.gather()
    kept = [sampler.state_dict()]
    dist.broadcast_object_list(kept, src=0)
    again = make(name)
    again.load_state_dict(kept[0])
    seen.append(first + play_one(again))
    return seen + [play_one(again) for _ in range(2)]


def scored() -> list[list[list[int]]]:
    """A selector with scoring passes, each rank scoring its share."""
    sampler = DynamicSampler(N, Schedule(warmup=1, every=2), NluDataDiet(keep=0.5), batch_size=4, seed=3)
    seen = []
    for epoch in range(5):
        if sampler.needs_scoring_pass:
            sampler.begin_scoring()
            for batch in sampler.scoring_batches(6):
                sampler.update(batch, measured=number_of(batch, epoch))
            sampler.end_scoring(0.5)
        seen.append(list(sampler))
        sampler.end_epoch()
    return seen


def recorded() -> list[list[list[int]]]:
    """As told by a recorder that merges over ranks itself."""
    sampler, recorder = make("infobatch"), Recorder(num_examples=N)
    logits = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))

    def all_reduce(tensor: torch.Tensor) -> torch.Tensor:
        if dist.is_initialized():
            dist.all_reduce(tensor)
        return tensor

    seen = []
    for _ in range(4):
        batches = list(sampler)
        for batch in batches:
            recorder.update(torch.tensor(batch), logits[batch], torch.tensor(batch) % 3)
        recorder.reduce(all_reduce)
        recorder.end_epoch()
        sampler.end_epoch(recorder)
        seen.append(batches)
    return seen


def play_everything() -> dict[str, list[list[list[int]]]]:
    played = {}
    for name in SELECTORS:
        played[name] = through(name)
        played[f"{name}, uneven"] = through(name, even_batches=False)
        played[f"{name}, single ids"] = [[[number] for number in epoch] for epoch in singles(name)]
    played["scored"] = scored()
    played["recorded"] = recorded()
    return played


def singles(name: str) -> list[list[int]]:
    sampler = make(name, batch_size=None)
    seen = []
    for epoch in range(4):
        handed = list(sampler)
        sampler.update(torch.tensor(handed), measured=torch.from_numpy(number_of(handed, epoch)))
        sampler.end_epoch()
        seen.append(handed)
    return seen


def main() -> None:
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    played = play_everything()
    for name in SELECTORS:
        played[f"{name}, resumed"] = resumed(name)
    Path(sys.argv[1], f"rank{dist.get_rank()}.json").write_text(json.dumps(played))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
