"""What a weighed step of the Trainer does to a model, held against one example after the other."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

import trainer_gradients as program  # noqa: E402

from datadiet.dynamic import DynamicSampler, InfoBatch, Schedule, with_ids  # noqa: E402
from datadiet.foundation.errors import BadInputError  # noqa: E402
from datadiet.integrations.transformers import attach  # noqa: E402

HAS_LOSS_FUNCTION = "compute_loss_func" in inspect.signature(transformers.Trainer.__init__).parameters
COUNTS_ITEMS = "num_items_in_batch" in inspect.signature(transformers.Trainer.compute_loss).parameters
#: These versions take steps over other batches than they accumulate, and add up what they should average.
ACCUMULATES = not "4.46" <= transformers.__version__ < "4.53"
KINDS = [kind for kind in program.KINDS if HAS_LOSS_FUNCTION or kind != "loss function"]


def assert_right(steps: list[Any]) -> None:
    assert {epoch for epoch, _, _ in steps} == set(range(program.EPOCHS))
    for epoch, ratio, cosine in steps:
        assert ratio == pytest.approx(1, abs=1e-4), (epoch, ratio)
        assert cosine == pytest.approx(1, abs=1e-4), (epoch, cosine)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_that_of_the_weighed_examples(kind: str) -> None:
    assert_right(program.run(kind, 4 if ACCUMULATES else 1))


@pytest.mark.slow
@pytest.mark.skipif(not ACCUMULATES, reason="this version accumulates otherwise")
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("accumulation", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_that_of_the_weighed_examples_however_it_is_put_together(
    kind: str, accumulation: int, batch: int
) -> None:
    assert_right(program.run(kind, accumulation, batch))


@pytest.mark.skipif(
    not (COUNTS_ITEMS and ACCUMULATES), reason="this version does not count the items of a step"
)
def test_two_processes_take_the_same_steps(ranks_of: Callable[[Path], list[Any]]) -> None:
    for results in ranks_of(Path(program.__file__)):
        assert len(results) == len(program.KINDS)
        for steps in results.values():
            assert_right(steps)


@pytest.mark.slow
@pytest.mark.skipif(
    not (COUNTS_ITEMS and ACCUMULATES), reason="this version does not count the items of a step"
)
def test_two_processes_take_the_same_steps_however_they_accumulate(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*command, program.__file__, str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCUMULATIONS": "1 4"},
        capture_output=True,
        check=True,
        timeout=600,
    )
    for rank in range(2):
        results = json.loads((tmp_path / f"rank{rank}.json").read_text())
        assert len(results) == 2 * len(program.KINDS)
        for steps in results.values():
            assert_right(steps)


def trainer_of(folder: Path, kind: str, base: Any = transformers.Trainer, **changes: Any) -> Any:
    """A Trainer that does not know of ids, on rows that have them."""
    options = {"num_train_epochs": 2, "per_device_train_batch_size": 3, "learning_rate": 1e-2, "optim": "sgd"}
    quiet = {
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
    }
    given = {key: changes.pop(key) for key in ("model", "compute_loss_func") if key in changes}
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), seed=1, **{**options, **quiet, **changes}
    )
    given = {"model": program.model_of(kind), **given}
    return base(args=arguments, train_dataset=with_ids(program.rows_of(kind)), **given)


def weighing_sampler(**changes: Any) -> DynamicSampler:
    return DynamicSampler(program.N, Schedule(warmup=1), InfoBatch(), rank=0, world_size=1, seed=5, **changes)


def weights_of(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("kind", ["classification", "tokens", "causal lm", "own compute_loss"])
def test_as_long_as_nothing_is_weighed_training_is_the_same_to_the_bit(kind: str, tmp_path: Path) -> None:
    base = program.Focal if kind == "own compute_loss" else transformers.Trainer

    class SameOrder(base):  # type: ignore[misc, valid-type]
        """A Trainer on the order of another sampler."""

        def _get_train_sampler(self, *_: Any) -> Any:
            return sampler.__class__(program.N, Schedule(warmup=1), InfoBatch(), rank=0, world_size=1, seed=5)

    sampler = weighing_sampler()
    plain = trainer_of(tmp_path, kind, SameOrder, num_train_epochs=1)
    plain.train()
    followed = attach(
        trainer_of(tmp_path, kind, base, num_train_epochs=1),
        sampler=sampler,
        example_losses=(lambda outputs, labels: program.focal(outputs.logits, labels))
        if kind == "own compute_loss"
        else None,
    )
    followed.train()
    assert torch.equal(weights_of(plain.model), weights_of(followed.model))


class Contrast(transformers.Trainer):  # type: ignore[misc]
    """A loss that compares examples: each against the mean of all."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        outputs = model(input_ids=inputs["input_ids"])
        spread = outputs.logits - outputs.logits.mean(0)
        loss = torch.nn.functional.mse_loss(spread, torch.ones_like(spread))
        return (loss, outputs) if return_outputs else loss


