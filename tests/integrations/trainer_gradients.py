"""Run by torchrun or imported: each step's gradient under the Trainer, against one example after the other.

The oracle knows nothing of the loss functions of torch: an example's loss is written out here, its gradient taken on a
copy of the model by itself, and the step's gradient is the weighted sum of these over what the Trainer divides by.
"""

from __future__ import annotations

import copy
import gc
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from datadiet.dynamic import DynamicSampler, InfoBatch, Schedule, with_ids
from datadiet.integrations.transformers import DataDietTrainer, attach

N, LENGTH, CLASSES, EPOCHS = 23, 6, 3, 3
#: The fast tests try one of them in two processes; the variable asks for others.
ACCUMULATIONS = [int(steps) for steps in os.environ.get("ACCUMULATIONS", "2").split()]
CLASS_WEIGHTS = torch.tensor([1.0, 8.0, 3.0])
SMOOTHING = 0.2
KINDS = (
    "classification",
    "tokens",
    "label sets",
    "regression",
    "causal lm",
    "class weights",
    "smoothing",
    "loss function",
    "own compute_loss",
)


def sizes(**changes: Any) -> dict[str, Any]:
    return {
        "vocab_size": 30,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "max_position_embeddings": LENGTH,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "num_labels": CLASSES,
        **changes,
    }


class ClassWeights(nn.Module):
    """A classifier of one's own, with weights of classes in its loss and no further keywords."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(30, 8), nn.Linear(8, CLASSES)

    def forward(self, input_ids: Any, labels: Any = None) -> Any:
        logits = self.head(self.embedding(input_ids).mean(1))
        loss = None if labels is None else F.cross_entropy(logits, labels, weight=CLASS_WEIGHTS)
        return transformers.modeling_outputs.SequenceClassifierOutput(loss=loss, logits=logits)


class Focal(transformers.Trainer):  # type: ignore[misc]
    """Somebody's own loss, which is made of no function that can be taken apart."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        outputs = model(input_ids=inputs["input_ids"])
        losses = focal(outputs.logits, inputs["labels"])
        return (losses.mean(), outputs) if return_outputs else losses.mean()


