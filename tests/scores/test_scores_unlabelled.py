"""Scores without labels against their definitions in float64, and what must hold of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datadiet.foundation.errors import BadInputError
from datadiet.scores import card
from datadiet.scores.outputs import el2n, logit_margin, margin
from datadiet.scores.unlabelled import hypothesis_el2n, least_confidence, probability_margin, top_logit_margin

ALL = (least_confidence, hypothesis_el2n, probability_margin, top_logit_margin)
LOGITS = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 7)), elements=st.floats(-30, 30))


def slow(logits: np.ndarray) -> dict[str, list[float]]:
    """Every score, one example at a time, by sorting."""
    found: dict[str, list[float]] = {function.__name__: [] for function in ALL}
    for row in logits.astype(np.float64):
        powers = np.exp(row - row.max())
        p = powers / powers.sum()
        first, second = np.sort(p)[::-1][:2]
        error = p.copy()
        error[int(np.argmax(row))] -= 1
        found["least_confidence"].append(1 - first)
        found["hypothesis_el2n"].append(float(np.sqrt((error**2).sum())))
        found["probability_margin"].append(first - second)
        found["top_logit_margin"].append(float(np.sort(row)[-1] - np.sort(row)[-2]))
    return found


@settings(max_examples=60, deadline=None)
@given(LOGITS)
def test_each_is_its_definition(logits) -> None:
    expected = slow(logits)
    for function in ALL:
        assert function(logits) == pytest.approx(np.array(expected[function.__name__]), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(LOGITS, st.randoms(use_true_random=False))
def test_no_label_changes_them(logits, random) -> None:
    labels = torch.tensor([random.randrange(logits.shape[1]) for _ in logits])
    for function in ALL:
        assert torch.equal(function(torch.from_numpy(logits), labels), function(torch.from_numpy(logits)))


def test_where_the_label_is_the_hypothesis_they_are_the_scores_with_labels() -> None:
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    right = logits.argmax(dim=1)
    assert torch.equal(hypothesis_el2n(logits), el2n(logits, right))
    assert torch.equal(probability_margin(logits), margin(logits, right))
    assert torch.equal(top_logit_margin(logits), logit_margin(logits, right))


def test_a_sure_model_still_tells_its_examples_apart_in_float32() -> None:
    logits = torch.tensor([[40.0, 0.0], [41.0, 0.0], [42.0, 0.0]])
    values = least_confidence(logits)
    assert values.dtype == torch.float32
    assert bool((values[:-1] > values[1:]).all()) and float(values[-1]) > 0


@pytest.mark.parametrize("logits", [np.zeros(3), np.zeros((3, 1)), np.zeros((3, 2), dtype=np.int64)])
def test_logits_of_a_wrong_form_are_refused(logits) -> None:
    with pytest.raises(BadInputError, match="logits"):
        least_confidence(logits)


@pytest.mark.parametrize(
    ("name", "harder"),
    [
        ("least_confidence", True),
        ("hypothesis_el2n", True),
        ("probability_margin", False),
        ("top_logit_margin", False),
    ],
)
def test_each_has_a_card_that_says_which_way_it_points(name, harder) -> None:
    sure, unsure = torch.tensor([[5.0, 0.0, 0.0]]), torch.tensor([[0.2, 0.0, 0.1]])
    found = card(name)
    assert found.needs == "outputs" and found.higher_is_harder is harder
    low, high = found.range
    values = [float(found.function(logits, torch.tensor([1]))) for logits in (sure, unsure)]
    assert all(low <= value <= high for value in values)
    assert (values[1] > values[0]) is harder
