"""Kernel distance and velocity against NumPy in float64, and their bounds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.foundation.errors import BadInputError
from datadiet.landscape import kernel_distance, kernel_velocity


def gram(seed: int, size: int = 4, rank: int = 3) -> torch.Tensor:
    rows = np.random.default_rng(seed).normal(size=(size, rank))
    return torch.from_numpy(rows @ rows.T)


def by_definition(first: torch.Tensor, second: torch.Tensor) -> float:
    a, b = first.double().numpy(), second.double().numpy()
    return float(1 - (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.integers(1, 5),
    st.floats(1e-20, 1e20),
)
def test_the_distance_of_gram_matrices_is_the_definition_and_lies_in_zero_to_one(first, second, rank, scale):
    a, b = gram(first, rank=rank), gram(second + 20_000, rank=rank)
    found = kernel_distance(a, scale * b)
    assert found == pytest.approx(by_definition(a, b), abs=1e-12)
    assert 0.0 <= found <= 1.0 + 1e-12
    assert found == pytest.approx(kernel_distance(b, a), abs=1e-14)


def test_kernels_that_are_multiples_have_distance_zero_and_orthogonal_ones_distance_one():
    kernel = gram(0)
    assert kernel_distance(kernel, kernel) == 0.0
    assert kernel_distance(kernel, 7.3 * kernel) < 1e-30
    assert kernel_distance(torch.diag(torch.tensor([1.0, 0.0])), torch.diag(torch.tensor([0.0, 5.0]))) == 1.0


def test_opposite_tensors_have_distance_two():
    assert kernel_distance(gram(0), -gram(0)) == pytest.approx(2.0)


def test_small_distances_are_not_lost_to_cancellation():
    # For K' = K + e * E with E orthogonal to K of the same norm, the distance is 1 - 1/sqrt(1 + e²) ≈ e²/2.
    kernel, other = (
        torch.diag(torch.tensor([1.0, 0.0])).double(),
        torch.diag(torch.tensor([0.0, 1.0])).double(),
    )
    assert kernel_distance(kernel, kernel + 1e-9 * other) == pytest.approx(5e-19, rel=1e-6)


def test_float32_half_and_four_dimensional_kernels_are_taken():
    kernel, other = gram(1), gram(2)
    exact = by_definition(kernel, other)
    assert kernel_distance(kernel.float().view(2, 2, 2, 2), other.float().view(2, 2, 2, 2)) == pytest.approx(
        exact, abs=1e-6
    )
    assert kernel_distance(kernel.half(), other.half()) == pytest.approx(exact, abs=1e-2)


def test_huge_and_tiny_kernels_do_not_overflow():
    kernel, other = gram(1), gram(2)
    assert kernel_distance(1e200 * kernel, 1e-200 * other) == pytest.approx(by_definition(kernel, other))


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (torch.eye(2), torch.eye(3), r"\(2, 2\) and \(3, 3\)"),
        (torch.zeros(2, 2), torch.eye(2), "first kernel is zero"),
        (torch.eye(2), torch.zeros(2, 2), "second kernel is zero"),
        (torch.eye(2), torch.full((2, 2), torch.nan), "second kernel has entries that are not finite"),
        (torch.full((2, 2), torch.inf), torch.eye(2), "first kernel has entries that are not finite"),
        (torch.zeros(0), torch.zeros(0), "zero everywhere"),
    ],
)
def test_kernels_without_a_direction_are_refused(first, second, told):
    with pytest.raises(BadInputError, match=told):
        kernel_distance(first, second)


def test_the_velocity_is_the_distance_between_neighbours_also_of_a_generator():
    kernels = [gram(seed) for seed in range(5)]
    expected = [by_definition(a, b) for a, b in itertools.pairwise(kernels)]
    found = kernel_velocity(kernel for kernel in kernels)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_one_kernel_has_no_velocity():
    with pytest.raises(BadInputError, match="at least two"):
        kernel_velocity([torch.eye(2)])