class Penalty(transformers.Trainer):  # type: ignore[misc]
    """A loss with a part that belongs to no example."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        outputs = model(input_ids=inputs["input_ids"], labels=inputs["labels"])
        loss = outputs.loss + 0.1 * sum(parameter.square().sum() for parameter in model.parameters())
        return (loss, outputs) if return_outputs else loss


class Largest(transformers.Trainer):  # type: ignore[misc]
    """Only the largest losses of a batch count, which is no sum over examples."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        outputs = model(input_ids=inputs["input_ids"])
        losses = torch.nn.functional.cross_entropy(outputs.logits, inputs["labels"], reduction="none")
        loss = losses.topk(2).values.mean()
        return (loss, outputs) if return_outputs else loss


class Root(transformers.Trainer):  # type: ignore[misc]
    """A root of squares: twice the losses are twice the loss, and yet it is no sum."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        outputs = model(input_ids=inputs["input_ids"])
        losses = torch.nn.functional.cross_entropy(outputs.logits, inputs["labels"], reduction="none")
        loss = losses.square().sum().sqrt()
        return (loss, outputs) if return_outputs else loss


class Turned(transformers.Trainer):  # type: ignore[misc]
    """The rows of the model's inputs are turned round, so that losses are no longer in the order of the ids."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **named: Any) -> Any:
        return super().compute_loss(
            model,
            {key: value.flip(0) for key, value in inputs.items()},
            return_outputs=return_outputs,
            **named,
        )


@pytest.mark.parametrize("base", [Contrast, Penalty, Largest, Turned])
def test_what_is_no_sum_over_examples_is_refused_before_a_step(base: Any, tmp_path: Path) -> None:
    trainer = attach(trainer_of(tmp_path, "classification", base), sampler=weighing_sampler())
    with pytest.raises(BadInputError, match="take a selector without weights"):
        trainer.train()
    assert trainer.state.global_step == 0
    fine = attach(
        trainer_of(tmp_path, "classification", base),
        sampler=DynamicSampler(program.N, selector="random", rank=0, world_size=1),
    )
    fine.train()
    assert fine.state.global_step > 0


class Measuring(transformers.Trainer):  # type: ignore[misc]
    """Measures something beside, which is no part of the loss."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        outputs = model(input_ids=inputs["input_ids"])
        with torch.no_grad():
            torch.nn.functional.mse_loss(outputs.logits, torch.zeros_like(outputs.logits))
        loss = torch.nn.functional.cross_entropy(outputs.logits, inputs["labels"])
        return (loss, outputs) if return_outputs else loss


@pytest.mark.parametrize("options", [{}, {"bf16": True}])
def test_what_is_measured_beside_a_loss_does_not_matter(options: dict[str, Any], tmp_path: Path) -> None:
    trainer = attach(trainer_of(tmp_path, "classification", Measuring, **options), sampler=weighing_sampler())
    trainer.train()
    assert trainer.state.global_step > 0


@pytest.mark.parametrize("base", [program.Focal, Root])
def test_a_loss_that_does_not_say_how_large_each_example_s_is_wants_example_losses(
    base: Any, tmp_path: Path
) -> None:
    trainer = attach(trainer_of(tmp_path, "classification", base), sampler=weighing_sampler())
    with pytest.raises(BadInputError, match="give example_losses="):
        trainer.train()
    assert trainer.state.global_step == 0


@pytest.mark.skipif(not COUNTS_ITEMS, reason="this version does not count the items of a step")
def test_a_model_that_does_not_divide_by_the_items_is_said_once(tmp_path: Path) -> None:
    trainer = attach(
        trainer_of(tmp_path, "classification", gradient_accumulation_steps=2), sampler=weighing_sampler()
    )
    if not trainer.model_accepts_loss_kwargs:
        pytest.skip("in this version the model does not take the items of a step")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train()
    said = [str(each.message) for each in caught if "number of items of a step" in str(each.message)]
    assert len(said) == 1
    assert "BertForSequenceClassification" in said[0]
