"""What a verdict answers, in sentences: what to keep, what would decide it, and what there was no time for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datadiet.pages.numbers import (
    NOT_MEASURED,
    are_numbers,
    count,
    is_number,
    points,
    points_interval,
    rough_duration,
    share,
    times_hundred,
    tolerance_points,
)
from datadiet.pages.report.wording import (
    is_same_subset,
    loss_points,
    loss_title,
    outcome_of,
    score_title,
    subset_title,
    time_saved_title,
    titled_share,
)
from datadiet.pages.text import printable

FEWEST_SEEDS = 3
MOST_NAMED = 6


def verdict_sentence(verdict: Mapping[str, Any], minus: str = "-") -> str:
    """The verdict in one sentence, harmless in a terminal; `minus` is the sign used in numbers.

    >>> subset = {"score": "el2n", "rule": "hardest", "keep": 0.5, "n": 718, "loses_at_most": 0.004}
    >>> verdict_sentence({"source": "digits", "n_train": 1437, "tolerance": 0.5, "recommended": subset})
    'Keep 50 % of digits (718 of 1,437 examples, hardest by EL2N): it loses at most 0.4 points (95 %), within \
the tolerance of 0.5 points.'
    >>> undecided = {"kind": "undecided", "curve": [{**subset, "loses_at_most": 0.023}]}
    >>> verdict_sentence({"tolerance": 0.5, "recommended": None, "answer": undecided})
    'No subset is shown to lose at most 0.5 points. What each fraction can cost at most (95 %): 50 %: 2.3 points.'
    >>> verdict_sentence({"recommended": None, "reason": "two seeds are too few to decide"})
    'No subset can be recommended: two seeds are too few to decide.'
    """
    sentence = _sentence(verdict, minus)
    quick = verdict.get("quick")
    if quick is None:
        return sentence
    return (
        f"A first answer, on {count(quick['rows'])} of {count(quick['of'])} training examples, and no verdict on "
        f"all of them: {sentence[0].lower()}{sentence[1:]}"
    )


def _sentence(verdict: Mapping[str, Any], minus: str) -> str:
    answer = verdict.get("answer") or {}
    kind, curve = answer.get("kind"), answer.get("curve")
    if verdict.get("recommended") is not None:
        return _keep(verdict, minus)
    if kind == "keep_all" and verdict.get("subsets"):
        return _keep_all(verdict)
    if kind == "undecided" and curve:
        return _undecided(verdict, curve)
    if kind == "not_for_deciding" and curve:
        return _not_for_deciding(verdict, curve, minus)
    reason = printable(str(verdict.get("reason") or "no reason was recorded"), limit=300)
    end = "" if reason.endswith((".", "!", "?", "…")) else "."
    return f"No {_what(verdict)} can be recommended: {reason}{end}"


def _what(verdict: Mapping[str, Any]) -> str:
    return "subset" if verdict.get("dynamic") is None else "selector"


def _source(verdict: Mapping[str, Any]) -> str:
    return printable(str(verdict.get("source", "the data")), limit=60)


def _keep(verdict: Mapping[str, Any], minus: str) -> str:
    subset, tolerance = verdict["recommended"], verdict.get("tolerance")
    if "loses_at_most" in subset:
        loss = subset["loses_at_most"]
        sentence = f"{_what_to_keep(verdict)}: {_loss(loss, tolerance)}"
    else:
        sentence = f"{_what_to_keep(verdict)}: {_difference(subset.get('minus_full'), tolerance, minus)}"
    if tolerance is not None:
        sentence += f", within the tolerance of {tolerance_points(tolerance)}"
    saved = subset.get("time_saved")
    if verdict.get("dynamic") is not None and saved is not None:
        title = time_saved_title(saved, minus)
        sentence += (
            f"; scoring counted, it {title}"
            if is_number(saved[0]) and saved[0] <= 0
            else f"; time saved, scoring counted: {title}"
        )
    return sentence + "."


def _what_to_keep(verdict: Mapping[str, Any]) -> str:
    subset, source = verdict["recommended"], _source(verdict)
    if verdict.get("dynamic") is not None:
        how = "chance" if subset["score"] == "random" else printable(str(subset["score"]), limit=40)
        return f"Train {source} on {share(subset['keep'])} of the examples an epoch, chosen anew by {how}"
    size = count(subset["n"])
    if verdict.get("n_train") is not None:
        size += f" of {count(verdict['n_train'])}"
    return f"Keep {share(subset['keep'])} of {source} ({size} examples, {_chosen_how(subset)})"


def _chosen_how(subset: Mapping[str, Any]) -> str:
    score, rule = str(subset["score"]), printable(str(subset.get("rule", "")), limit=40)
    if score == "random":
        return "chosen at random"
    if rule == "window":
        return f"a window of {score_title(score)}"
    return f"{rule} by {score_title(score)}" if rule else f"by {score_title(score)}"


def _loss(loss: float | None, tolerance: float | None) -> str:
    if not is_number(loss):
        return "what it loses at most is not known"
    return f"it loses {'nothing' if loss <= 0 else f'at most {loss_points(loss, tolerance)} points'} (95 %)"


def _difference(minus_full: Any, tolerance: float | None, minus: str) -> str:
    """Of a verdict that is older than bounds of the loss."""
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
    return f"{side} {points_interval((low, high), decimals, minus)}"


def _keep_all(verdict: Mapping[str, Any]) -> str:
    measured = [subset for subset in verdict["subsets"] if subset.get("minus_full") is not None]
    lost_more = [subset for subset in measured if outcome_of(subset) == "fails"] or measured
    least = max(lost_more, key=lambda subset: float(subset["minus_full"][0]))
    every = len(lost_more) == len(verdict["subsets"])
    tolerance = float(verdict["tolerance"])
    lost = loss_points(-float(least["minus_full"][0]), tolerance)
    lead = (
        f"Keep all of {_source(verdict)}"
        if verdict.get("dynamic") is None
        else f"Train {_source(verdict)} on all examples in every epoch"
    )
    tried = f"every {_what(verdict)} that was tried"
    if not every:
        tried = f"the largest {_what(verdict)} of every score"
    return (
        f"{lead}: {tried} is shown to lose more than {tolerance_points(tolerance)} (95 %); the "
        f"least is {_named(least)} with {lost} points."
    )


def _named(subset: Mapping[str, Any]) -> str:
    return f"{subset_title(subset)}, at {share(subset['keep'])}"


def _undecided(verdict: Mapping[str, Any], curve: Sequence[Mapping[str, Any]]) -> str:
    tolerance = verdict.get("tolerance")

    def bound(entry: Mapping[str, Any]) -> str:
        title = loss_title(entry.get("loses_at_most"), tolerance)
        after = (_subset_of(verdict, entry) or {}).get("after")
        # A bound within the tolerance shows nothing as long as a larger subset is undecided.
        first = (
            ""
            if after is None or not _is_within(entry.get("loses_at_most"), tolerance)
            else f" ({share(after)} first)"
        )
        return f"{share(entry['keep'])}: {title}{' points' if title[-1].isdigit() else ''}{first}"

    within = "little" if tolerance is None else f"at most {tolerance_points(tolerance)}"
    return (
        f"No {_what(verdict)} is shown to lose {within}. What each fraction can cost at most (95 %): "
        f"{', '.join(map(bound, curve))}."
    )


def _is_within(loss: Any, tolerance: float | None) -> bool:
    return is_number(loss) and tolerance is not None and times_hundred(loss) <= tolerance


def _subset_of(verdict: Mapping[str, Any], entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the verdict knows of a subset that is named in its answer."""
    return next((subset for subset in verdict.get("subsets", ()) if is_same_subset(subset, entry)), None)


