"""A verdict in words: titles of scores, subsets, outcomes, losses and times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from datadiet.pages.numbers import (
    NOT_KNOWN,
    NOT_MEASURED,
    is_number,
    percent,
    percent_interval,
    rounded,
    share,
    times_hundred,
)
from datadiet.pages.text import printable

OVER_THE_PASS = "mean_"  # before the name of a score, its mean over the training pass
_SCORE_TITLES = {
    "el2n": "EL2N",
    "l1_error": "L1 error",
    "aum": "AUM",
    "dyn_unc": "Dyn-Unc",
    "dual": "DUAL",
    "tdds": "TDDS",
    "tdds_label": "TDDS (label alone)",
    "centre_distance": "distance to class centre",
    "prototype_distance": "distance to prototype",
    "grand": "GraNd",
    "grand_last_layer": "GraNd (last layer)",
    "logit_margin": "logit margin",
    "input_norm": "input norm",
}
_ACCURACY_TITLES = {
    "intent_slots": "full-sequence accuracy",
    "token_classification": "whole-sequence accuracy",
    "multilabel": "exact-set accuracy",
    "regression": "accuracy within ½ SD",
}
_OUTCOMES = {"holds": "holds", "fails": "loses more", "undecided": "undecided"}


def score_title(name: str) -> str:
    """A score's name as people write it.

    >>> score_title("el2n"), score_title("mean_el2n"), score_title("my_score")
    ('EL2N', 'mean EL2N', 'my_score')
    """
    if name.startswith(OVER_THE_PASS):
        return f"mean {score_title(name.removeprefix(OVER_THE_PASS))}"
    return _SCORE_TITLES.get(name, printable(name, limit=24))


def subset_title(subset: Mapping[str, Any]) -> str:
    """How a subset was chosen, in two words.

    >>> subset_title({"score": "el2n", "rule": "hardest"})
    'EL2N, hardest'
    >>> subset_title({"score": "random", "rule": "random"})
    'random'
    """
    score, rule = str(subset["score"]), printable(str(subset.get("rule", "")), limit=40)
    return score_title(score) if score == "random" or rule in ("", score) else f"{score_title(score)}, {rule}"


def accuracy_title(verdict: Mapping[str, Any]) -> str:
    """What is called accuracy in this verdict: depends on the task.

    >>> accuracy_title({"task": "intent_slots"}), accuracy_title({})
    ('full-sequence accuracy', 'accuracy')
    """
    return _ACCURACY_TITLES.get(str(verdict.get("task")), "accuracy")


def outcome_of(subset: Mapping[str, Any]) -> str:
    """The outcome of a subset; of a verdict that is older than outcomes, what `holds` says of it.

    >>> outcome_of({"outcome": "fails"}), outcome_of({"holds": True}), outcome_of({"holds": False})
    ('fails', 'holds', 'undecided')
    """
    said = str(subset.get("outcome"))
    return said if said in _OUTCOMES else "holds" if subset.get("holds") else "undecided"


def outcome_title(subset: Mapping[str, Any]) -> str:
    """Whether a subset's loss is shown to stay within the tolerance, is shown to be larger, or neither, and why.

    A subset is not asked for as long as a larger one of its score is undecided, nor where one is shown to lose; too few
    seeds decide nothing.

    >>> outcome_title({"holds": True}), outcome_title({"holds": False, "outcome": "fails"})
    ('holds', 'loses more')
    >>> outcome_title({"holds": False, "outcome": "undecided", "after": 0.7}), outcome_title({"holds": None})
    ('undecided (70 % first)', 'not for deciding')
    >>> outcome_title({"holds": False, "outcome": "undecided", "after": 0.7, "closed_by": 0.7})
    'not asked (70 % loses)'
    """
    if subset.get("holds", False) is None:
        return "not for deciding"
    outcome = outcome_of(subset)
    if outcome == "undecided" and subset.get("closed_by") is not None:
        return f"not asked ({share(subset['closed_by'])} loses)"
    first = subset.get("after") if outcome == "undecided" else None
    return _OUTCOMES[outcome] + ("" if first is None else f" ({share(first)} first)")


def loss_points(loss: float, tolerance: float | None) -> str:
    """How many points a loss is, with as many digits as show it on its side of the tolerance and of zero.

    Args:
        loss: a fraction, above 0.
        tolerance: in percentage points; None where there is none.

    >>> loss_points(0.004, 0.5), loss_points(0.00496, 0.5), loss_points(0.005, 0.5), loss_points(0.0001, 0.5)
    ('0.4', '0.496', '0.5', '0.01')
    """
    limits = [0.0, *([] if tolerance is None else [float(tolerance)])]
    lost = times_hundred(loss)
    sides = [np.sign(lost - limit) for limit in limits]
    decimals = 1
    while decimals < 6 and sides != [np.sign(float(rounded(lost, decimals)) - limit) for limit in limits]:
        decimals += 1
    return f"{rounded(lost, decimals):f}"


def loss_title(loss: float | None, tolerance: float | None) -> str:
    """The most that a subset loses, in points; below zero it gains.

    >>> loss_title(0.012, 0.5), loss_title(-0.002, 0.5), loss_title(0.0, 0.5), loss_title(None, 0.5)
    ('1.2', 'gains 0.2', 'nothing', 'not known')
    """
    if not is_number(loss):
        return NOT_KNOWN
    if loss == 0:
        return "nothing"
    return loss_points(loss, tolerance) if loss > 0 else f"gains {loss_points(-loss, None)}"


def time_saved_title(saved: Any, minus: str = "-") -> str:
    """A share of time [mean, low, high] in percent with its interval; in words where nothing is saved.

    >>> time_saved_title([0.25, 0.2, 0.3]), time_saved_title([0.1, None, None]), time_saved_title(None)
    ('25.0 % [20.0, 30.0]', '10.0 %', 'not measured')
    >>> time_saved_title([-0.5, -0.8, -0.2])
    'saves nothing: takes 1.5 times as long'
    """
    if saved is None or not is_number(saved[0]):
        return NOT_MEASURED
    if saved[0] <= 0:
        return f"saves nothing: {times_as_long(1 - saved[0])}"
    interval = f" {percent_interval(saved[1:])}" if is_number(saved[1]) else ""
    return f"{percent(saved[0])}{interval}".replace("-", minus)


def times_as_long(ratio: float) -> str:
    """How much longer something takes, in words.

    >>> times_as_long(2.5), times_as_long(1.02)
    ('takes 2.5 times as long', 'takes as long')
    """
    factor = rounded(ratio, 1)
    return "takes as long" if factor == 1 else f"takes {factor:f} times as long"


def titled_share(subset: Mapping[str, Any]) -> str:
    """How a subset was chosen, and how much of the data it is.

    >>> titled_share({"score": "el2n", "rule": "hardest", "keep": 0.7})
    'EL2N, hardest, 70 %'
    """
    return f"{subset_title(subset)}, {share(subset['keep'])}"


def is_same_subset(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two entries of a verdict are the same subset.

    >>> is_same_subset({"score": "el2n", "rule": "hardest", "keep": 0.7, "n": 7}, {"score": "el2n"})
    False
    """
    return all(one.get(key) == other.get(key) for key in ("score", "rule", "keep", "n"))


def budget_title(verdict: Mapping[str, Any]) -> str:
    """How long subsets were trained, in words.

    >>> budget_title({"budget": "steps"})
    'same steps: every subset is trained for as many steps as full data'
    """
    budget = verdict.get("budget")
    if verdict.get("dynamic") is not None:
        return "same epochs: the selector decides how many examples each has, and its twin has as many"
    if budget == "steps":
        return "same steps: every subset is trained for as many steps as full data"
    if budget == "epochs":
        return "same epochs: every subset is trained for as many epochs as full data, hence for fewer steps"
    return (
        f"training budget: {printable(str(budget), limit=40)}" if budget else "training budget: not recorded"
    )


def has_one_seed(verdict: Mapping[str, Any]) -> bool:
    """Whether some accuracy rests on one training, so that its interval knows test examples only.

    >>> has_one_seed({"full": {"seeds": 3}, "subsets": [{"seeds": 1}]})
    True
    """
    entries = [verdict.get("full") or {}, *verdict.get("subsets", ())]
    return any(entry.get("seeds") == 1 for entry in entries)
