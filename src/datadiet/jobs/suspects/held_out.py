"""Labels of the test part: judged by models that have not seen them, on the scale of the training part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datadiet.engine.runs import Run
from datadiet.engine.setup import Setup
from datadiet.jobs.suspects.evidence import logits_of
from datadiet.jobs.suspects.ranking import Suspects, number_wrong
from datadiet.noise import Combination, combine, el2n, label_probability


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What models say of the labels of the test part, in the order of its ids.

    Args:
        combination: of their predictions alone: the test part is never trained on, so there is nothing else.
        signals: the single signals that predictions give, named and turned as those of training examples.
    """

    combination: Combination
    signals: dict[str, np.ndarray]


def judge_test_part(setup: Setup, runs: Sequence[Run], seed: int) -> HeldOut:
    """Judge the labels of the test part by the last weights of runs.

    The label model is fitted to the test part by itself: how sure models are of what they have not seen, and which
    classes are taken for which there, is not what it is in the training part.

    Args:
        setup: of the runs.
        runs: each a view.
        seed: of the bootstrap.
    """
    views = [logits_of(setup, run, "test") for run in runs]
    labels = setup.examples.test.labels
    combination = combine(views, labels, seed=seed)
    signals = {
        "late_el2n": np.mean([el2n(view, labels) for view in views], axis=0),
        "late_probability": -np.mean([label_probability(view, labels) for view in views], axis=0),
        "prediction_log_odds": combination.label_model.log_odds_wrong,
    }
    return HeldOut(combination, signals)


def on_scale_of(suspicion: np.ndarray, probability: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The suspicion of a training example that is as probably wrong as each of some others.

    Between two training examples it is interpolated, beyond the last ones it is theirs; where several have just that
    probability it is the middle of theirs.

    Args:
        suspicion: (n,) of training examples.
        probability: (n,) that their labels are wrong, which never falls as suspicion rises.
        wanted: (m,) probabilities of the others.

    Returns:
        (m,).

    Example:
        >>> on_scale_of(np.array([-2.0, 0.0, 4.0]), np.array([0.0, 0.5, 1.0]), np.array([0.25, 0.75, 1.0]))
        array([-1.,  2.,  4.])
    """
    places, first, counts = np.unique(np.sort(probability), return_index=True, return_counts=True)
    ordered = np.sort(suspicion)
    ends = np.stack([ordered[first], ordered[first + counts - 1]])  # of those with one probability
    found = np.interp(wanted, np.repeat(places, 2), ends.T.ravel())
    at = np.minimum(np.searchsorted(places, wanted), len(places) - 1)
    return np.asarray(np.where(places[at] == wanted, ends.mean(axis=0)[at], found))


def wrong_in_test(found: Suspects) -> int | None:
    """How many labels of the test part are more probably wrong than right; None where that cannot be told."""
    test, rate = found.of("test"), found.test_noise_rate
    if rate is None or number_wrong(rate, len(test)) is None:
        return None
    return int(test.looks_wrong.sum())


def sentence_of_test(found: Suspects) -> str:
    """How many labels of the test part look wrong, and what that does."""
    wrong = wrong_in_test(found)
    if wrong is None:
        said = f"Of the test part: {found.test_noise_rate}. Accuracies and verdicts are measured against its labels"
        return f"{said}: look at the most suspicious."
    said = (
        f"In the test part {wrong:,} of {len(found.of('test')):,} labels look wrong (more probably than not)"
    )
    if not wrong:
        return f"{said}."
    return f"{said}: every accuracy and every verdict is measured against them, so look at these first."
