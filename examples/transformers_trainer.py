"""Fine-tune a text classifier with the Hugging Face Trainer, on everything and with a dynamic sampler.

    python examples/transformers_trainer.py [--data stanfordnlp/sst2] [--model sentence-transformers/all-MiniLM-L6-v2]

Prints accuracy, seconds and examples of both. Data is a hub id, a folder with train.parquet and test.parquet, or two
files with a comma between; rows have `text` or `sentence`, and `label`. `--data words --model tiny` needs no network.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, load_dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from datadiet.dynamic import DynamicSampler, with_ids
from datadiet.integrations.transformers import DataDietTrainer


class EpochSizes(TrainerCallback):
    """Adds up how many examples the sampler chose for each epoch."""

    def __init__(self, sampler: DynamicSampler) -> None:
        self.sampler, self.total = sampler, 0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Before each epoch."""
        self.total += len(self.sampler)


def words(count: int, seed: int) -> Dataset:
    """Random words; the label says which of three marker words stands among them, or that none does."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(10, 40, (count, 8))
    labels = generator.integers(0, 4, count)
    marked = labels > 0
    tokens[marked, generator.integers(0, 8, count)[marked]] = labels[marked]
    return Dataset.from_dict({"text": [" ".join(f"w{t}" for t in row) for row in tokens], "label": labels})


def read(source: str) -> tuple[Dataset, Dataset]:
    """Training and test rows, with the columns `text` and `label`."""
    if source == "words":
        return words(240, 0), words(120, 1)
    if "," in source or Path(source).is_dir():
        folder = Path(source)
        names = source.split(",") if "," in source else [folder / "train.parquet", folder / "test.parquet"]
        parts = [Dataset.from_parquet(str(name)) for name in names]
    else:
        found = load_dataset(source)
        # The test labels of GLUE are hidden.
        test = next(name for name in ("validation", "test") if name in found)
        parts = [found["train"], found[test]]
    train, test = (
        part.rename_column("sentence", "text") if "sentence" in part.column_names else part for part in parts
    )
    return train.select_columns(["text", "label"]), test.select_columns(["text", "label"])


def tokenizer_for(model: str, train: Dataset) -> Any:
    """The model's own; of a tiny one, the words of the training rows."""
    if model != "tiny":
        return AutoTokenizer.from_pretrained(model)
    seen = sorted({word for text in train["text"] for word in text.split()})
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", *seen])}
    split = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    split.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=split, pad_token="[PAD]", unk_token="[UNK]")


def model_for(given: argparse.Namespace, classes: int, vocabulary: int) -> Any:
    """A fresh one, with `--layers` of its layers."""
    if given.model != "tiny":
        fewer = {} if given.layers is None else {"num_hidden_layers": given.layers}
        return AutoModelForSequenceClassification.from_pretrained(given.model, num_labels=classes, **fewer)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 1}
    return BertForSequenceClassification(BertConfig(vocab_size=vocabulary, num_labels=classes, **sizes))


def right(outputs: Any) -> dict[str, float]:
    """Accuracy, for the Trainer."""
    return {"accuracy": float((outputs.predictions.argmax(-1) == outputs.label_ids).mean())}


def train(given: argparse.Namespace, seed: int, data: tuple[Dataset, Dataset], sampled: bool) -> list[float]:
    """Fine-tune once; returns accuracy, seconds of the training, steps and examples."""
    rows, test = data
    tokenizer = tokenizer_for(given.model, rows)

    def tokenized(part: Dataset) -> Dataset:
        return part.map(lambda batch: tokenizer(batch["text"], truncation=True, max_length=64), batched=True)

    set_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        common = {
            "model": model_for(given, max(rows["label"]) + 1, len(tokenizer)),
            "args": TrainingArguments(
                output_dir=folder,
                num_train_epochs=given.epochs,
                per_device_train_batch_size=32,
                per_device_eval_batch_size=128,
                learning_rate=given.lr,
                seed=seed,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            "eval_dataset": tokenized(test),
            "data_collator": DataCollatorWithPadding(tokenizer),
            "compute_metrics": right,
        }
        if sampled:
            sampler = DynamicSampler(
                len(rows), selector=given.selector, seed=seed, rank=0, world_size=1
            )  # the Trainer makes the batches, and deals them out to several processes
            sizes = EpochSizes(sampler)
            trainer = DataDietTrainer(
                **common, train_dataset=with_ids(tokenized(rows)), sampler=sampler, callbacks=[sizes]
            )
        else:
            trainer = Trainer(**common, train_dataset=tokenized(rows))
        trainer.remove_callback(PrinterCallback)  # what is printed is the table
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
        examples = sizes.total if sampled else given.epochs * len(rows)
        return [trainer.evaluate()["eval_accuracy"], seconds, trainer.state.global_step, examples]


def main() -> None:
    """Train with both, for each seed, and print a table of means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="stanfordnlp/sst2", help="a hub id, a folder, TRAIN,TEST, or words")
    parser.add_argument(
        "--model", default="sentence-transformers/all-MiniLM-L6-v2", help="or a folder, or tiny"
    )
    parser.add_argument("--layers", type=int, help="use only the first so many of the model")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-4, help="learning rate")
    parser.add_argument("--selector", default="infobatch", help="see docs/dynamic.md")
    parser.add_argument("--rows", type=int, help="train on so many, drawn at random; all by default")
    parser.add_argument("--seeds", type=int, default=1, help="how many trainings of each kind")
    given = parser.parse_args()
    rows, test = read(given.data)
    if given.rows is not None:
        rows = rows.shuffle(seed=0).select(range(min(given.rows, len(rows))))
    found = np.array(
        [
            [train(given, seed, (rows, test), sampled) for sampled in (False, True)]
            for seed in range(given.seeds)
        ]
    )
    print(f"{len(rows):,} training rows, {len(test):,} test rows, {given.epochs} epochs")
    print(f"{'trained on':16}{'accuracy':>9}{'seconds':>9}{'steps':>8}{'examples':>10}")
    for name, (accuracy, seconds, steps, examples) in zip(
        ("everything", given.selector), found.mean(0), strict=True
    ):
        print(f"{name:16}{accuracy:9.4f}{seconds:9.1f}{steps:8,.0f}{examples:10,.0f}")
    spent = found[:, :, 1].sum(0)
    print(f"time saved by {given.selector}: {100 * (1 - spent[1] / spent[0]):.0f} %")
    if given.seeds == 1:
        print("n = 1 seed: a difference in accuracy says little; try --seeds 5")
    else:
        apart = found[:, 1, 0] - found[:, 0, 0]
        error = apart.std(ddof=1) / np.sqrt(given.seeds)
        print(
            f"n = {given.seeds} seeds: accuracy differs by {apart.mean():+.4f} ± {error:.4f} (standard error)"
        )


if __name__ == "__main__":
    main()
