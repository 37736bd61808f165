"""The gradient of each optimiser step of a real loop, beside what a plain loop has, each example's loss weighed.

Run by torchrun, all loops and tasks are tried in several processes.
"""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from datadiet.dynamic import DynamicSampler, InfoBatch, NluDataDiet, Schedule, weighed_loss, with_ids
from datadiet.foundation.errors import BadInputError
from datadiet.integrations.accelerate import dynamic_loader, end_epoch
from datadiet.integrations.lightning import DataDietCallback, attach

N, BATCH, EPOCHS, CLASSES, LENGTH = 23, 4, 2, 3, 3
CLASS_WEIGHTS = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
TASKS = ("classification", "tokens", "label-sets", "regression", "causal-lm")
LOOPS = ("attach", "own-weights", "accelerate")


def rows_of(task: str) -> TensorDataset:
    """Each row's first input is its id."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(N, 5, generator=generator, dtype=torch.float64)
    inputs[:, 0] = torch.arange(N)
    labels = torch.arange(N) % CLASSES
    if task in ("tokens", "causal-lm"):
        labels = torch.randint(0, CLASSES, (N, LENGTH), generator=generator)
        labels[torch.arange(N) % 4 == 1, 1 if task == "tokens" else 2 :] = -100
        return TensorDataset(inputs, labels)
    if task == "label-sets":
        return TensorDataset(inputs, (torch.randn(N, CLASSES, generator=generator) > 0).double())
    if task == "regression":
        return TensorDataset(inputs, torch.randn(N, generator=generator, dtype=torch.float64))
    return TensorDataset(inputs, labels)


class Net(nn.Module):
    def __init__(self, task: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        sequence = LENGTH * CLASSES
        width = {"tokens": sequence, "causal-lm": sequence, "regression": 1}.get(task, CLASSES)
        self.layers = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, width)).double()
        self.task = task

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = self.layers(inputs / torch.tensor([N, 1.0, 1.0, 1.0, 1.0]))
        if self.task in ("tokens", "causal-lm"):
            return outputs.view(-1, LENGTH, CLASSES)
        return outputs.squeeze(1) if self.task == "regression" else outputs


def loss_of(task: str, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """As people write it."""
    if task == "tokens":
        return F.cross_entropy(outputs.transpose(1, 2), targets)
    if task == "causal-lm":  # each token from those before it
        return F.cross_entropy(outputs[:, :-1].flatten(0, 1), targets[:, 1:].flatten())
    if task == "label-sets":
        return nn.BCEWithLogitsLoss()(outputs, targets)
    if task == "regression":
        return nn.MSELoss()(outputs, targets)
    return nn.CrossEntropyLoss(weight=CLASS_WEIGHTS)(outputs, targets)


def weighed_by_hand(task: str, outputs: Any, targets: Any, weights: list[float]) -> torch.Tensor:
    """Σ_i w_i ℓ_i over what the loop divides by, example by example and without a loss function of torch."""
    total, count = torch.zeros((), dtype=torch.float64), 0.0
    for output, target, weight in zip(outputs, targets, weights, strict=True):
        if task == "regression":
            total, count = total + weight * (output - target) ** 2, count + 1
        elif task == "label-sets":
            for logit, there in zip(output, target, strict=True):
                total, count = total + weight * (torch.log1p(torch.exp(logit)) - there * logit), count + 1
        elif task in ("tokens", "causal-lm"):
            if task == "causal-lm":
                output, target = output[:-1], target[1:]
            for logits, label in zip(output, target.tolist(), strict=True):
                if label >= 0:
                    total = total + weight * (torch.logsumexp(logits, 0) - logits[label])
                    count += 1
        else:
            of_class = float(CLASS_WEIGHTS[target])
            total = total + weight * of_class * (torch.logsumexp(output, 0) - output[target])
            count += of_class
    return total / count


@dataclass
class Watch:
    """What one rank trained on, and with which gradients.

    Attributes:
        batches: of each epoch, ids and weights of each batch.
        steps: parameters before each step of the optimiser, and the gradient it was given.
    """

    batches: list[list[tuple[list[int], list[float]]]] = field(
        default_factory=lambda: [[] for _ in range(EPOCHS)]
    )
    steps: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def batch(self, epoch: int, inputs: torch.Tensor, sampler: DynamicSampler) -> None:
        ids = inputs[:, 0].round().long()
        self.batches[epoch].append((ids.tolist(), sampler.weights(ids).tolist()))

    def step(self, model: nn.Module) -> None:
        parameters = list(model.parameters())
        flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
        gradient = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        self.steps.append((flat.clone(), gradient.clone()))


class Attached(pl.LightningModule):
    """A module as people have it: it knows of no ids."""

    def __init__(self, task: str) -> None:
        super().__init__()
        self.net, self.task, self.watch = Net(task), task, Watch()
        self.callback: DataDietCallback | None = None

    def batches(self, batch: Any) -> Any:
        inputs, targets = batch
        assert self.callback is not None
        assert self.callback.sampler is not None
        self.watch.batch(self.current_epoch, inputs, self.callback.sampler)
        return inputs, targets

    def training_step(self, batch: Any, index: int) -> Any:
        inputs, targets = self.batches(batch)
        return loss_of(self.task, self.net(inputs), targets)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.watch.step(self.net)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Any:
        return DataLoader(with_ids(rows_of(self.task)), batch_sampler=sampler_of())


class Weighing(Attached):
    """A module that weighs its loss itself."""

    def training_step(self, batch: Any, index: int) -> Any:
        ids, *rest = batch
        inputs, targets = self.batches(rest)
        assert self.callback is not None
        assert self.callback.sampler is not None
        logits = self.net(inputs)
        losses = F.cross_entropy(logits, targets, weight=CLASS_WEIGHTS, reduction="none")
        loss = (losses * self.callback.sampler.weights(ids)).sum() / CLASS_WEIGHTS[targets].sum()
        return {"loss": loss, "ids": ids, "losses": losses}


def sampler_of(**ranks: Any) -> DynamicSampler:
    return DynamicSampler(N, Schedule(warmup=1), InfoBatch(), batch_size=BATCH, seed=7, **ranks)


def quiet_trainer(callback: Any, **options: Any) -> Any:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    given = {
        "max_epochs": EPOCHS,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "reload_dataloaders_every_n_epochs": 1,
        "use_distributed_sampler": False,
        "callbacks": [callback],
    }
    return pl.Trainer(**{**given, **options})


def watched_lightning(loop: str, task: str, accumulation: int, ranks: int) -> Watch:
    module = Attached(task) if loop == "attach" else Weighing(task)
    module.callback = attach(module) if loop == "attach" else DataDietCallback()
    several = {"devices": ranks, "strategy": "ddp"} if ranks > 1 else {"devices": 1}
    quiet_trainer(module.callback, accumulate_grad_batches=accumulation, **several).fit(module)
    return module.watch


def watched_accelerate(task: str, accumulation: int) -> Watch:
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulation)
    sampler, net, watch = sampler_of(rank=0, world_size=1), Net(task), Watch()
    loader = dynamic_loader(accelerator, with_ids(rows_of(task)), sampler)
    model, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.1))
    for epoch in range(EPOCHS):
        for ids, inputs, targets in loader:
            watch.batch(epoch, inputs, sampler)
            with accelerator.accumulate(model):

                def compute(inputs: Any = inputs, targets: Any = targets) -> torch.Tensor:
                    return loss_of(task, model(inputs), targets)

                accelerator.backward(weighed_loss(sampler, ids, compute))
                if accelerator.sync_gradients:
                    watch.step(net)
                optimizer.step()
                optimizer.zero_grad()
        end_epoch(accelerator, sampler)
    return watch


def oracle_gradients(task: str, accumulation: int, ranks: list[Watch]) -> list[torch.Tensor]:
    """The gradient of each step by a plain loop over windows, ranks and examples."""
    inputs, targets = rows_of(task).tensors
    steps = iter(ranks[0].steps)
    found = []
    for epoch in range(EPOCHS):
        batches = [each.batches[epoch] for each in ranks]
        for start in range(0, len(batches[0]), accumulation):
            net = Net(task)
            nn.utils.vector_to_parameters(next(steps)[0], net.parameters())
            for of_rank in batches:
                for ids, weights in of_rank[start : start + accumulation]:
                    loss = weighed_by_hand(task, net(inputs[ids]), targets[ids], weights)
                    (loss / accumulation / len(ranks)).backward()
            found.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    return found


def deviation(loop: str, task: str, accumulation: int, ranks: int = 1) -> dict[str, float]:
    """How far the steps are from the oracle's, at most; and how much was weighed."""
    if loop == "accelerate":
        watch = watched_accelerate(task, accumulation)
    else:
        watch = watched_lightning(loop, task, accumulation, ranks)
    every: list[Any] = [watch]
    if ranks > 1:
        every = [None] * ranks
        torch.distributed.all_gather_object(every, watch)
    expected = oracle_gradients(task, accumulation, every)
    assert len(expected) == len(watch.steps)
    pairs = [(given, right) for (_, given), right in zip(watch.steps, expected, strict=True)]
    return {
        "ratio": max(abs(float(given.norm() / right.norm()) - 1) for given, right in pairs),
        "angle": max(1 - float(F.cosine_similarity(given, right, dim=0)) for given, right in pairs),
        "weighed": sum(weight > 1 for _, weights in watch.batches[1] for weight in weights),
        "steps": len(pairs),
    }


