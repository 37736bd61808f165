"""GraNd over several models and a loader."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pergrad_oracle import oracle, total
from safetensors.torch import save_model
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad import grand


def model_of(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


INPUTS = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(8) % 3
IDS = torch.tensor([10, 3, 7, 1, 5, 4, 9, 2])


def batches(size: int, order=range(8)):
    order = torch.tensor(list(order))
    return [
        SimpleNamespace(ids=IDS[part], inputs=INPUTS[part], targets=LABELS[part])
        for part in order.split(size)
    ]


def test_grand_is_the_mean_over_models_matched_by_id():
    models = [model_of(seed) for seed in range(3)]
    expected = np.stack([total(oracle(model.eval(), INPUTS, LABELS)).numpy() for model in models])
    expected = expected[:, np.argsort(IDS.numpy())]
    models = [model.train() for model in models]
    result = grand(models, batches(3))
    assert result.ids.tolist() == sorted(IDS.tolist())
    np.testing.assert_allclose(result.per_seed, expected, rtol=1e-5)
    np.testing.assert_allclose(result.mean, expected.mean(0), rtol=1e-5)
    np.testing.assert_allclose(result.std, expected.std(0, ddof=1), rtol=1e-4)
    assert all(module.training for model in models for module in model.modules())
    shuffled = grand(models, batches(5, reversed(range(8))))
    np.testing.assert_allclose(shuffled.mean, result.mean, rtol=1e-5)


def test_checkpoints_factories_and_triples_do_as_well(tmp_path):
    trained = model_of(4)
    save_model(trained, str(tmp_path / "weights.safetensors"))
    triples = [(b.ids, b.inputs, b.targets) for b in batches(4)]
    from_file = grand([(lambda: model_of(9), tmp_path / "weights.safetensors")], triples)
    from_factory = grand([lambda: model_of(4)], triples)
    np.testing.assert_array_equal(from_file.mean, from_factory.mean)
    assert np.isnan(from_file.std).all()


@pytest.mark.parametrize(
    ("models", "loader", "words"),
    [
        ([], batches(4), "at least one model"),
        ([model_of(0)], [], "loader is empty"),
        ([model_of(0)], batches(4) + batches(4), "more than once"),
        ([model_of(0)], [INPUTS], "ids, inputs and targets"),
        (["model.pt"], batches(4), "not str"),
        ([(lambda: model_of(0), "missing.safetensors")], batches(4), "missing.safetensors"),
    ],
)
def test_what_cannot_be_scored_is_said(models, loader, words):
    with pytest.raises(BadInputError, match=words):
        grand(models, loader)


def test_a_generator_that_is_used_up_by_the_first_model_is_found():
    with pytest.raises(BadInputError, match=r"empty|other ids"):
        grand([model_of(0), model_of(1)], iter(batches(4)))


def test_interacting_examples_are_found_once_at_the_start():
    class Centred(nn.Module):
        def forward(self, inputs):
            return inputs - inputs.mean(0, keepdim=True)

    with pytest.raises(BadInputError, match=r"`1` \(Centred\)"):
        grand([nn.Sequential(nn.Linear(5, 3), Centred())], batches(4))
