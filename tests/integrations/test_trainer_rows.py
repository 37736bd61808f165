"""Rows and ids under the Trainer: whatever was done to the data, the examples that were chosen are trained on."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
datasets = pytest.importorskip("datasets")

from datadiet.dynamic import DynamicSampler, InfoBatch, NluDataDiet, RandomCycles, Schedule, with_ids  # noqa: E402
from datadiet.foundation.errors import BadInputError  # noqa: E402
from datadiet.integrations.transformers import DataDietTrainer, attach  # noqa: E402
from datadiet.tracking import Recorder  # noqa: E402

N, EPOCHS = 22, 3


class Classifier(torch.nn.Module):
    """Its first token says which row it is, so that a batch tells what was really trained on."""

    def __init__(self, labels: str = "labels") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = torch.nn.Embedding(60, 8), torch.nn.Linear(8, 3)
        self.seen: list[list[int]] = []
        if labels == "target":
            self.forward = self._of_target  # type: ignore[method-assign]

    def forward(self, input_ids: Any, labels: Any = None) -> Any:
        if self.training:
            self.seen.append(input_ids[:, 0].tolist())
        logits = self.head(self.embedding(input_ids).mean(1))
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return transformers.modeling_outputs.SequenceClassifierOutput(loss=loss, logits=logits)

    def _of_target(self, input_ids: Any, target: Any = None) -> Any:
        return Classifier.forward(self, input_ids, target)


def rows(label: str = "label") -> Any:
    tokens = np.random.default_rng(0).integers(30, 60, (N, 4))
    tokens[:, 0] = np.arange(N)
    return datasets.Dataset.from_dict({"input_ids": tokens.tolist(), label: [i % 3 for i in range(N)]})


def arguments(folder: Path, **changes: Any) -> Any:
    quiet = {
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
    }
    fixed = {"num_train_epochs": EPOCHS, "per_device_train_batch_size": 3, "learning_rate": 1e-2, "seed": 1}
    return transformers.TrainingArguments(output_dir=str(folder), **{**fixed, **quiet, **changes})


def sampler_of(selector: Any = None, **changes: Any) -> DynamicSampler:
    given = changes or {"num_examples": N}
    return DynamicSampler(
        schedule=Schedule(warmup=1), selector=selector or InfoBatch(), rank=0, world_size=1, seed=5, **given
    )


def trained(trainer: Any) -> list[int]:
    return [number for batch in trainer.model.seen for number in batch]


def chosen_by_epoch(sampler: DynamicSampler) -> list[list[int]]:
    """Keeps what is chosen for each epoch, from now on."""
    found: list[list[int]] = []
    end = sampler.end_epoch

    def end_epoch(*given: Any) -> None:
        found.append(sampler.chosen_ids.tolist())
        end(*given)

    sampler.end_epoch = end_epoch  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.shuffle(seed=1),
        lambda data: data.sort("label"),
        lambda data: data.select([*range(5, N), *range(5)]),
        lambda data: data.shuffle(seed=2).flatten_indices(),
    ],
)
@pytest.mark.parametrize("selector", [InfoBatch(), NluDataDiet(keep=0.5)])
def test_ids_survive_what_is_done_to_the_data_after_them(change: Any, selector: Any, tmp_path: Path) -> None:
    sampler = sampler_of(selector)
    found = chosen_by_epoch(sampler)
    recorder = Recorder(num_examples=N)
    trainer = DataDietTrainer(
        model=Classifier(),
        args=arguments(tmp_path),
        train_dataset=change(with_ids(rows())),
        sampler=sampler,
        recorder=recorder,
    )
    trainer.train()
    numbers = trained(trainer)
    for chosen in found:
        assert sorted(numbers[: len(chosen)]) == chosen
        numbers = numbers[len(chosen) :]
    assert not numbers
    assert recorder.labels.tolist() == [i % 3 for i in range(N)]


def test_a_filtered_data_set_has_a_sampler_over_what_is_left(tmp_path: Path) -> None:
    kept = [2, 3, 5, 8, 13, 21, 1, 0, 20, 19]
    data = with_ids(rows()).select(kept)
    with pytest.raises(BadInputError, match=r"12 of the sampler's 22 ids are not in column 'id' .*first 4"):
        DataDietTrainer(
            model=Classifier(), args=arguments(tmp_path), train_dataset=data, sampler=sampler_of()
        )
    for selector in (InfoBatch(), NluDataDiet(keep=0.5)):
        sampler = sampler_of(selector, ids=sorted(kept))
        trainer = DataDietTrainer(
            model=Classifier(), args=arguments(tmp_path), train_dataset=data, sampler=sampler
        )
        trainer.train()
        assert sorted(trained(trainer)[: len(kept)]) == sorted(kept)
        assert set(trained(trainer)) == set(kept)


@pytest.mark.parametrize(
    "ids, sentence",
    [
        ([f"row {i}" for i in range(N)], "no whole numbers"),
        ([float(i) for i in range(N)], "no whole numbers"),
        ([i // 2 for i in range(N)], "come twice"),
        ([i - 1 for i in range(N)], "below 0"),
        ([i + 1 for i in range(N)], "1 of the sampler's 22 ids are not in"),
    ],
)
def test_ids_that_cannot_be_dealt_out_are_refused(ids: list[Any], sentence: str, tmp_path: Path) -> None:
    data = rows().add_column("id", ids)
    with pytest.raises(BadInputError, match=sentence):
        DataDietTrainer(
            model=Classifier(), args=arguments(tmp_path), train_dataset=data, sampler=sampler_of()
        )


def test_the_user_s_own_id_column_stays_beside_ours(tmp_path: Path) -> None:
    data = rows().add_column("id", [f"row {i}" for i in range(N)])
    trainer = DataDietTrainer(
        model=Classifier(),
        args=arguments(tmp_path),
        train_dataset=with_ids(data, column="number"),
        sampler=sampler_of(),
        id_column="number",
    )
    trainer.train()
    assert sorted(trained(trainer)[:N]) == list(range(N))


class Subset(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, data: Any, places: list[int]) -> None:
        self.data, self.places = data, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: int) -> Any:
        return self.data[self.places[place]]


def encoded(kind: type) -> Any:
    data = rows("labels")

    class Encoded(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return N

        def __getitem__(self, place: int) -> Any:
            return kind(data[place])

    return Encoded()


@pytest.mark.parametrize("kind", [dict, transformers.BatchEncoding])
def test_rows_of_a_torch_data_set_bring_their_ids(kind: type, tmp_path: Path) -> None:
    sampler = sampler_of()
    trainer = DataDietTrainer(
        model=Classifier(), args=arguments(tmp_path), train_dataset=with_ids(encoded(kind)), sampler=sampler
    )
    trainer.train()
    assert sorted(trained(trainer)[:N]) == list(range(N))
    with pytest.raises(BadInputError, match="with_ids last"):
        DataDietTrainer(
            model=Classifier(),
            args=arguments(tmp_path),
            train_dataset=Subset(with_ids(encoded(kind)), [*range(1, N), 0]),
            sampler=sampler_of(),
        )


def test_ids_go_round_a_collator_that_drops_what_it_does_not_know(tmp_path: Path) -> None:
    def collate(batch: list[Any]) -> dict[str, torch.Tensor]:
        assert all(set(row) == {"input_ids", "label"} for row in batch)
        return {
            "input_ids": torch.tensor([row["input_ids"] for row in batch]),
            "labels": torch.tensor([row["label"] for row in batch]),
        }

    trainer = DataDietTrainer(
        model=Classifier(),
        args=arguments(tmp_path),
        train_dataset=with_ids(rows()),
        data_collator=collate,
        sampler=sampler_of(),
    )
    trainer.train()
    assert sorted(trained(trainer)[:N]) == list(range(N))


def test_labels_may_have_another_name(tmp_path: Path) -> None:
    recorder = Recorder(num_examples=N)
    trainer = DataDietTrainer(
        model=Classifier("target"),
        args=arguments(tmp_path, label_names=["target"]),
        train_dataset=with_ids(rows("target")),
        sampler=sampler_of(),
        recorder=recorder,
    )
    trainer.train()
    assert recorder.labels.tolist() == [i % 3 for i in range(N)]


@pytest.mark.parametrize("ids", [list(range(100, 104)), ["a", "b", "c", "d"], None])
@pytest.mark.parametrize("labels", [True, False])
def test_what_is_predicted_may_have_ids_of_its_own(ids: Any, labels: bool, tmp_path: Path) -> None:
    model = Classifier()
    trainer = DataDietTrainer(
        model=model, args=arguments(tmp_path), train_dataset=with_ids(rows()), sampler=sampler_of()
    )
    columns = {
        "input_ids": [[2, 3, 4, 5]] * 4,
        **({} if ids is None else {"id": ids}),
        **({"label": [0, 1, 2, 0]} if labels else {}),
    }
    test = datasets.Dataset.from_dict(columns)
    expected = transformers.Trainer(model=model, args=arguments(tmp_path)).predict(
        test.select_columns([name for name in columns if name != "id"])
    )
    np.testing.assert_array_equal(trainer.predict(test).predictions, expected.predictions)
    if labels:
        assert trainer.evaluate(test)["eval_loss"] == pytest.approx(expected.metrics["test_loss"])


ORDERED = (
    {"train_sampling_strategy": "group_by_length"}
    if "train_sampling_strategy" in inspect.signature(transformers.TrainingArguments).parameters
    else {"group_by_length": True}
)


def test_settings_that_do_not_go_with_a_sampler_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="group_by_length orders the training set itself"):
        DataDietTrainer(
            model=Classifier(),
            args=arguments(tmp_path, **ORDERED),
            train_dataset=with_ids(rows()),
            sampler=sampler_of(),
        )
    with pytest.raises(BadInputError, match="has no length"):
        DataDietTrainer(
            model=Classifier(),
            args=arguments(tmp_path, max_steps=4),
            train_dataset=with_ids(rows()).to_iterable_dataset(),
            sampler=sampler_of(),
        )
    with pytest.raises(BadInputError, match="has no rows"):
        DataDietTrainer(
            model=Classifier(),
            args=arguments(tmp_path),
            train_dataset=with_ids(rows().select([])),
            sampler=sampler_of(),
        )
    with pytest.raises(BadInputError, match="no train_dataset"):
        DataDietTrainer(model=Classifier(), args=arguments(tmp_path), sampler=sampler_of())


def test_attach_gives_ids_where_there_are_none_and_changes_nothing_when_it_refuses(tmp_path: Path) -> None:
    plain = transformers.Trainer(model=Classifier(), args=arguments(tmp_path), train_dataset=rows())
    kind, data, collator = type(plain), plain.train_dataset, plain.data_collator
    callbacks = len(plain.callback_handler.callbacks)
    for wrong in (
        {},
        {"sampler": sampler_of(num_examples=99)},
        {"sampler": sampler_of(num_examples=N, batch_size=2)},
    ):
        with pytest.raises(BadInputError):
            attach(plain, **wrong)
        assert (type(plain), plain.train_dataset, plain.data_collator) == (kind, data, collator)
        assert len(plain.callback_handler.callbacks) == callbacks
    assert attach(plain, sampler=sampler_of()) is plain
    assert isinstance(plain, transformers.Trainer)
    plain.train()
    assert sorted(trained(plain)[:N]) == list(range(N))
    with pytest.raises(BadInputError, match="already"):
        attach(plain, recorder=Recorder(num_examples=N))


def test_max_steps_are_taken_however_short_epochs_become(tmp_path: Path) -> None:
    sampler = sampler_of(RandomCycles(keep=0.3))
    trainer = DataDietTrainer(
        model=Classifier(),
        args=arguments(tmp_path, max_steps=30),
        train_dataset=with_ids(rows()),
        sampler=sampler,
    )
    if not hasattr(transformers.Trainer, "set_initial_training_values"):
        pytest.skip("this version fixes the number of epochs by the length of the first")
    trainer.train()
    assert trainer.state.global_step == 30
    assert sampler.epoch > 8


def test_a_recorder_is_told_what_the_outputs_were(tmp_path: Path) -> None:
    class Silent(transformers.Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            return model(**inputs).loss

    trainer = attach(
        Silent(model=Classifier(), args=arguments(tmp_path), train_dataset=rows()),
        recorder=Recorder(num_examples=N),
    )
    with pytest.raises(BadInputError, match="compute_loss returned no outputs"):
        trainer.train()
    assert trainer.state.global_step == 0
