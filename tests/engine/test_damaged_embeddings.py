"""Files of embeddings, whatever they hold: the vectors, or one sentence that names the file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from datadiet.engine.embedding import Embeddings
from datadiet.foundation.errors import BadInputError
from datadiet.scores.stream import score_logits
from mutations import check_each, damaged

IDS = np.arange(0, 40, 2)
VALUES = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "values",
    [
        np.array([object()] * 20), np.array(["a"] * 20), VALUES[0], VALUES[:-1], VALUES.astype(complex), VALUES > 0,
        np.where(VALUES[3, 1] == VALUES, np.nan, VALUES), np.full((20, 2), np.inf), np.zeros((20, 0)),
        np.zeros((20, 2), dtype=[("a", "f4")]), np.full((20, 2), "2020-01-01", dtype="datetime64[D]"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_embeddings(tmp_path, values):
    np.save(tmp_path / "e.npy", values, allow_pickle=True)
    with pytest.raises(BadInputError, match=r"embeddings .*e\.npy"):
        Embeddings.read(tmp_path / "e.npy", IDS)
    with pytest.raises(BadInputError):
        score_logits(tmp_path / "e.npy", np.arange(20) % 3)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"ids": torch.from_numpy(IDS)},
        {"ids": torch.from_numpy(IDS), "embeddings": torch.zeros(19, 3)},
        {"ids": torch.from_numpy(IDS[::-1].copy()), "embeddings": torch.zeros(20, 3)},
        {"ids": torch.zeros(20), "embeddings": torch.zeros(20, 3)},
        {"ids": torch.from_numpy(IDS), "embeddings": torch.full((20, 3), torch.nan)},
        {"ids": torch.from_numpy(IDS), "embeddings": torch.zeros(20)},
    ],
)
def test_tensors_that_are_no_embeddings(tmp_path, tensors):
    save_file(tensors, tmp_path / "e.safetensors")
    with pytest.raises(BadInputError, match=r"e\.safetensors"):
        Embeddings.read(tmp_path / "e.safetensors")


def test_vectors_of_half_precision_are_taken(tmp_path):
    save_file(
        {"ids": torch.from_numpy(IDS), "embeddings": torch.ones(20, 3, dtype=torch.bfloat16)},
        tmp_path / "e.safetensors",
    )
    assert Embeddings.read(tmp_path / "e.safetensors").values.dtype == np.float32


def check_files(tmp_path, count):
    Embeddings(IDS, VALUES, {"fingerprint": "abc"}).write(tmp_path / "e.safetensors")
    np.save(tmp_path / "e.npy", VALUES)
    for name in ("e.safetensors", "e.npy"):
        path = tmp_path / name
        content = path.read_bytes()

        def read(form, path=path):
            path.write_bytes(form)
            return Embeddings.read(path, IDS)

        check_each(damaged(content, count, seed=len(content)), read)
        check_each([content[:-5]], read)


def test_damaged_files(tmp_path):
    check_files(tmp_path, 40)


@pytest.mark.slow
def test_files_damaged_in_two_thousand_ways(tmp_path):
    check_files(tmp_path, 2000)
