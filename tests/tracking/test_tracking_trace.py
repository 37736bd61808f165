"""The trace: written whole, read in pieces, the same in memory and on disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from datadiet.foundation.errors import BadInputError
from datadiet.scores import register_score
from datadiet.scores import training_dynamics as dynamics
from datadiet.scores.registry import SCORES
from datadiet.tracking import Trace, scores_from_trace

IDS = np.array([3, 2049, 2**31 + 5, 2**40], np.int64)


def filled(folder: Path | None, epochs: int = 6, count: int = 101, seed: int = 0) -> Trace:
    generator = np.random.default_rng(seed)
    trace = Trace(np.arange(count) * 3, folder)
    for epoch in range(1, epochs + 1):
        trace.append(
            epoch,
            {
                "probability": generator.random(count, dtype=np.float32),
                "logit_margin": generator.standard_normal(count).astype(np.float32),
                "correct": generator.random(count) < 0.5,
                "seen": (generator.random(count) < 0.8) | (np.arange(count) == epoch),
                "prediction": generator.integers(0, 9, count),
            },
        )
    return trace


def test_columns_come_back_by_epoch_and_rows(tmp_path: Path) -> None:
    for folder in (None, tmp_path / "trace"):
        trace = Trace(IDS, folder)
        for epoch in (1, 2):
            trace.append(epoch, {"loss": np.arange(4) / epoch, "correct": torch.tensor([1, 0, 1, 0]).bool()})
        assert trace.epochs == (1, 2)
        assert trace.columns == ("correct", "loss")
        assert trace.column("loss").tolist() == [[0.0, 1.0, 2.0, 3.0], [0.0, 0.5, 1.0, 1.5]]
        assert trace.column("loss", slice(1, 3), through_epoch=1).tolist() == [[1.0, 2.0]]
        assert trace.column("loss").dtype == np.float32 and trace.column("correct").dtype == bool
        assert trace.seen(slice(0, 2)).tolist() == [[True, True], [True, True]]


def test_ids_and_dtypes_stand_exactly_in_the_files(tmp_path: Path) -> None:
    trace = Trace(IDS, tmp_path)
    trace.append(3, {"el2n": np.ones(4), "prediction": np.arange(4), "correct": np.ones(4, bool)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.safetensors", "train-00003.safetensors"]
    assert load_file(tmp_path / "ids.safetensors")["ids"].tolist() == IDS.tolist()
    stored = load_file(tmp_path / "train-00003.safetensors")
    assert {name: values.dtype for name, values in stored.items()} == {
        "el2n": np.float32,
        "prediction": np.int32,
        "correct": np.bool_,
    }
    assert Trace.open(tmp_path).ids.tolist() == IDS.tolist()


def test_an_epoch_that_is_there_is_replaced(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        trace = Trace(IDS, folder)
        trace.append(1, {"loss": np.zeros(4)})
        trace.append(1, {"loss": np.ones(4)})
        assert trace.epochs == (1,)
        assert trace.column("loss").tolist() == [[1.0] * 4]


def test_an_interrupted_append_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = Trace(IDS, tmp_path)
    trace.append(1, {"loss": np.zeros(4)})

    def interrupted(number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            trace.append(epoch, {"loss": np.ones(4)})
    monkeypatch.undo()
    back = Trace.open(tmp_path)
    assert back.epochs == (1,) and back.column("loss").tolist() == [[0.0] * 4]
    assert not list(tmp_path.glob(".*"))


def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path: Path) -> None:
    Trace(IDS, tmp_path)
    leftover = tmp_path / ".train-00001.safetensors.99-abcd.tmp"
    leftover.write_bytes(b"half")
    assert Trace.open(tmp_path).epochs == () and leftover.exists()  # a reader touches nothing
    Trace(IDS, tmp_path)
    assert not leftover.exists()


def test_what_is_appended_is_a_copy() -> None:
    trace, values = Trace(IDS), np.zeros(4, np.float32)
    trace.append(1, {"loss": values})
    values[:] = 9
    assert trace.column("loss").tolist() == [[0.0] * 4]


def test_truncating_forgets_later_epochs_only(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        trace = filled(folder, epochs=4)
        trace.truncate(2)
        assert trace.epochs == (1, 2)


def test_the_latest_value_is_that_of_the_last_presentation() -> None:
    trace = Trace([0, 1, 2])
    trace.append(1, {"loss": np.array([1.0, 2.0, 0.0]), "seen": np.array([True, True, False])})
    trace.append(2, {"loss": np.array([5.0, 0.0, 0.0]), "seen": np.array([True, False, False])})
    trace.append(3, {"loss": np.array([7.0, 8.0, 9.0]), "seen": np.array([True, True, True])})
    values, presented = trace.latest("loss", 2)
    np.testing.assert_array_equal(values, [5.0, 2.0, np.nan])
    assert presented.tolist() == [True, False, False]


@pytest.mark.parametrize("chunk", [10, 101, 1000, None])
@pytest.mark.parametrize("through_epoch", [None, 1, 3])
def test_scores_are_the_same_whatever_the_chunk(
    tmp_path: Path, chunk: int | None, through_epoch: int | None
) -> None:
    names = ["forgetting", "aum", "confidence", "variability", "dyn_unc"]
    trace = filled(tmp_path)
    epochs = through_epoch or 6
    seen = trace.seen()[:epochs]
    expected = {
        "forgetting": dynamics.forgetting(trace.column("correct")[:epochs], seen),
        "aum": dynamics.aum(trace.column("logit_margin")[:epochs], seen),
        "confidence": dynamics.confidence(trace.column("probability")[:epochs], seen),
        "variability": dynamics.variability(trace.column("probability")[:epochs], seen),
        "dyn_unc": dynamics.dyn_unc(trace.column("probability")[:epochs], seen=seen),
    }
    found = scores_from_trace(trace, names, through_epoch, chunk)
    in_memory = scores_from_trace(filled(None), names, through_epoch, chunk)
    for name in names:
        np.testing.assert_array_equal(found[name], expected[name])
        np.testing.assert_array_equal(in_memory[name], expected[name])


def test_a_users_own_score_of_the_trace_is_computed_like_the_others() -> None:
    @register_score("test_worst_margin", needs="trace", columns=("logit_margin",), higher_is_harder=False)
    def test_worst_margin(logit_margin: np.ndarray, seen: np.ndarray) -> np.ndarray:
        return np.where(seen, logit_margin, np.inf).min(axis=0)

    try:
        trace = filled(None)
        found = scores_from_trace(trace, ["test_worst_margin"], chunk=7)["test_worst_margin"]
    finally:
        SCORES.forget("test_worst_margin")
    masked = np.where(trace.seen(), trace.column("logit_margin"), np.inf)
    np.testing.assert_array_equal(found, masked.min(axis=0))


def test_what_a_trace_does_not_have_is_said(tmp_path: Path) -> None:
    trace = Trace(IDS, tmp_path / "trace")
    with pytest.raises(BadInputError, match="it has none yet"):
        scores_from_trace(trace, ["forgetting"])
    trace.append(1, {"loss": np.zeros(4)})
    with pytest.raises(BadInputError, match="no epoch 7; it has epoch 1"):
        trace.of_epoch(7, "loss")
    with pytest.raises(BadInputError, match="does not reach through epoch 2"):
        trace.column("loss", through_epoch=2)
    with pytest.raises(BadInputError, match="no column 'margin'"):
        trace.column("margin")
    with pytest.raises(BadInputError, match="'forgetting' needs column 'correct'"):
        scores_from_trace(trace, ["forgetting"])
    with pytest.raises(BadInputError, match="'el2n' is no score of a trace"):
        scores_from_trace(trace, ["el2n"])
    with pytest.raises(BadInputError, match="shape \\(3,\\), the trace has 4 ids"):
        trace.append(2, {"loss": np.zeros(3)})
    with pytest.raises(BadInputError, match="cannot be negative"):
        trace.append(-1, {"loss": np.zeros(4)})
    with pytest.raises(BadInputError, match="holds a trace of other examples"):
        Trace(IDS[:3], tmp_path / "trace")
    with pytest.raises(BadInputError, match="there is no trace in"):
        Trace.open(tmp_path)
    (tmp_path / "trace" / "train-00001.safetensors").write_bytes(b"damaged")
    with pytest.raises(BadInputError, match=r"train-00001\.safetensors cannot be read"):
        trace.column("loss")


@pytest.mark.parametrize("ids", [[1, 1], [2, 1], [0.5, 1.5], [[0, 1]]])
def test_ids_must_be_increasing_integers(ids: list) -> None:
    with pytest.raises(BadInputError, match="ids must be"):
        Trace(ids)
