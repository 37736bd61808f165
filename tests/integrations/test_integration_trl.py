"""Trainers of TRL, and models of PEFT, that a sampler or a recorder follows: the gradient of each step, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
datasets = pytest.importorskip("datasets")
trl = pytest.importorskip("trl", reason="trl is not installed; `make test-matrix` installs it in .venv-trl")
peft = pytest.importorskip(
    "peft", reason="peft is not installed; `make test-matrix` installs it in .venv-trl"
)

from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402

from datadiet.dynamic import DynamicSampler, InfoBatch, RandomCycles, Schedule  # noqa: E402
from datadiet.foundation.errors import BadInputError  # noqa: E402
from datadiet.integrations.transformers import attach  # noqa: E402
from datadiet.tracking import Recorder  # noqa: E402
from tiny_models import bert_config  # noqa: E402

N, WORDS, PROMPT = 22, 40, 3
ACCUMULATION = pytest.mark.parametrize("accumulation", [1, 4])
Share = Any  # (model, id) -> the sum of an example's losses, and how many of them count


def tokenizer() -> Any:
    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2, **{f"w{i}": i + 3 for i in range(WORDS)}}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def sentences(seed: int = 0, least: int = 4, most: int = 9) -> list[str]:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(least, most, N)
    return [" ".join(f"w{word}" for word in generator.integers(0, WORDS, size)) for size in sizes]


TEXTS, OTHERS = sentences(), sentences(1)
PROMPTS = sentences(2, PROMPT, PROMPT + 1)
DATA = {
    "text": {"text": TEXTS},
    "completion": {"prompt": PROMPTS, "completion": [f" {text}" for text in TEXTS]},
    "preference": {
        "prompt": PROMPTS,
        "chosen": [f" {text}" for text in TEXTS],
        "rejected": [f" {text}" for text in OTHERS],
    },
}


def tokens(text: str) -> torch.Tensor:
    return torch.tensor([[int(word[1:]) + 3 for word in text.split()] + [1]])


def gpt2(kind: str = "GPT2LMHeadModel", **options: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=WORDS + 3,
        n_positions=24,
        n_embd=8,
        n_layer=1,
        n_head=2,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        **options,
    )
    return getattr(transformers, kind)(config)


def lora(task: str | None = "CAUSAL_LM", modules: tuple[str, ...] = ("c_attn",)) -> Any:
    return peft.LoraConfig(r=2, target_modules=list(modules), task_type=task, init_lora_weights=False)


def settings(kind: Any, folder: Path, **options: Any) -> Any:
    return kind(
        **{
            "output_dir": str(folder),
            "num_train_epochs": 3,
            "per_device_train_batch_size": 3,
            "learning_rate": 0.05,
            "optim": "sgd",
            "lr_scheduler_type": "constant",
            "max_grad_norm": 0.0,
            "save_strategy": "no",
            "logging_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "bf16": False,
            "disable_tqdm": True,
            "gradient_checkpointing": False,
            "seed": 1,
            **options,
        }
    )


def classifier(task: str | None) -> Any:
    """A BERT whose attention is adapted; without a task, its head is not trained."""
    torch.manual_seed(0)
    config = bert_config(
        vocab_size=30, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model = transformers.BertForSequenceClassification(config)
    return peft.get_peft_model(model, lora(task, ("query", "value")))


def classified(task: str | None, folder: Path, accumulation: int) -> Any:
    rows = np.random.default_rng(0).integers(2, 30, (N, 6)).tolist()
    return transformers.Trainer(
        model=classifier(task),
        args=settings(transformers.TrainingArguments, folder, gradient_accumulation_steps=accumulation),
        train_dataset=datasets.Dataset.from_dict({"input_ids": rows, "labels": [i % 3 for i in range(N)]}),
    )


def sft(folder: Path, data: str = "text", config: Any = None, **options: Any) -> Any:
    return trl.SFTTrainer(
        model=gpt2(),
        args=settings(trl.SFTConfig, folder, **{"max_length": 24, **options}),
        train_dataset=datasets.Dataset.from_dict(DATA[data]),
        processing_class=tokenizer(),
        peft_config=config,
    )


def infobatch() -> DynamicSampler:
    return DynamicSampler(N, Schedule(warmup=1), InfoBatch(), seed=5, rank=0, world_size=1)


def watched(trainer: Any) -> list[list[Any]]:
    """Pairs of ids and weights of every batch that the sampler is told of."""
    sampler, batches = trainer.sampler, []
    update = sampler.update

    def telling(ids: Any, *given: Any, **named: Any) -> None:
        batches.append([*zip(ids.tolist(), sampler.weights(ids).tolist(), strict=True)])
        update(ids, *given, **named)

    sampler.update = telling
    return batches


class Steps(transformers.TrainerCallback):
    """Holds the gradient of each step against that of its examples, each computed alone."""

    def __init__(self, trainer: Any, fresh: Any, share: Share) -> None:
        # TRL changes the forward of its model, so that a copy of it is no oracle.
        self.trainer, self.model, self.share = trainer, fresh.double(), share
        self.batches = watched(trainer)
        self.weights: set[float] = set()
        self.steps = 0

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        examples = [pair for batch in self.batches for pair in batch]
        self.batches.clear()
        self.steps += 1
        self.weights |= {weight for _, weight in examples}
        model = self.model
        model.load_state_dict(self.trainer.model.state_dict())
        model.zero_grad()
        total = 0
        for number, weight in examples:
            summed, count = self.share(model, number)
            (weight * summed).backward()
            total += count
        named = dict(self.trainer.model.named_parameters())
        expected = {name: p.grad / total for name, p in model.named_parameters() if p.grad is not None}
        assert set(expected) == {name for name, p in named.items() if p.grad is not None}
        mine, theirs = (
            torch.cat([each.flatten().double() for each in grads])
            for grads in ([named[name].grad for name in expected], expected.values())
        )
        assert float(mine.norm() / theirs.norm()) == pytest.approx(1, abs=1e-4)
        assert float(F.cosine_similarity(mine, theirs, dim=0)) == pytest.approx(1, abs=1e-4)


def check_steps(trainer: Any, fresh: Any, share: Share) -> None:
    attach(trainer, sampler=infobatch())
    steps = Steps(trainer, fresh, share)
    trainer.add_callback(steps)
    trainer.train()
    assert steps.steps == trainer.state.global_step > 4
    assert len(steps.weights) > 1


def token_losses(model: Any, text: str, first: int) -> tuple[torch.Tensor, int]:
    """Of the tokens from the given place on; nothing foretells the first of all, which TRL counts nevertheless."""
    ids = tokens(text)
    predicted = max(first, 1)
    logits = model(input_ids=ids).logits[0, predicted - 1 : -1]
    return F.cross_entropy(logits, ids[0, predicted:], reduction="sum"), ids.shape[1] - first


@ACCUMULATION
@pytest.mark.parametrize("with_lora", [False, True])
@pytest.mark.parametrize("data", ["text", "completion"])
def test_a_step_of_sft_is_the_weighed_sum_of_its_examples(
    data: str, with_lora: bool, accumulation: int, tmp_path: Path
) -> None:
    trainer = sft(
        tmp_path,
        data,
        lora() if with_lora else None,
        gradient_accumulation_steps=accumulation,
        gradient_checkpointing=with_lora,
    )

    def share(model: Any, number: int) -> tuple[torch.Tensor, int]:
        if data == "text":
            return token_losses(model, TEXTS[number], 0)
        return token_losses(model, f"{PROMPTS[number]} {TEXTS[number]}", PROMPT)

    check_steps(trainer, peft.get_peft_model(gpt2(), lora()) if with_lora else gpt2(), share)


@ACCUMULATION
@pytest.mark.parametrize("task", ["SEQ_CLS", None])
def test_a_step_of_a_peft_classifier_is_the_weighed_sum_of_its_examples(
    task: str | None, accumulation: int, tmp_path: Path
) -> None:
    trainer = classified(task, tmp_path, accumulation)
    rows, labels = (trainer.train_dataset[name] for name in ("input_ids", "labels"))

    def share(model: Any, number: int) -> tuple[torch.Tensor, int]:
        logits = model(input_ids=torch.tensor([rows[number]])).logits
        return F.cross_entropy(logits, torch.tensor([labels[number]])), 1

    check_steps(trainer, classifier(task), share)


@pytest.mark.parametrize(
    "step", [9, 12]
)  # in the second epoch, which has six steps, and at its end or after it
def test_resuming_goes_on_with_the_same_ids_and_weights(step: int, tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 1, "gradient_accumulation_steps": 1}
    ends, seen = [], []
    for resumed in (None, str(tmp_path / f"checkpoint-{step}")):
        trainer = attach(sft(tmp_path, config=lora(), **options), sampler=infobatch())
        seen.append(watched(trainer))
        trainer.train(resume_from_checkpoint=resumed)
        ends.append(trainer.model.state_dict())
    assert len(seen[0]) > step + 2
    assert seen[1] == seen[0][step:]
    assert any(weight != 1 for batch in seen[1] for _, weight in batch)
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def chance() -> DynamicSampler:
    return DynamicSampler(N, selector=RandomCycles(keep=0.5), seed=5, rank=0, world_size=1)


class Dealt(torch.utils.data.Sampler[int]):
    """The ids of one epoch of a sampler after the other."""

    def __init__(self, sampler: DynamicSampler) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Any:
        yield from list(self.sampler)
        self.sampler.end_epoch()


def preferences(kind: str, folder: Path, **options: Any) -> Any:
    """A Trainer of pairs, which calls a model on both of each in one batch."""
    common = {
        "train_dataset": datasets.Dataset.from_dict(DATA["preference"]),
        "processing_class": tokenizer(),
    }
    if kind == "dpo":
        arguments = settings(trl.DPOConfig, folder, max_length=24, **options)
        return trl.DPOTrainer(model=gpt2(), ref_model=gpt2(), args=arguments, **common)
    arguments = settings(trl.RewardConfig, folder, max_length=24, **options)
    return trl.RewardTrainer(
        model=gpt2("GPT2ForSequenceClassification", num_labels=1), args=arguments, **common
    )


MAKERS = {
    "sft": sft,
    "sft with LoRA": lambda folder, **options: sft(folder, config=lora(), **options),
    "dpo": lambda folder, **options: preferences("dpo", folder, **options),
    "reward": lambda folder, **options: preferences("reward", folder, **options),
}


@ACCUMULATION
@pytest.mark.parametrize("kind", MAKERS)
def test_without_weights_training_is_that_of_the_same_rows(
    kind: str, accumulation: int, tmp_path: Path
) -> None:
    ends = []
    for attached in (True, False):
        trainer = MAKERS[kind](tmp_path, gradient_accumulation_steps=accumulation)
        if attached:
            attach(trainer, sampler=chance())
        else:
            trainer._get_train_sampler = lambda *_: Dealt(chance())
        trainer.train()
        ends.append((trainer.state.global_step, trainer.model.state_dict()))
    (steps, mine), (plain_steps, plain) = ends
    assert steps == plain_steps
    assert all(torch.equal(value, plain[name]) for name, value in mine.items())


@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_recorder_of_a_peft_classifier_changes_nothing(accumulation: int, tmp_path: Path) -> None:
    ends = []
    for attached in (True, False):
        trainer = classified("SEQ_CLS", tmp_path, accumulation)
        if attached:
            attach(trainer, recorder=Recorder(num_examples=N))
        trainer.train()
        ends.append(trainer.model.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda folder: sft(folder, packing=True),
            "Packing and padding_free put several examples into one row",
        ),
        (
            lambda folder: sft(folder, padding_free=True, max_length=None),
            "Packing and padding_free put several examples into one row",
        ),
        (MAKERS["dpo"], "take a selector without weights"),
        (MAKERS["reward"], "take a selector without weights"),
    ],
)
def test_what_cannot_be_weighed_is_refused_before_the_first_step(
    make: Any, told: str, tmp_path: Path
) -> None:
    trainer = make(tmp_path)
    size = len(trainer.train_dataset)
    sampler = DynamicSampler(size, Schedule(warmup=1), InfoBatch(), seed=5, rank=0, world_size=1)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with pytest.raises(BadInputError, match=told):
        attach(trainer, sampler=sampler).train()
    assert trainer.state.global_step == 0
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
