"""What a model takes examples for without their labels, against slow computations one example at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.data import open_store
from datadiet.data.examples import TargetRows
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.pool.hypotheses import (
    check_pool_score,
    check_pool_task,
    hypotheses_of,
    read_pool,
    with_labels,
)


class Linear(torch.nn.Module):
    """Logits that are a fixed map of the inputs."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs @ self.weight


@pytest.fixture
def model() -> torch.nn.Module:
    return Linear(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)))


def test_every_score_is_its_definition_on_the_models_own_hypothesis(tiny, model) -> None:
    some = tiny.examples.train.ids[3::2]
    found = read_pool(tiny, model, tiny.train, some)
    assert found.ids.tolist() == some.tolist()
    inputs = torch.cat([batch.inputs for batch in tiny.train.epoch(some, batch_size=7)])
    logits = model(inputs).detach().double().numpy()
    for place, row in enumerate(logits):
        powers = np.exp(row - row.max())
        p = powers / powers.sum()
        label = int(np.argmax(p))
        error = p - np.eye(3)[label]
        assert found.labels[place] == label
        assert found.confidence[place] == pytest.approx(p.max(), abs=1e-5)
        assert found.hardness["entropy"][place] == pytest.approx(-(p * np.log(p)).sum(), abs=1e-5)
        assert found.hardness["el2n"][place] == pytest.approx(np.linalg.norm(error), abs=1e-5)
        assert found.hardness["margin"][place] == pytest.approx(np.sort(p)[-2] - np.sort(p)[-1], abs=1e-5)
        assert found.hardness["logit_margin"][place] == pytest.approx(
            np.sort(row)[-2] - np.sort(row)[-1], abs=1e-4
        )
        assert found.hardness["least_confidence"][place] == pytest.approx(1 - p.max(), abs=1e-5)


def test_labels_are_not_looked_at(tiny, model) -> None:
    train = tiny.examples.train
    other = with_labels(tiny.examples, train.ids, (train.labels + 1) % 3, said="all wrong")
    store = open_store(other.train, tiny.encoding)
    one, two = read_pool(tiny, model, tiny.train), read_pool(tiny, model, store)
    assert one.labels.tolist() == two.labels.tolist()
    for name, values in one.hardness.items():
        assert np.array_equal(values, two.hardness[name])


def test_a_score_does_not_depend_on_the_batch_it_was_in(tiny, model) -> None:
    ids = tiny.examples.train.ids
    whole = read_pool(tiny, model, tiny.train)
    alone = np.array(
        [read_pool(tiny, model, tiny.train, ids[i : i + 1]).hardness["entropy"][0] for i in range(9)]
    )
    assert whole.hardness["entropy"][:9] == pytest.approx(alone, abs=1e-5)


def test_hypotheses_take_the_form_of_the_targets() -> None:
    logits = torch.tensor([[[0.0, 2.0], [3.0, 1.0], [0.0, 1.0]]])
    targets = torch.tensor([[-100, 0, 0]])
    assert hypotheses_of(logits, targets).tolist() == [[-100, 0, 1]]
    both = hypotheses_of(
        {"intent": torch.eye(2), "slots": logits}, {"intent": torch.zeros(2).long(), "slots": targets}
    )
    assert both["intent"].tolist() == [0, 1] and both["slots"].tolist() == [[-100, 0, 1]]
    assert hypotheses_of(torch.tensor([[0.3, -2.0]]), torch.zeros(1, 2)).tolist() == [[1.0, 0.0]]


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(BadInputError, match="regression"):
        check_pool_task("regression")
    with pytest.raises(BadInputError, match="least_confidence"):
        check_pool_score("entropie")


# Other labels on some rows.


def test_only_the_named_rows_get_other_labels_and_the_data_another_fingerprint() -> None:
    examples = dd.load("digits")
    train = examples.train
    chosen = train.ids[[5, 2, 9]]
    other = with_labels(examples, chosen, np.array([1, 2, 3]), said="three")
    expected = train.labels.copy()
    expected[[5, 2, 9]] = [1, 2, 3]
    assert other.train.labels.tolist() == expected.tolist()
    assert train.labels.tolist() != expected.tolist()
    assert other.fingerprint != examples.fingerprint and other.test is examples.test
    same = with_labels(examples, chosen, train.labels[[5, 2, 9]], said="none")
    assert same.fingerprint == examples.fingerprint


def test_tags_of_the_named_rows_are_replaced_word_by_word() -> None:
    texts = ["to new york", "fly", "go to rome", "stay here", "a b", "c d e"]
    rows = {"text": texts, "tags": ["O B-c I-c", "O", "O O B-c", "O O", "O O", "O B-c O"]}
    import datasets

    examples = dd.load(datasets.Dataset.from_dict(rows), test_fraction=0.34)
    train, names = examples.train, examples.tag_names
    lengths = train.targets.lengths()
    chosen = train.ids[[2, 0]]
    new = [[(word + 1) % len(names) for word in range(lengths[row])] for row in (2, 0)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in new])])
    targets = TargetRows("token_classification", np.concatenate(new), offsets, names)
    other = with_labels(examples, chosen, np.zeros(2, dtype=np.int64), targets, said="two")
    expected = [row.tolist() for row in train.targets.rows()]
    expected[2], expected[0] = new
    assert [row.tolist() for row in other.train.targets.rows()] == expected
    assert other.fingerprint != examples.fingerprint
    with pytest.raises(ValueError, match="each word"):
        with_labels(examples, chosen[::-1], np.zeros(2, dtype=np.int64), targets.take([1, 1]), said="wrong")