def _not_for_deciding(verdict: Mapping[str, Any], curve: Sequence[Mapping[str, Any]], minus: str) -> str:
    def mean(entry: Mapping[str, Any]) -> str:
        difference = (_subset_of(verdict, entry) or {}).get("minus_full")
        value = NOT_MEASURED if difference is None else f"{points(difference[0], minus=minus)} points"
        return f"{share(entry['keep'])} ({subset_title(entry)}): {value}"

    seeds = int(verdict["seeds"])
    few = "1 seed is" if seeds == 1 else f"{seeds} seeds are"
    return (
        f"{few} not for deciding ({FEWEST_SEEDS} are the fewest): on average {', '.join(map(mean, curve))}."
    )


def next_sentence(verdict: Mapping[str, Any], *, with_command: bool = True) -> str:
    """What would decide an undecided verdict; nothing where that is not known.

    Args:
        verdict: as in `verdict.json`.
        with_command: whether the command ends the sentence, to be copied; else the sentence ends before it.

    >>> would = {"score": "el2n", "rule": "hardest", "keep": 0.7, "seeds": 9, "trainings": 12, "seconds": 843.0,
    ...          "command": "datadiet run digits --max-seeds 9"}
    >>> next_sentence({"answer": {"kind": "undecided", "would_decide": would}})
    '9 seeds each would decide it for EL2N, hardest, at 70 % if things stay as they look: 12 more trainings, \
about 14 min here: datadiet run digits --max-seeds 9'
    >>> would = {**would, "seeds": None, "test_examples": 1873}
    >>> next_sentence({"n_test": 360, "answer": {"kind": "undecided", "would_decide": would}})
    'No number of seeds decides it with 360 test examples; about 1,900 would.'
    """
    would = (verdict.get("answer") or {}).get("would_decide")
    if would is None:
        return ""
    if would.get("seeds") is None:
        needed = would.get("test_examples")
        if needed is None:
            return ""
        given = "these" if verdict.get("n_test") is None else count(verdict["n_test"])
        seeds = would.get("with_seeds")
        more = "" if seeds is None else f", with {count(seeds)} seeds each,"
        return (
            f"No number of seeds decides it with {given} test examples; about {_about(needed)}{more} would."
        )
    trainings = f"{count(would['trainings'])} more training{'' if would['trainings'] == 1 else 's'}"
    sentence = (
        f"{would['seeds']} seeds each would decide it for {_named(would)} if things stay as they look: {trainings}, "
        f"about {rough_duration(would['seconds'])} here"
    )
    command = next_command(verdict)
    return f"{sentence}: {command}" if with_command and command is not None else f"{sentence}."


