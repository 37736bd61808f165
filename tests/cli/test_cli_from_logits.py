"""Scores of saved logits from the command line are those of plain formulas in float64 NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import Datadiet, contents

import datadiet as dd

EPOCHS, ROWS, CLASSES = 5, 40, 4


@pytest.fixture
def saved(here: Path) -> tuple[np.ndarray, np.ndarray]:
    """Logits (epochs, rows, classes) and labels, also as files; the first row is never learnt."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, ROWS)
    labels[0] = 0
    logits = generator.normal(size=(EPOCHS, ROWS, CLASSES))
    logits[:, 0] = [-3.0, 1.0, 0.0, 2.0]
    np.save("labels.npy", labels)
    np.save("all.npy", logits)
    for epoch in range(EPOCHS):
        np.save(f"epoch{epoch + 1}.npy", logits[epoch])
    return logits, labels


WITHOUT_LABELS = ("least_confidence", "hypothesis_el2n", "probability_margin", "top_logit_margin")


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def point_scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    found: dict[str, list[float]] = {name: [] for name in ("el2n", "l1_error", "entropy", "loss", "margin")}
    found |= {name: [] for name in ("logit_margin", *WITHOUT_LABELS)}
    for row, label in enumerate(labels):
        probabilities = softmax(logits[row])
        error = probabilities - np.eye(CLASSES)[label]
        others = np.arange(CLASSES) != label
        found["el2n"].append(np.sqrt((error**2).sum()))
        found["l1_error"].append(np.abs(error).sum())
        found["entropy"].append(-(probabilities * np.log(probabilities)).sum())
        found["loss"].append(-np.log(probabilities[label]))
        found["margin"].append(probabilities[label] - probabilities[others].max())
        found["logit_margin"].append(logits[row, label] - logits[row, others].max())
        second, first = np.sort(probabilities)[-2:]
        guess = np.eye(CLASSES)[probabilities.argmax()]
        found["least_confidence"].append(1 - first)
        found["hypothesis_el2n"].append(np.sqrt(((probabilities - guess) ** 2).sum()))
        found["probability_margin"].append(first - second)
        found["top_logit_margin"].append(np.diff(np.sort(logits[row])[-2:])[0])
    return {name: np.array(values) for name, values in found.items()}


def test_one_epoch_gives_every_score_of_the_outputs(
    saved: tuple[np.ndarray, np.ndarray], datadiet: Datadiet, here: Path
) -> None:
    logits, labels = saved
    outcome = datadiet(
        "score", "--from-logits", "epoch2.npy", "--labels", "labels.npy", "--out", "one.parquet"
    )
    assert (outcome.code, outcome.stderr) == (0, "")
    table = dd.ScoreTable.read("one.parquet")
    expected = point_scores(logits[1], labels)
    assert set(table.names) == set(expected)
    assert table.ids.tolist() == list(range(ROWS))
    assert table.labels.tolist() == labels.tolist()
    for name, values in expected.items():
        np.testing.assert_allclose(table.column(name), values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("files", ["one file", "a file an epoch"])
def test_several_epochs_give_the_dynamics_as_well(
    files: str, saved: tuple[np.ndarray, np.ndarray], datadiet: Datadiet
) -> None:
    logits, labels = saved
    paths = ["all.npy"] if files == "one file" else [f"epoch{epoch + 1}.npy" for epoch in range(EPOCHS)]
    flags = [word for path in paths for word in ("--from-logits", path)]
    assert datadiet("score", *flags, "--labels", "labels.npy").code == 0
    table = dd.ScoreTable.read("scores.parquet")
    for name, values in point_scores(logits[-1], labels).items():
        np.testing.assert_allclose(table.column(name), values, rtol=1e-9, atol=1e-12)
    rows = np.arange(ROWS)
    probability = softmax(logits)[:, rows, labels]
    correct = logits.argmax(axis=-1) == labels
    margins = np.stack([point_scores(logits[epoch], labels)["logit_margin"] for epoch in range(EPOCHS)])
    np.testing.assert_allclose(table.column("aum"), margins.mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(table.column("confidence"), probability.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(table.column("variability"), probability.std(axis=0), rtol=1e-9, atol=1e-12)
    forgotten = np.zeros(ROWS)
    for row in range(ROWS):
        for before, after in zip(correct[:-1, row], correct[1:, row], strict=True):
            forgotten[row] += before and not after
    learnt = correct.any(axis=0)
    np.testing.assert_array_equal(table.column("forgetting")[learnt], forgotten[learnt])
    assert not learnt[0]
    assert table.column("forgetting")[0] == table.column("forgetting").max() > forgotten.max()


def test_epochs_may_be_chosen_by_number(saved: tuple[np.ndarray, np.ndarray], datadiet: Datadiet) -> None:
    logits, labels = saved
    flags = ("--from-logits", "all.npy", "--labels", "labels.npy", "--scores", "el2n", "--at-epoch", "2,4")
    assert datadiet("score", *flags).code == 0
    table = dd.ScoreTable.read("scores.parquet")
    assert table.names == ("el2n@2", "el2n@4")
    for epoch in (2, 4):
        expected = point_scores(logits[epoch - 1], labels)["el2n"]
        np.testing.assert_allclose(table.column(f"el2n@{epoch}"), expected, rtol=1e-9)


def test_nothing_but_the_table_is_written(
    saved: tuple[np.ndarray, np.ndarray], datadiet: Datadiet, here: Path
) -> None:
    before = set(contents(here))
    assert (
        datadiet("score", "--from-logits", "all.npy", "--labels", "labels.npy", "--out", "a/b.parquet").code
        == 0
    )
    assert set(contents(here)) - before == {"a", "a/b.parquet"}


def test_what_logits_gave_can_be_kept_by(saved: tuple[np.ndarray, np.ndarray], datadiet: Datadiet) -> None:
    logits, labels = saved
    assert datadiet("score", "--from-logits", "all.npy", "--labels", "labels.npy").code == 0
    for out in ("kept.parquet", "kept.txt"):
        assert (
            datadiet("keep", "scores.parquet", "--by=el2n", "--rule=hardest", "--keep=0.3", "--out", out).code
            == 0
        )
        kept = dd.Kept.read(out).ids
        hardest = np.argsort(-point_scores(logits[-1], labels)["el2n"], kind="stable")[:12]
        assert kept.tolist() == sorted(hardest.tolist())
