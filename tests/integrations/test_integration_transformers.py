"""The Trainer with ids, a sampler and a recorder, through and resumed."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tiny_models import bert_config

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
datasets = pytest.importorskip("datasets")

from datadiet.dynamic import (  # noqa: E402
    Curriculum,
    DynamicSampler,
    InfoBatch,
    NluDataDiet,
    RandomCycles,
    Schedule,
    with_ids,
)
from datadiet.foundation.errors import BadInputError  # noqa: E402
from datadiet.integrations.transformers import DataDietTrainer  # noqa: E402
from datadiet.tracking import Recorder  # noqa: E402

N, EPOCHS = 22, 4
SAMPLERS: dict[str, Any] = {
    "infobatch": (InfoBatch(), Schedule(warmup=1)),
    "nlu-data-diet": (NluDataDiet(keep=0.5), Schedule(warmup=1, every=2)),
    "random": (RandomCycles(keep=0.4), Schedule(warmup=0)),
    "curriculum": (Curriculum(start=0.4, grow_epochs=2), Schedule(warmup=1)),
}


def data() -> Any:
    generator = np.random.default_rng(0)
    tokens = generator.integers(2, 30, (N, 6)).tolist()
    return datasets.Dataset.from_dict(
        {"input_ids": tokens, "label": [i % 3 for i in range(N)], "note": ["unused"] * N}
    )


def tiny_model() -> Any:
    torch.manual_seed(0)
    config = bert_config(vocab_size=30, num_labels=3, max_position_embeddings=8)
    return transformers.BertForSequenceClassification(config)


class Watching(DataDietTrainer):
    """Keeps the ids of every training batch by epoch, as the model's loss sees them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: dict[int, list[list[int]]] = {}
        super().__init__(*args, **kwargs)

    def compute_loss(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        if model.training:
            assert "note" not in inputs
            epoch = self.sampler.epoch if self.sampler is not None else self.recorder.epoch
            self.seen.setdefault(epoch, []).append(inputs["id"].tolist())
        return super().compute_loss(model, inputs, *rest, **named)


def make_trainer(folder: Path, name: str | None, recorder: bool = False, **options: Any) -> Watching:
    sampler = None
    if name is not None:
        selector, schedule = SAMPLERS[name]
        sampler = DynamicSampler(N, schedule, selector, seed=5, rank=0, world_size=1)
    arguments = transformers.TrainingArguments(
        **{
            "output_dir": str(folder),
            "num_train_epochs": EPOCHS,
            "per_device_train_batch_size": 3,
            "gradient_accumulation_steps": 2,
            "learning_rate": 1e-2,
            "save_strategy": "steps",
            "save_steps": 1,
            "logging_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "seed": 1,
            **options,
        }
    )
    return Watching(
        model=tiny_model(),
        args=arguments,
        train_dataset=with_ids(data()),
        eval_dataset=data(),
        sampler=sampler,
        recorder=Recorder(num_examples=N) if recorder else None,
    )


def flat(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("infobatch", "nlu-data-diet") else pytest.mark.slow)
        for name in SAMPLERS
    ],
)
def test_each_epoch_is_what_the_sampler_chose_and_resuming_changes_nothing(name: str, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, name, recorder=True)
    trainer.train()
    assert trainer.sampler is not None
    assert trainer.sampler.epoch == EPOCHS
    assert trainer.sampler.scoring_passes == (2 if name == "nlu-data-diet" else 0)
    sizes = {
        "nlu-data-diet": [22, 11, 11, 11],
        "random": [9, 9, 9, 9],
        "curriculum": [22, 9, 15, 22],
    }.get(name)
    seen = trainer.seen
    assert sizes is None or [len(flat(seen[epoch])) for epoch in range(EPOCHS)] == sizes
    assert name != "infobatch" or (len(flat(seen[0])) == N > len(flat(seen[1])))
    for batches in seen.values():
        assert len(set(flat(batches))) == len(flat(batches))
        assert all(len(batch) == 3 for batch in batches[:-1])
    steps = sum(-(-len(batches) // 2) for batches in seen.values())
    assert trainer.state.global_step == steps
    if sizes is not None:
        assert trainer.state.max_steps == steps
    for step in sorted({1, 4, 5, 6, steps - 1}):
        resumed = make_trainer(tmp_path, name, recorder=True)
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        trained = 0
        for epoch in range(EPOCHS):
            of_epoch = -(-len(seen[epoch]) // 2)
            first = min(max(step - trained, 0) * 2, len(seen[epoch]))
            assert resumed.seen.get(epoch, []) == seen[epoch][first:], (step, epoch)
            trained += of_epoch
        assert resumed.state.global_step == steps
        for key, value in trainer.model.state_dict().items():
            torch.testing.assert_close(resumed.model.state_dict()[key], value, rtol=0, atol=0)
        for epoch in range(1, EPOCHS + 1):
            mine, theirs = (each.recorder.trace.of_epoch(epoch, "el2n") for each in (trainer, resumed))
            np.testing.assert_array_equal(mine, theirs)


def test_a_recorder_alone_sees_every_example_under_its_id(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, None, recorder=True)
    trainer.train()
    recorder = trainer.recorder
    assert recorder.epoch == EPOCHS
    assert recorder.labels.tolist() == [i % 3 for i in range(N)]
    assert all(sorted(flat(batches)) == list(range(N)) for batches in trainer.seen.values())
    for step in (4, 6):  # the end of an epoch, and the middle of one
        resumed = make_trainer(tmp_path, None, recorder=True)
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        for epoch in range(1, EPOCHS + 1):
            for column in ("loss", "el2n"):
                assert np.array_equal(
                    resumed.recorder.trace.of_epoch(epoch, column), recorder.trace.of_epoch(epoch, column)
                )


def test_evaluation_needs_no_ids_and_tells_nobody(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "infobatch", eval_strategy="epoch", save_strategy="no")
    trainer.train()
    before = trainer.sampler.state_dict()
    assert "eval_loss" in trainer.evaluate()
    after = trainer.sampler.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_weights_multiply_the_loss_of_their_examples(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "infobatch", save_strategy="no", num_train_epochs=1)
    trainer.train()
    model = trainer.model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    chosen = trainer.sampler.chosen_ids[:6]
    weights = trainer.sampler.weights(chosen)
    assert set(weights.tolist()) == {1.0, 2.0} or len(set(weights.tolist())) == 2
    rows = data()
    inputs = {
        "input_ids": torch.tensor([rows["input_ids"][i] for i in chosen.tolist()]),
        "labels": torch.tensor([rows["label"][i] for i in chosen.tolist()]),
    }
    with torch.no_grad():
        losses = torch.nn.functional.cross_entropy(
            model(input_ids=inputs["input_ids"]).logits, inputs["labels"], reduction="none"
        )
        expected = float((losses * weights).sum()) / 12
        inputs["id"] = torch.from_numpy(chosen)
        counts = "num_items_in_batch" in inspect.signature(transformers.Trainer.compute_loss).parameters
        named = {"num_items_in_batch": torch.tensor(12)} if counts else {}
        got = float(trainer.compute_loss(model, inputs, **named))
    divided = counts and trainer.model_accepts_loss_kwargs
    assert got == pytest.approx(expected * (1 if divided else 2), rel=1e-4)


def test_training_again_begins_anew(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "random", save_strategy="no")
    trainer.train()
    first, trainer.seen = trainer.seen, {}
    trainer.train()
    assert trainer.seen == first


def test_bad_input_is_refused_with_what_to_do(tmp_path: Path) -> None:
    arguments = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    sampler = DynamicSampler(N, selector="random", rank=0, world_size=1)
    common = {"model": tiny_model(), "args": arguments}
    with pytest.raises(BadInputError, match=r"no column 'id'; add it with datadiet.dynamic.with_ids"):
        DataDietTrainer(**common, train_dataset=data(), sampler=sampler)
    with pytest.raises(BadInputError, match="without batch_size"):
        DataDietTrainer(
            **common,
            train_dataset=with_ids(data()),
            sampler=DynamicSampler(N, selector="random", batch_size=2, rank=0, world_size=1),
        )
    with pytest.raises(BadInputError, match="ids up to 98, the training set 22 rows"):
        DataDietTrainer(
            **common,
            train_dataset=with_ids(data()),
            sampler=DynamicSampler(99, selector="random", rank=0, world_size=1),
        )
    with pytest.raises(BadInputError, match="a sampler, a recorder, or both"):
        DataDietTrainer(**common, train_dataset=with_ids(data()))


def test_a_checkpoint_without_the_sampler_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path, None, recorder=True, num_train_epochs=1).train()
    with pytest.raises(BadInputError, match=r"has no datadiet_sampler.safetensors"):
        make_trainer(tmp_path, "random").train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
