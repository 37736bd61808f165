"""Scores of saved logits: chunk by chunk the same as at once, and clear about what is wrong."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from datadiet.foundation.errors import BadInputError
from datadiet.scores import outputs, register_score
from datadiet.scores import training_dynamics as dynamics
from datadiet.scores.registry import SCORES
from datadiet.scores.stream import score_logits
from datadiet.scores.training_dynamics import tdds_of_probabilities

POINTS = ("el2n", "l1_error", "entropy", "loss", "margin", "logit_margin")
DYNAMICS = ("forgetting", "aum", "confidence", "variability", "dyn_unc")


def made(epochs: int = 4, rows: int = 103, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    logits = generator.standard_normal((epochs, rows, classes), dtype=np.float32) * 2
    return logits, generator.integers(0, classes, rows)


@pytest.mark.parametrize("classes", [2, 5, 64, 65, 200])
@pytest.mark.parametrize("chunk_rows", [1, 7, 103, 5000, None])
def test_every_chunk_size_gives_the_scores_of_the_whole(classes: int, chunk_rows: int | None) -> None:
    logits, labels = made(classes=classes)
    table = score_logits(logits, labels, scores=POINTS + DYNAMICS, chunk_rows=chunk_rows)
    for name in POINTS:
        np.testing.assert_allclose(
            table.column(name), getattr(outputs, name)(logits[-1], labels), rtol=1e-5, atol=1e-6
        )
    probabilities = torch.softmax(torch.from_numpy(logits).double(), dim=-1).numpy()
    of_label = np.take_along_axis(probabilities, labels[None, :, None], axis=2)[..., 0]
    np.testing.assert_array_equal(
        table.column("forgetting"), dynamics.forgetting(logits.argmax(axis=2) == labels)
    )
    np.testing.assert_allclose(table.column("confidence"), of_label.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(table.column("variability"), of_label.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(table.column("dyn_unc"), of_label.std(axis=0, ddof=1), atol=1e-6)
    margins = [outputs.logit_margin(epoch, labels) for epoch in logits]
    np.testing.assert_allclose(table.column("aum"), np.mean(margins, axis=0), atol=1e-5)


def test_files_one_file_an_epoch_and_arrays_are_the_same(tmp_path: Path) -> None:
    logits, labels = made()
    np.save(tmp_path / "all.npy", logits)
    np.save(tmp_path / "labels.npy", labels)
    files = []
    for number, epoch in enumerate(logits):
        files.append(tmp_path / f"{number}.npy")
        np.save(files[-1], epoch)
    scores = ("el2n", "forgetting", "aum")
    tables = [
        score_logits(logits, labels, scores=scores),
        score_logits(tmp_path / "all.npy", str(tmp_path / "labels.npy"), scores=scores),
        score_logits(files, labels.astype(np.uint8), scores=scores),
        score_logits(list(logits), labels, scores=scores),
        score_logits(np.asfortranarray(logits), labels, scores=scores),
    ]
    for table in tables[1:]:
        assert table.labels.tolist() == labels.tolist()
        for name in scores:
            np.testing.assert_array_equal(table.column(name), tables[0].column(name))


def test_only_the_scores_that_were_asked_for_are_in_the_table() -> None:
    logits, labels = made(epochs=1)
    table = score_logits(logits[0], labels)
    assert table.names == ("el2n",)
    assert table.ids.tolist() == list(range(103))
    assert table.provenance["scores"]["el2n"]["epoch"] == 1
    assert table.provenance["scores"]["el2n"]["taken"] == "given logits"


def test_point_scores_are_of_the_epoch_that_was_asked_for() -> None:
    logits, labels = made()
    one = score_logits(logits, labels, at_epoch=2)
    np.testing.assert_allclose(one.column("el2n"), outputs.el2n(logits[1], labels), rtol=1e-5)
    several = score_logits(logits, labels, scores=("el2n", "aum"), at_epoch=[1, 4])
    assert set(several.names) == {"el2n@1", "el2n@4", "aum"}
    np.testing.assert_allclose(several.column("el2n@1"), outputs.el2n(logits[0], labels), rtol=1e-5)
    np.testing.assert_allclose(several.column("el2n@4"), outputs.el2n(logits[3], labels), rtol=1e-5)


def test_half_precision_logits_are_scored_in_float32_and_float64_in_float64() -> None:
    logits, labels = made(epochs=1)
    half = logits[0].astype(np.float16)
    np.testing.assert_allclose(
        score_logits(half, labels).column("el2n"), outputs.el2n(half.astype(np.float64), labels), rtol=1e-5
    )
    double = score_logits(logits[0].astype(np.float64), labels)
    assert double.column("el2n").dtype == np.float64
    np.testing.assert_allclose(
        double.column("el2n"), outputs.el2n(logits[0].astype(np.float64), labels), rtol=1e-12
    )


def test_a_users_own_score_sees_rows_of_logits() -> None:
    @register_score("test_second_best", needs="outputs")
    def test_second_best(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return logits.topk(2, dim=1).values[:, 1]

    try:
        logits, labels = made(epochs=1)
        table = score_logits(logits[0], labels, scores=("test_second_best",), chunk_rows=10)
    finally:
        SCORES.forget("test_second_best")
    np.testing.assert_array_equal(table.column("test_second_best"), np.sort(logits[0], axis=1)[:, -2])


def test_the_given_logits_are_left_as_they_were() -> None:
    for classes in (5, 200):
        logits, labels = made(classes=classes)
        before = logits.copy()
        score_logits(logits, labels, scores=POINTS + DYNAMICS)
        np.testing.assert_array_equal(logits, before)


def test_scoring_leaves_torchs_number_of_threads_alone() -> None:
    before = torch.get_num_threads()
    score_logits(*made())
    assert torch.get_num_threads() == before


def test_memory_is_that_of_the_result_and_not_of_the_logits(tmp_path: Path) -> None:
    rows = 400_000
    path = tmp_path / "logits.npy"
    logits = np.lib.format.open_memmap(path, "w+", np.float32, (rows, 10))
    for start in range(0, rows, 50_000):
        logits[start : start + 50_000] = np.random.default_rng(start).standard_normal((50_000, 10))
    del logits
    labels = np.zeros(rows, np.int64)
    tracemalloc.start()
    try:
        score_logits(path, labels, chunk_rows=4096)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    results = rows * (8 + 8 + 4 + 4)  # ids, labels, the score and room for checking it
    assert peak < results + 20 * 4096 * 10 * 4


@pytest.mark.parametrize("scores", [("el2n",), ("forgetting",), ("aum", "logit_margin")])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_named_by_row(scores: tuple[str, ...], bad: float) -> None:
    logits, labels = made()
    logits[1, 42, 3] = bad
    with pytest.raises(BadInputError, match="not finite in rows 42 of epoch 2"):
        score_logits(logits, labels, scores=scores, at_epoch=2, chunk_rows=10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z, y: (z[0, 0], y), "got shape \\(5,\\)"),
        (lambda z, y: (z[None], y), "got shape \\(1, 4, 103, 5\\)"),
        (lambda z, y: (z, y[:-1]), "103 rows but there are 102 labels"),
        (lambda z, y: (z, y[:, None]), "row of integers"),
        (lambda z, y: (z, y.astype(float)), "row of integers"),
        (
            lambda z, y: (z, np.where(np.arange(103) == 60, 5, y)),
            "label 5 in row 60 is outside the 5 classes",
        ),
        (lambda z, y: (z, np.where(np.arange(103) == 60, -1, y)), "label -1 in row 60"),
        (lambda z, y: (z.astype(int), y), "floating point"),
        (lambda z, y: ([z[0], z[1, :50]], y), "epoch 2 have shape \\(50, 5\\)"),
        (lambda z, y: ([], y), "at least one epoch"),
        (lambda z, y: (z[..., :1], y), "two classes at least"),
        (lambda z, y: ("missing.npy", y), "no file of logits at missing.npy"),
    ],
)
def test_what_cannot_be_scored_is_refused(change: object, message: str) -> None:
    logits, labels = change(*made())  # type: ignore[operator]
    with pytest.raises(BadInputError, match=message):
        score_logits(logits, labels, chunk_rows=20)


def test_scores_that_logits_cannot_give_are_refused() -> None:
    logits, labels = made()
    with pytest.raises(BadInputError, match="'grand' cannot be computed from logits: it needs gradients"):
        score_logits(logits, labels, scores=["grand"])
    with pytest.raises(BadInputError, match="no epoch 5; the logits have 4"):
        score_logits(logits, labels, at_epoch=5)
    with pytest.raises(BadInputError, match="at least one score"):
        score_logits(logits, labels, scores=[])


def test_files_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    _, labels = made()
    text = tmp_path / "text.npy"
    text.write_text("hello")
    with pytest.raises(BadInputError, match=r"not a readable \.npy file"):
        score_logits(text, labels)
    several = tmp_path / "several.npz"
    np.savez(several, a=labels)
    with pytest.raises(BadInputError, match="holds several arrays"):
        score_logits(several, labels)


@pytest.mark.parametrize(("classes", "chunk_rows"), [(4, None), (4, 3), (80, 5)])
def test_tdds_of_logits_is_over_all_classes(classes: int, chunk_rows: int | None) -> None:
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((6, 13, classes)) * 3
    labels = generator.integers(0, classes, 13)
    table = score_logits(logits, labels, scores=["tdds", "tdds_label", "el2n"], chunk_rows=chunk_rows)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(table.column("tdds"), tdds_of_probabilities(probabilities), rtol=1e-9)
    of_label = np.take_along_axis(probabilities, labels[None, :, None], axis=2)
    np.testing.assert_allclose(table.column("tdds_label"), tdds_of_probabilities(of_label), rtol=1e-9)
    np.testing.assert_allclose(table.column("el2n"), outputs.el2n(logits[-1], labels), rtol=1e-9)


def test_the_mean_of_any_score_of_outputs_is_taken_over_the_epochs_of_logits() -> None:
    logits, labels = np.random.default_rng(1).standard_normal((4, 7, 3)), np.zeros(7, np.int64)
    table = score_logits(logits, labels, scores=["mean_least_confidence"])
    expected = np.mean([outputs.least_confidence(epoch) for epoch in logits[1:]], axis=0)
    np.testing.assert_allclose(table.column("mean_least_confidence"), expected, rtol=1e-9)