def focal(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    right = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
    return -((1 - right.exp()) ** 2) * right


def summed_loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
    items = len(labels) if num_items_in_batch is None else num_items_in_batch
    return F.cross_entropy(outputs.logits, labels, reduction="sum") / items


def model_of(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "class weights":
        return ClassWeights()
    if kind == "causal lm":
        config = transformers.GPT2Config(
            vocab_size=30, n_positions=LENGTH, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )  # fmt: skip
        return transformers.GPT2LMHeadModel(config)
    if kind == "tokens":
        return transformers.BertForTokenClassification(transformers.BertConfig(**sizes()))
    changes: dict[str, Any] = {}
    if kind == "label sets":
        changes = {"problem_type": "multi_label_classification"}
    elif kind == "regression":
        changes = {"num_labels": 1}
    return transformers.BertForSequenceClassification(transformers.BertConfig(**sizes(**changes)))


def rows_of(kind: str) -> Any:
    generator = np.random.default_rng(0)
    tokens = generator.integers(2, 30, (N, LENGTH))
    labels: Any
    if kind in ("tokens", "causal lm"):
        labels = generator.integers(0, CLASSES, (N, LENGTH)) if kind == "tokens" else tokens.copy()
        for row in range(N):
            labels[row, LENGTH - row % 4 :] = -100
    elif kind == "label sets":
        labels = generator.integers(0, 2, (N, CLASSES)).astype(np.float32)
    elif kind == "regression":
        labels = generator.standard_normal(N).astype(np.float32)
    else:
        labels = np.arange(N) % CLASSES
    return datasets.Dataset.from_dict({"input_ids": tokens.tolist(), "labels": labels.tolist()})


def elements(kind: str, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The sum of the losses of one example's elements, and how many there are."""
    if kind in ("tokens", "causal lm"):
        scores, wanted = (logits[0], labels) if kind == "tokens" else (logits[0, :-1], labels[1:])
        picked = [
            -score.log_softmax(0)[int(label)]
            for score, label in zip(scores, wanted, strict=True)
            if label != -100
        ]
        return torch.stack(picked).sum(), len(picked)
    if kind == "label sets":
        chance = logits[0].double().sigmoid()
        return -(labels * chance.log() + (1 - labels) * (1 - chance).log()).sum(), CLASSES
    if kind == "regression":
        return (logits[0, 0] - labels) ** 2, 1
    if kind == "own compute_loss":
        return focal(logits, labels[None])[0], 1
    scores = logits[0].log_softmax(0)
    if kind == "class weights":
        weight = float(CLASS_WEIGHTS[int(labels)])
        return -weight * scores[int(labels)], weight
    if kind == "smoothing":
        return -(1 - SMOOTHING) * scores[int(labels)] - SMOOTHING * scores.mean(), 1
    return -scores[int(labels)], 1


class Oracle(transformers.TrainerCallback):  # type: ignore[misc]
    """Keeps, for each step, how long its gradient is beside the oracle's, and their cosine."""

    def __init__(self, kind: str, rows: Any) -> None:
        self.kind, self.rows = kind, rows.with_format("torch")
        self.window: list[tuple[list[int], list[float], Any]] = []
        self.steps: list[tuple[int, float, float]] = []
        self.trainer: Any = None

    def watch(self, trainer: Any) -> None:
        """Note the ids of each batch as the sampler is told of them."""
        self.trainer = trainer
        loss = type(trainer).compute_loss

        def compute_loss(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            if model.training:
                items = named.get("num_items_in_batch")
                weights = trainer.sampler.weights(inputs["id"]).tolist()
                takes = getattr(trainer, "model_accepts_loss_kwargs", False) or getattr(
                    trainer, "compute_loss_func", None
                )
                items = float(items) if items is not None and takes else None
                self.window.append((inputs["id"].tolist(), weights, items))
            return loss(trainer, model, inputs, *rest, **named)

        trainer.compute_loss = compute_loss

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        window, self.window = self.window, []
        ranks = [window]
        if torch.distributed.is_initialized():
            ranks = [None] * torch.distributed.get_world_size()  # type: ignore[list-item]
            torch.distributed.all_gather_object(ranks, window)
        trainer = self.trainer
        model = copy.deepcopy(trainer.accelerator.unwrap_model(trainer.model_wrapped))
        parameters = list(model.parameters())
        expected = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
        # Versions differ in whether a last step of fewer batches is divided by fewer.
        accumulated = getattr(
            trainer, "current_gradient_accumulation_steps", args.gradient_accumulation_steps
        ) * len(ranks)
        # Items are those of all ranks, or of one, whose gradients are averaged.
        apart = 1 if getattr(args, "average_tokens_across_devices", False) else len(ranks)
        for ids, weights, items in [batch for rank in ranks for batch in rank]:
            found = []
            for number in ids:
                row = self.rows[number]
                loss, count = elements(
                    self.kind, model(input_ids=row["input_ids"][None]).logits, row["labels"]
                )
                gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
                found.append((gradients, count))
            # What the Trainer divides by: the items of the step, or those of the batch and then the batches.
            whole = sum(count for _, count in found) * accumulated if items is None else items * apart
            for weight, (gradients, _) in zip(weights, found, strict=True):
                for total, gradient in zip(expected, gradients, strict=True):
                    if gradient is not None:
                        total += weight * gradient.double() / whole
        mine = torch.cat(
            [p.grad.double().flatten() for p in trainer.model.parameters() if p.grad is not None]
        )
        kept = [g for g, p in zip(expected, trainer.model.parameters(), strict=True) if p.grad is not None]
        oracle = torch.cat([gradient.flatten() for gradient in kept])
        self.steps.append(
            (
                trainer.sampler.epoch,
                float(mine.norm() / oracle.norm()),
                float(F.cosine_similarity(mine, oracle, 0)),
            )
        )


def run(kind: str, accumulation: int, batch: int = 2, **options: Any) -> list[tuple[int, float, float]]:
    """Epoch, ratio and cosine of every step of a training with InfoBatch."""
    rows = rows_of(kind)
    oracle = Oracle(kind, rows)
    sampler = DynamicSampler(N, Schedule(warmup=1), InfoBatch(), rank=0, world_size=1, seed=5)
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            learning_rate=1e-2,
            optim="sgd",
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
            label_smoothing_factor=SMOOTHING if kind == "smoothing" else 0.0,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            seed=1,
            **options,
        )
        given: dict[str, Any] = {"model": model_of(kind), "args": arguments, "train_dataset": with_ids(rows)}
        if kind == "loss function":
            given["compute_loss_func"] = summed_loss
        if kind == "own compute_loss":
            trainer = attach(
                Focal(**given, callbacks=[oracle]),
                sampler=sampler,
                example_losses=lambda outputs, labels: focal(outputs.logits, labels),
            )
        else:
            trainer = DataDietTrainer(**given, sampler=sampler, callbacks=[oracle])
        oracle.watch(trainer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train()
    return oracle.steps


def main() -> None:
    folder = Path(sys.argv[1])
    results = {f"{kind}, {steps}": run(kind, steps) for kind in KINDS for steps in ACCUMULATIONS}
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    (folder / f"rank{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
    gc.collect()  # wrapped models go before their process group
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
