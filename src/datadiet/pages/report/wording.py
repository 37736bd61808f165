"""A verdict in words: titles of scores, subsets and outcomes, and the sentence that says what to keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datadiet.pages.numbers import (
    NOT_MEASURED,
    are_numbers,
    count,
    is_number,
    percent,
    percent_interval,
    points,
    points_interval,
    share,
    tolerance_points,
)
from datadiet.pages.text import printable

_SCORE_TITLES = {
    "el2n": "EL2N",
    "l1_error": "L1 error",
    "aum": "AUM",
    "dyn_unc": "Dyn-Unc",
    "dual": "DUAL",
    "tdds": "TDDS",
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

    >>> score_title("el2n"), score_title("my_score")
    ('EL2N', 'my_score')
    """
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


def outcome_title(outcome: str) -> str:
    """Whether a subset's loss is shown to stay within the tolerance, is shown to be larger, or neither.

    >>> outcome_title("holds"), outcome_title("fails"), outcome_title("undecided")
    ('holds', 'loses more', 'undecided')
    """
    return _OUTCOMES[outcome]


def _chosen_how(subset: Mapping[str, Any]) -> str:
    score, rule = str(subset["score"]), printable(str(subset.get("rule", "")), limit=40)
    if score == "random":
        return "chosen at random"
    if rule == "window":
        return f"a window of {score_title(score)}"
    return f"{rule} by {score_title(score)}" if rule else f"by {score_title(score)}"


def _difference(minus_full: Any, tolerance: float | None, minus: str) -> str:
    if not are_numbers(minus_full):
        return "the difference to full data was not measured"
    mean, low, high = minus_full
    decimals = 1
    if tolerance is not None:
        # One digit more where rounding would hide on which side of the tolerance the bound lies.
        limit = -tolerance / 100
        while decimals < 4 and low != limit and points(low, decimals) == points(limit, decimals):
            decimals += 1
    number = points(abs(mean), decimals).removeprefix("+")
    side = f"{number} points {'below' if mean < 0 else 'above'} full data"
    if float(number) == 0:
        side = "equal to full data"
    return f"{side} {points_interval(low, high, decimals, minus)}"


def verdict_sentence(verdict: Mapping[str, Any], minus: str = "-") -> str:
    """The verdict in one sentence, harmless in a terminal; `minus` is the sign used in intervals.

    >>> verdict_sentence({
    ...     "source": "digits", "n_train": 1437, "tolerance": 0.5,
    ...     "recommended": {"score": "el2n", "rule": "hardest", "keep": 0.7, "n": 1006,
    ...                     "minus_full": [-0.001, -0.004, 0.003]}})
    'Keep 70 % of digits (1,006 of 1,437 examples, hardest by EL2N): 0.1 points below full data \
[-0.4, +0.3], within the tolerance of 0.5 points.'
    >>> verdict_sentence({"recommended": None, "reason": "two seeds are too few to decide"})
    'No subset can be recommended: two seeds are too few to decide.'
    """
    subset = verdict.get("recommended")
    dynamic = verdict.get("dynamic") is not None
    if subset is None:
        reason = printable(str(verdict.get("reason") or "no reason was recorded"), limit=300)
        end = "" if reason.endswith((".", "!", "?", "…")) else "."
        return f"No {'selector' if dynamic else 'subset'} can be recommended: {reason}{end}"
    source = printable(str(verdict.get("source", "the data")), limit=60)
    size = count(subset["n"])
    if verdict.get("n_train") is not None:
        size += f" of {count(verdict['n_train'])}"
    tolerance = verdict.get("tolerance")
    if dynamic:
        how = "chance" if subset["score"] == "random" else printable(str(subset["score"]), limit=40)
        sentence = (
            f"Train {source} on {share(subset['keep'])} of the examples an epoch, chosen anew by {how}: "
        )
    else:
        sentence = f"Keep {share(subset['keep'])} of {source} ({size} examples, {_chosen_how(subset)}): "
    sentence += _difference(subset.get("minus_full"), tolerance, minus)
    if tolerance is not None:
        sentence += f", within the tolerance of {tolerance_points(tolerance)}"
    saved = subset.get("time_saved")
    if dynamic and saved is not None:
        sentence += f"; time saved, scoring counted: {time_saved_title(saved, minus)}"
    return sentence + "."


def time_saved_title(saved: Any, minus: str = "-") -> str:
    """A share of time [mean, low, high] in percent with its interval; negative where it takes longer.

    >>> time_saved_title([0.25, 0.2, 0.3]), time_saved_title([-0.1, None, None]), time_saved_title(None)
    ('25.0 % [20.0, 30.0]', '-10.0 %', 'not measured')
    """
    if saved is None or not is_number(saved[0]):
        return NOT_MEASURED
    return f"{percent(saved[0])} {percent_interval(saved[1:])}".rstrip().replace("-", minus)


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
