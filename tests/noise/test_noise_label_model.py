"""The label model on data that is drawn from it, and against Bayes' rule written out."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.foundation.errors import BadInputError
from datadiet.noise import fit_label_model


def drawn(n: int, transition: np.ndarray, seed: int, sharpness: float = 3.0):
    """Classes drawn from known probabilities, and labels drawn from a known transition."""
    generator = np.random.default_rng(seed)
    classes = len(transition)
    logits = sharpness * generator.normal(size=(n, classes))
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    true = (p.cumsum(axis=1) > generator.random((n, 1))).argmax(axis=1)
    given = (transition[true].cumsum(axis=1) > generator.random((n, 1))).argmax(axis=1)
    return logits, p, true, given


CLASS_DEPENDENT = np.array([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.05, 0.15, 0.8]])


def test_it_finds_the_transition_and_the_temperature_that_labels_were_drawn_with() -> None:
    logits, _, _, given = drawn(20_000, CLASS_DEPENDENT, seed=0)
    found = fit_label_model([2.5 * logits], given)
    np.testing.assert_allclose(found.transition, CLASS_DEPENDENT, atol=0.03)
    np.testing.assert_allclose(found.weights, [1 / 2.5], rtol=0.06)


def test_its_posterior_is_bayes_rule_with_what_it_found() -> None:
    logits, _, _, given = drawn(300, CLASS_DEPENDENT, seed=1)
    found = fit_label_model([logits, 0.5 * logits[:, ::-1]], given)
    for row in (0, 7, 123):
        powers = np.exp(found.weights[0] * logits[row] + found.weights[1] * 0.5 * logits[row, ::-1])
        joint = [powers[c] * found.transition[c, given[row]] for c in range(3)]
        np.testing.assert_allclose(found.posterior[row], np.array(joint) / sum(joint), rtol=1e-4, atol=1e-8)
        others = [joint[c] for c in range(3) if c != given[row]]
        np.testing.assert_allclose(
            found.probability_wrong[row], sum(others) / sum(joint), rtol=1e-4, atol=1e-8
        )
        best = max((c for c in range(3) if c != given[row]), key=lambda c: joint[c])
        assert found.proposed[row] == best


def test_its_probabilities_are_those_with_which_labels_are_wrong() -> None:
    logits, _, true, given = drawn(20_000, CLASS_DEPENDENT, seed=2)
    found = fit_label_model([logits], given).probability_wrong
    wrong = true != given
    assert abs(found.mean() - wrong.mean()) < 0.01
    for part in np.array_split(np.argsort(found), 10):
        assert abs(found[part].mean() - wrong[part].mean()) < 0.03


def test_a_view_that_knows_nothing_gets_no_weight() -> None:
    logits, _, _, given = drawn(5_000, CLASS_DEPENDENT, seed=3)
    noise = np.random.default_rng(9).normal(size=logits.shape) * 3
    found = fit_label_model([logits, noise], given)
    assert found.weights[1] < 0.05 * found.weights[0]


def test_counts_of_examples_are_as_good_as_examples_that_stand_several_times() -> None:
    logits, _, _, given = drawn(200, CLASS_DEPENDENT, seed=4)
    counts = np.random.default_rng(0).integers(1, 4, 200)
    weighted = fit_label_model([logits], given, sample_weights=counts)
    repeated = fit_label_model([np.repeat(logits, counts, axis=0)], np.repeat(given, counts))
    np.testing.assert_allclose(weighted.transition, repeated.transition, atol=2e-3)
    np.testing.assert_allclose(weighted.weights, repeated.weights, rtol=2e-2)


def test_views_of_other_examples_and_no_view_are_refused() -> None:
    with pytest.raises(BadInputError, match="at least one view"):
        fit_label_model([], [0, 1])
    with pytest.raises(BadInputError, match="same examples"):
        fit_label_model([np.zeros((2, 2)), np.zeros((2, 3))], [0, 1])


def test_rows_of_a_transition_are_probabilities_however_few_examples_a_class_has() -> None:
    logits, _, _, given = drawn(40, CLASS_DEPENDENT, seed=5)
    found = fit_label_model([logits], given).transition
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (found > 0).all()  # drawn to the even one: nothing is impossible
