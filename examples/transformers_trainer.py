"""The Hugging Face Trainer with a dynamic sampler and a recorder: NLU on Data Diets on a tiny random model.

    python examples/transformers_trainer.py [--out FOLDER]

One epoch on everything, then every second epoch the whole set is scored and the harder half trained on. Stopped at
any checkpoint, `trainer.train(resume_from_checkpoint=True)` goes on with the same examples.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

from datadiet import Recorder
from datadiet.dynamic import DynamicSampler, NluDataDiet, Schedule, with_ids
from datadiet.integrations.transformers import DataDietTrainer


def sentences(count: int) -> Dataset:
    """Random words; the label says which of three marker words stands among them, or not at all."""
    generator = np.random.default_rng(0)
    tokens = generator.integers(10, 60, (count, 8))
    labels = generator.integers(0, 4, count)
    places = generator.integers(0, 8, count)
    marked = labels > 0
    tokens[marked, places[marked]] = labels[marked]
    return Dataset.from_dict({"input_ids": tokens.tolist(), "label": labels.tolist()})


def main(folder: str) -> None:
    """Train, and print what it cost and what the recorder found."""
    train_set = with_ids(sentences(240))  # adds the column that the Trainer keeps
    sampler = DynamicSampler(
        len(train_set), Schedule(warmup=1, every=2), NluDataDiet(keep=0.5), rank=0, world_size=1
    )
    recorder = Recorder(num_examples=len(train_set))
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=4,
        max_position_embeddings=8,
    )
    trainer = DataDietTrainer(
        model=BertForSequenceClassification(config),
        args=TrainingArguments(
            output_dir=folder,
            num_train_epochs=5,
            per_device_train_batch_size=16,
            gradient_accumulation_steps=2,
            learning_rate=3e-3,
            save_strategy="epoch",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=train_set,
        sampler=sampler,
        recorder=recorder,
    )
    trainer.train()
    shown = [int(recorder.trace.of_epoch(epoch, "seen").sum()) for epoch in range(1, 6)]
    table = recorder.table(["el2n", "forgetting"])
    print(f"examples of each epoch: {shown}")
    print(f"{sampler.scoring_passes} scoring passes took {sampler.scoring_seconds:.2f} s")
    print(f"hardest example by EL2N: {int(table.column('el2n').argmax())}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", help="where checkpoints go; a temporary folder by default")
    arguments = parser.parse_args()
    if arguments.out:
        main(arguments.out)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(temporary)
