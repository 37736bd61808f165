"""Scores of one forward pass against their formulas in float64 NumPy, one example at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datadiet.foundation.errors import BadInputError
from datadiet.scores import card, outputs
from datadiet.scores.outputs import (
    el2n,
    hypothesis_el2n,
    least_confidence,
    logit_margin,
    margin,
    probability_margin,
    top_logit_margin,
)
from datadiet.scores.softmax import SoftmaxTerms

WITHOUT_LABELS = (least_confidence, hypothesis_el2n, probability_margin, top_logit_margin)
LOGITS = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 7)), elements=st.floats(-30, 30))
SCORES = ("el2n", "l1_error", "entropy", "loss", "margin", "logit_margin")


def oracle(name: str, logits: np.ndarray, target: int) -> float:
    """The score of one example, written out in Python floats of 64 bits."""
    z = [float(value) for value in logits]
    top = max(z)
    total = math.fsum(math.exp(value - top) for value in z)
    p = [math.exp(value - top) / total for value in z]
    y = [1.0 if j == target else 0.0 for j in range(len(z))]
    if name == "el2n":
        return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(p, y, strict=True)))
    if name == "l1_error":
        return math.fsum(abs(a - b) for a, b in zip(p, y, strict=True))
    if name == "entropy":
        return -math.fsum(a * math.log(a) for a in p if a > 0)
    if name == "loss":
        return top + math.log(total) - z[target]
    values = p if name == "margin" else z
    return values[target] - max(value for j, value in enumerate(values) if j != target)


def batch(
    rows: int = 64, classes: int = 10, seed: int = 0, scale: float = 3.0
) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((rows, classes)) * scale, generator.integers(0, classes, rows)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_each_score_is_its_formula(name: str, classes: int) -> None:
    logits, targets = batch(classes=classes, seed=classes)
    expected = [oracle(name, row, target) for row, target in zip(logits, targets, strict=True)]
    function = getattr(outputs, name)
    np.testing.assert_allclose(function(logits, targets), expected, rtol=1e-12, atol=1e-14)
    single = function(logits.astype(np.float32), targets)
    np.testing.assert_allclose(single, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", SCORES)
def test_numpy_in_gives_numpy_out_and_tensors_give_tensors(name: str) -> None:
    logits, targets = batch()
    function = getattr(outputs, name)
    from_numpy = function(logits, targets)
    from_torch = function(torch.from_numpy(logits), torch.from_numpy(targets))
    assert isinstance(from_numpy, np.ndarray) and isinstance(from_torch, torch.Tensor)
    np.testing.assert_array_equal(from_numpy, from_torch.numpy())


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    ("given_dtype", "expected_dtype"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.float16, torch.float32),
     (torch.bfloat16, torch.float32)],
)  # fmt: skip
def test_precision_is_float64_for_float64_and_float32_for_the_rest(
    name: str, given_dtype: torch.dtype, expected_dtype: torch.dtype
) -> None:
    logits, targets = batch()
    rounded = torch.from_numpy(logits).to(given_dtype)
    result = getattr(outputs, name)(rounded, torch.from_numpy(targets))
    assert result.dtype == expected_dtype
    # Half precision is lost in the logits alone: from there on it is computed in float32.
    expected = [oracle(name, row, t) for row, t in zip(rounded.double().numpy(), targets, strict=True)]
    np.testing.assert_allclose(result.numpy(), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", SCORES)
def test_logits_of_ten_thousand_are_stable(name: str) -> None:
    logits = np.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [1e4, 1e4, -1e4], [-1e4, -1e4, -1e4]], np.float32)
    targets = np.array([0, 1, 0, 2])
    result = getattr(outputs, name)(logits, targets)
    expected = [oracle(name, row, target) for row, target in zip(logits, targets, strict=True)]
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["el2n", "l1_error", "entropy", "loss"])
def test_easy_examples_keep_distinct_scores_in_float32(name: str) -> None:
    gaps = np.arange(18, 80, 2, dtype=np.float64)
    logits = np.stack([gaps, np.zeros_like(gaps), np.zeros_like(gaps)], axis=1)
    targets = np.zeros(len(gaps), np.int64)
    result = getattr(outputs, name)(logits.astype(np.float32), targets)
    small = np.exp(-gaps)  # p of each other class, to first order, far below the rounding of 1 - p
    expected = {
        "el2n": math.sqrt(6) * small,
        "l1_error": 4 * small,
        "entropy": 2 * small * (gaps + 1),
        "loss": 2 * small,
    }[name]
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    assert (np.diff(result) < 0).all()


def test_margin_with_two_classes_is_the_difference_of_their_probabilities() -> None:
    p = 1 / (1 + math.exp(-1.5))
    logits = np.array([[1.5, 0.0], [1.5, 0.0]])
    np.testing.assert_allclose(outputs.margin(logits, np.array([0, 1])), [2 * p - 1, 1 - 2 * p])
    np.testing.assert_allclose(outputs.logit_margin(logits, np.array([0, 1])), [1.5, -1.5])


def test_a_class_that_is_masked_out_with_minus_infinity_counts_as_absent() -> None:
    masked = torch.tensor([[2.0, -math.inf, 1.0]], dtype=torch.float64)
    alone = outputs.measure(torch.tensor([[2.0, -math.inf, -math.inf]]), torch.tensor([0]))
    assert (alone["probability"].item(), alone["el2n"].item(), alone["entropy"].item()) == (1.0, 0.0, 0.0)
    without = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
    for name in SCORES:
        function = getattr(outputs, name)
        torch.testing.assert_close(function(masked, torch.tensor([0])), function(without, torch.tensor([0])))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_numbers_give_no_number(bad: float) -> None:
    for place in range(3):
        logits = torch.zeros(1, 3)
        logits[0, place] = bad
        measured = outputs.measure(logits, torch.tensor([0]))
        assert not torch.isfinite(measured["probability"]).any()
        assert not torch.isfinite(measured["el2n"]).any()


def test_measure_gives_every_score_of_the_single_functions() -> None:
    logits, targets = (torch.from_numpy(array) for array in batch())
    measured = outputs.measure(logits, targets)
    assert tuple(measured) == outputs.MEASURES
    for name in SCORES:
        torch.testing.assert_close(measured[name], getattr(outputs, name)(logits, targets), rtol=0, atol=0)
    probabilities = torch.softmax(logits, dim=1)
    torch.testing.assert_close(measured["probability"], probabilities[torch.arange(64), targets])
    assert measured["prediction"].dtype == torch.int32 and measured["correct"].dtype == torch.bool
    assert measured["prediction"].tolist() == logits.argmax(dim=1).tolist()
    assert measured["correct"].tolist() == (logits.argmax(dim=1) == targets).tolist()


@pytest.mark.parametrize("class_dim", [0, 1])
def test_computing_in_place_of_the_logits_changes_no_measure(class_dim: int) -> None:
    logits, targets = (torch.from_numpy(array) for array in batch())
    expected = outputs.measure(logits, targets)
    scratch = logits.clone() if class_dim == 1 else logits.t().contiguous()
    terms = SoftmaxTerms(scratch, targets, class_dim, overwrite=True)
    found = outputs.measures_of(terms, outputs.MEASURES)
    assert tuple(found) == outputs.MEASURES
    for name in outputs.MEASURES:
        torch.testing.assert_close(found[name], expected[name])


def test_measuring_leaves_the_logits_and_the_graph_alone() -> None:
    logits = torch.randn(8, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    before = logits.detach().clone()
    measured = outputs.measure(logits, torch.zeros(8, dtype=torch.int64))
    assert not any(values.requires_grad for values in measured.values())
    assert torch.equal(logits.detach(), before)


def test_read_only_arrays_and_views_are_read_as_they_are() -> None:
    logits, targets = batch()
    logits.setflags(write=False)
    np.testing.assert_array_equal(outputs.el2n(logits[::2], targets[::2]), outputs.el2n(logits, targets)[::2])
    unsigned = outputs.el2n(logits, targets.astype(np.uint8))
    np.testing.assert_array_equal(unsigned, outputs.el2n(logits, targets))


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 40),
    classes=st.integers(2, 12),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_scores_do_not_depend_on_batch_size_or_order(
    rows: int, classes: int, seed: int, data: st.DataObject
) -> None:
    logits, targets = (torch.from_numpy(array) for array in batch(rows, classes, seed))
    logits = logits.float()
    order = torch.tensor(data.draw(st.permutations(range(rows))))
    size = data.draw(st.integers(1, rows))
    whole = outputs.measure(logits, targets)
    for start in range(0, rows, size):
        part = order[start : start + size]
        measured = outputs.measure(logits[part], targets[part])
        for name in outputs.MEASURES:
            torch.testing.assert_close(measured[name], whole[name][part], rtol=1e-6, atol=1e-7)


def test_the_last_smaller_batch_does_not_come_out_on_top() -> None:
    logits, targets = torch.zeros(10, 4), torch.zeros(10, dtype=torch.int64)
    pieces = [
        outputs.measure(logits[part], targets[part]) for part in (slice(0, 8), slice(8, 9), slice(9, 10))
    ]
    for name in SCORES:
        values = torch.cat([piece[name] for piece in pieces])
        assert (values == values[0]).all(), name


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (np.zeros(3), np.zeros(3, int), "must be \\(batch, classes\\)"),
        (np.zeros((2, 3, 4)), np.zeros(2, int), "must be \\(batch, classes\\)"),
        (np.zeros((2, 3), int), np.zeros(2, int), "floating point"),
        (np.zeros((2, 1)), np.zeros(2, int), "at least 2 classes"),
        (np.zeros((2, 3)), np.zeros(3, int), "2 rows"),
        (np.zeros((2, 3)), np.zeros(2), "integer class numbers"),
        (np.zeros((2, 3)), np.array([0, 3]), "target 3 in row 1"),
        (np.zeros((2, 3)), np.array([-1, 0]), "target -1 in row 0"),
        (np.array([["a", "b"]]), np.array([0]), "must hold numbers"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(logits: np.ndarray, targets: np.ndarray, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        outputs.el2n(logits, targets)


def test_an_empty_batch_gives_empty_scores() -> None:
    assert outputs.el2n(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).shape == (0,)


def slow_without_labels(logits: np.ndarray) -> dict[str, list[float]]:
    """Every score, one example at a time, by sorting."""
    found: dict[str, list[float]] = {function.__name__: [] for function in WITHOUT_LABELS}
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
def test_each_score_without_labels_is_its_definition(logits) -> None:
    expected = slow_without_labels(logits)
    for function in WITHOUT_LABELS:
        assert function(logits) == pytest.approx(np.array(expected[function.__name__]), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(LOGITS, st.randoms(use_true_random=False))
def test_no_label_changes_scores_without_labels(logits, random) -> None:
    labels = torch.tensor([random.randrange(logits.shape[1]) for _ in logits])
    for function in WITHOUT_LABELS:
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
def test_logits_of_a_wrong_form_are_refused_without_labels_too(logits) -> None:
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
def test_each_score_without_labels_has_a_card_that_says_which_way_it_points(name, harder) -> None:
    sure, unsure = torch.tensor([[5.0, 0.0, 0.0]]), torch.tensor([[0.2, 0.0, 0.1]])
    found = card(name)
    assert found.needs == "outputs" and found.higher_is_harder is harder
    low, high = found.range
    values = [float(found.function(logits, torch.tensor([1]))) for logits in (sure, unsure)]
    assert all(low <= value <= high for value in values)
    assert (values[1] > values[0]) is harder