def next_command(verdict: Mapping[str, Any]) -> str | None:
    """The command that would decide an undecided verdict, where there is one.

    >>> next_command({}) is None
    True
    """
    would = (verdict.get("answer") or {}).get("would_decide") or {}
    known = would.get("seeds") is not None and would.get("command") is not None
    return printable(str(would["command"]), limit=1000) if known else None


def _about(needed: int) -> str:
    """A number of examples in two digits, rounded up: fewer would not do."""
    step = 10 ** max(len(str(int(needed))) - 2, 0)
    return count(-(-int(needed) // step) * step)


def not_trained_sentence(verdict: Mapping[str, Any]) -> str:
    """The subsets that were not trained, and why; nothing where there are none.

    >>> left = [{"score": "el2n", "rule": "hardest", "keep": 0.5}, {"score": "random", "rule": "random", "keep": 0.5}]
    >>> not_trained_sentence({"not_trained": left})
    'The time was up before these were trained: EL2N, hardest, 50 %; random, 50 %.'
    >>> not_trained_sentence({"not_trained": [{**left[0], "why": "a larger one loses more"}]})
    'Not trained, as a larger one of the same score loses more: EL2N, hardest, 50 %.'
    """
    left = verdict.get("not_trained") or ()
    closed = [subset for subset in left if subset.get("why") == "a larger one loses more"]
    late = [subset for subset in left if subset.get("why") != "a larger one loses more"]
    sentences = []
    if late:
        these = "this was" if len(late) == 1 else "these were"
        sentences.append(f"The time was up before {these} trained: {_several_named(late)}.")
    if closed:
        sentences.append(
            f"Not trained, as a larger one of the same score loses more: {_several_named(closed)}."
        )
    return " ".join(sentences)


def _several_named(subsets: Sequence[Mapping[str, Any]]) -> str:
    named = [titled_share(subset) for subset in subsets[:MOST_NAMED]]
    if len(subsets) > MOST_NAMED:
        named.append(f"{count(len(subsets) - MOST_NAMED)} more")
    return "; ".join(named)
