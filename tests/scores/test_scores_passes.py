"""Means over the training pass against a plain loop in float64."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.foundation.errors import BadInputError
from datadiet.scores.passes import mean_over_the_pass


def slow(values: np.ndarray, seen: np.ndarray) -> list[float]:
    found = []
    for example in range(values.shape[1]):
        late = [float(values[e, example]) for e in range(1, len(values)) if seen[e, example]]
        first = [float(values[0, example])] if seen[0, example] else []
        counted = late or first
        found.append(sum(counted) / len(counted) if counted else float("nan"))
    return found


@pytest.mark.parametrize("epochs", [1, 2, 3, 7])
@pytest.mark.parametrize("share", [1.0, 0.6, 0.2])
def test_the_mean_is_that_of_a_plain_loop(epochs: int, share: float) -> None:
    generator = np.random.default_rng(epochs)
    values, seen = generator.normal(size=(epochs, 200)), generator.random((epochs, 200)) < share
    values[~seen] = np.nan
    np.testing.assert_allclose(mean_over_the_pass(values, seen), slow(values, seen), rtol=1e-14)
    assert mean_over_the_pass(values.astype(np.float32), seen).dtype == np.float32


def test_the_first_epoch_does_not_count_where_there_is_a_later_one() -> None:
    assert mean_over_the_pass([[9.0, 9.0], [1.0, 2.0], [3.0, 4.0]]).tolist() == [2.0, 3.0]
    assert mean_over_the_pass([[9.0, 8.0]]).tolist() == [9.0, 8.0]


@pytest.mark.parametrize(
    ("values", "seen", "words"),
    [
        ([1.0], None, "at least one epoch"),
        ([[1.0, np.nan]], None, "not finite in epoch row 0, column 1"),
        ([[1.0]], [[True, False]], "they must be equal"),
    ],
)
def test_what_cannot_be_averaged_is_refused(values, seen, words) -> None:
    with pytest.raises(BadInputError, match=words):
        mean_over_the_pass(values, seen)