def cases() -> list[tuple[str, str, int]]:
    """All combinations of loop, task and accumulation; weights of one's own are tried on classification."""
    every = itertools.product(LOOPS, TASKS, (1, 2, 4))
    return [case for case in every if case[0] != "own-weights" or case[1] == "classification"]


class Chosen(Attached):
    """A scoring pass is due before each choice; only the ranks' shares are trained on."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.net(inputs)

    def train_dataloader(self) -> Any:
        sampler = DynamicSampler(N, Schedule(warmup=1), NluDataDiet(keep=0.5), batch_size=BATCH, seed=7)
        return DataLoader(with_ids(rows_of(self.task)), batch_sampler=sampler)


def through_and_resumed(folder: Path, ranks: int) -> dict[str, Any]:
    """What one rank was handed in a whole training, and in ones that go on from each of its checkpoints."""
    several = {"devices": ranks, "strategy": "ddp"}
    saving = pl.callbacks.ModelCheckpoint(
        dirpath=folder, filename="{step}", every_n_train_steps=1, save_top_k=-1
    )
    found = {}
    for resume in (None, *range(1, 5)):
        module = Chosen("classification")
        module.callback = attach(module)
        callbacks = [module.callback] if resume else [module.callback, saving]
        trainer = quiet_trainer(None, callbacks=callbacks, enable_checkpointing=resume is None, **several)
        trainer.fit(module, ckpt_path=folder / f"step={resume}.ckpt" if resume else None)
        found[str(resume)] = [ids for epoch in module.watch.batches for ids, _ in epoch]
        trainer.strategy.barrier()
    return found


def refused(ranks: int) -> str:
    """What Lightning's own way of dealing out to ranks is answered with."""
    module = Attached("classification")
    try:
        quiet_trainer(attach(module), devices=ranks, strategy="ddp", use_distributed_sampler=True).fit(module)
    except BadInputError as error:
        return str(error)
    return "nothing"


def main() -> None:
    folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    warnings.simplefilter("ignore")
    found = {
        "deviations": [deviation(*case, ranks=2) for case in cases()],
        "handed out": through_and_resumed(folder, ranks=2),
        "refused": refused(ranks=2),
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
    gc.collect()  # wrapped models go before their process group
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
