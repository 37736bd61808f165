"""The answer of a verdict in the user's words: every sentence as it is read."""

import json
from pathlib import Path

import pytest
from made_up_report import HOSTILE, answered

from datadiet.pages.report import (
    next_sentence,
    not_trained_sentence,
    printable,
    verdict_sentence,
)
from datadiet.pages.report.wording import loss_points, loss_title, outcome_title

EL2N = {"score": "el2n", "rule": "hardest"}
OLD = Path(__file__).with_name("verdict_without_answer.json")


def kept(loss, **changes):
    subset = {**EL2N, "keep": 0.5, "n": 718, "minus_full": [-0.001, -0.004, 0.002], "loses_at_most": loss}
    return {"source": "digits", "n_train": 1437, "tolerance": 0.5, "recommended": subset, **changes}


def entry(keep, loss, mean=None):
    difference = None if mean is None else [mean, None, None]
    return {**EL2N, "keep": keep, "n": 10, "loses_at_most": loss, "minus_full": difference}


def unkept(kind, *curve, **changes):
    answer = {"kind": kind, "curve": list(curve), "would_decide": None, "stopped": "fixed"}
    return {
        "source": "digits",
        "tolerance": 0.5,
        "recommended": None,
        "subsets": list(curve),
        "answer": answer,
        **changes,
    }


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (0.004, "it loses at most 0.4 points (95 %), within the tolerance of 0.5 points."),
        (0.004996, "it loses at most 0.4996 points (95 %), within the tolerance of 0.5 points."),
        (0.005, "it loses at most 0.5 points (95 %), within the tolerance of 0.5 points."),
        (0.0002, "it loses at most 0.02 points (95 %), within the tolerance of 0.5 points."),
        (0.0, "it loses nothing (95 %), within the tolerance of 0.5 points."),
        (-0.003, "it loses nothing (95 %), within the tolerance of 0.5 points."),
        (None, "what it loses at most is not known, within the tolerance of 0.5 points."),
    ],
)
def test_a_subset_to_keep_is_named_with_the_most_that_it_loses(loss, said):
    assert (
        verdict_sentence(kept(loss))
        == f"Keep 50 % of digits (718 of 1,437 examples, hardest by EL2N): {said}"
    )


def test_where_all_lose_more_the_least_loss_is_named():
    least, most = entry(0.7, 0.016, -0.014), entry(0.5, 0.05, -0.04)
    assert verdict_sentence(unkept("keep_all", most, least)) == (
        "Keep all of digits: every subset that was tried is shown to lose more than 0.5 points (95 %); the least is "
        "EL2N, hardest, at 70 % with 1.4 points."
    )
    near = unkept("keep_all", entry(0.7, 0.006, -0.00504))
    assert verdict_sentence(near).endswith("at 70 % with 0.504 points.")


def test_where_nothing_is_shown_the_curve_says_what_each_fraction_can_cost():
    curve = (entry(0.7, 0.012), entry(0.5, 0.023), entry(0.3, None), entry(0.1, 0.00503), entry(0.05, -0.002))
    assert verdict_sentence(unkept("undecided", *curve)) == (
        "No subset is shown to lose at most 0.5 points. What each fraction can cost at most (95 %): 70 %: 1.2 points, "
        "50 %: 2.3 points, 30 %: not known, 10 %: 0.503 points, 5 %: gains 0.2 points."
    )


def test_a_bound_within_the_tolerance_that_was_not_asked_for_says_what_comes_first():
    curve = (
        entry(0.7, 0.012),
        *({**entry(keep, loss), "after": 0.7} for keep, loss in ((0.5, 0.005), (0.3, 0.02))),
    )
    assert verdict_sentence(unkept("undecided", *curve)).endswith(
        "70 %: 1.2 points, 50 %: 0.5 points (70 % first), 30 %: 2.0 points."
    )


@pytest.mark.parametrize(("seeds", "few"), [(1, "1 seed is"), (2, "2 seeds are")])
def test_too_few_seeds_give_means_without_bounds(seeds, few):
    curve = (entry(0.7, None, -0.004), entry(0.5, None, 0.001))
    assert verdict_sentence(unkept("not_for_deciding", *curve, seeds=seeds)) == (
        f"{few} not for deciding (3 are the fewest): on average 70 % (EL2N, hardest): -0.4 points, "
        "50 % (EL2N, hardest): +0.1 points."
    )


def test_a_sample_gives_a_first_answer_and_no_verdict():
    quick = {"rows": 4000, "of": 50000}
    assert verdict_sentence(kept(0.004, quick=quick)) == (
        "A first answer, on 4,000 of 50,000 training examples, and no verdict on all of them: keep 50 % of digits (718 "
        "of 1,437 examples, hardest by EL2N): it loses at most 0.4 points (95 %), within the tolerance of 0.5 points."
    )
    undecided = unkept("undecided", entry(0.7, 0.012), quick=quick)
    assert "no verdict on all of them: no subset is shown to lose" in verdict_sentence(undecided)


def test_selectors_are_called_so():
    chosen = kept(0.004, dynamic={})
    assert verdict_sentence(chosen) == (
        "Train digits on 50 % of the examples an epoch, chosen anew by el2n: it loses at most 0.4 points (95 %), "
        "within the tolerance of 0.5 points."
    )
    for saved, said in (
        ([0.25, 0.2, 0.3], "; time saved, scoring counted: 25.0 % [20.0, 30.0]."),
        ([-1.5, -3.02, -0.56], "; scoring counted, it saves nothing: takes 2.5 times as long."),
        ([0.0, -0.1, 0.1], "; scoring counted, it saves nothing: takes as long."),
    ):
        timed = {**chosen, "recommended": {**chosen["recommended"], "time_saved": saved}}
        assert verdict_sentence(timed).endswith(f"of 0.5 points{said}")
    nothing = unkept("undecided", entry(0.7, 0.012), dynamic={})
    assert verdict_sentence(nothing).startswith("No selector is shown to lose at most 0.5 points.")
    everything = unkept("keep_all", entry(0.7, 0.02, -0.014), dynamic={})
    assert verdict_sentence(everything).startswith(
        "Train digits on all examples in every epoch: every selector that was tried"
    )


def would_decide(**changes):
    would = {
        **EL2N,
        "keep": 0.7,
        "n": 1006,
        "seeds": 9,
        "trainings": 12,
        "seconds": 843.0,
        "test_examples": None,
        "command": "datadiet run digits --max-seeds 9",
    }
    return unkept("undecided", entry(0.7, 0.012)) | {
        "n_test": 360,
        "answer": {"kind": "undecided", "curve": [], "would_decide": {**would, **changes}},
    }


def test_what_would_decide_it_is_said_with_the_command():
    lead = "9 seeds each would decide it for EL2N, hardest, at 70 % if things stay as they look: "
    assert next_sentence(would_decide()) == (
        f"{lead}12 more trainings, about 14 min here: datadiet run digits --max-seeds 9"
    )
    assert next_sentence(would_decide(), with_command=False) == f"{lead}12 more trainings, about 14 min here."
    assert next_sentence(would_decide(trainings=1, seconds=40, command=None)) == (
        f"{lead}1 more training, about 40 s here."
    )


@pytest.mark.parametrize(
    ("needed", "about"), [(1873, "1,900"), (1900, "1,900"), (1901, "2,000"), (99, "99"), (7, "7")]
)
def test_where_no_seeds_are_enough_test_examples_are_asked_for(needed, about):
    assert next_sentence(would_decide(seeds=None, test_examples=needed)) == (
        f"No number of seeds decides it with 360 test examples; about {about} would."
    )


def test_where_nothing_is_known_to_decide_it_nothing_is_said():
    assert next_sentence(would_decide(seeds=None)) == ""
    assert next_sentence(unkept("undecided", entry(0.7, 0.012))) == next_sentence({}) == ""


def test_what_there_was_no_time_for_is_named():
    left = [{**EL2N, "keep": keep, "n": 10} for keep in (0.5, 0.3)]
    assert not_trained_sentence({"not_trained": left}) == (
        "The time was up before these were trained: EL2N, hardest, 50 %; EL2N, hardest, 30 %."
    )
    assert not_trained_sentence({"not_trained": left[:1]}) == (
        "The time was up before this was trained: EL2N, hardest, 50 %."
    )
    assert not_trained_sentence({"not_trained": left * 4}).endswith("30 %; 2 more.")
    assert not_trained_sentence({"not_trained": []}) == not_trained_sentence({}) == ""


@pytest.mark.parametrize("kind", ["keep", "keep_all", "undecided", "not_for_deciding"])
def test_sentences_are_harmless_whatever_the_data_is_called(kind):
    for text in HOSTILE:
        verdict = answered(kind)
        verdict["source"] = text
        entries = [*verdict["subsets"], *verdict["answer"]["curve"], *verdict["not_trained"]]
        for one in [*entries, verdict["recommended"] or {}, verdict["answer"]["would_decide"] or {}]:
            one.update(score=text, rule=text)
            one.get("command") and one.update(command=text)
        for sentence in (verdict_sentence(verdict), next_sentence(verdict), not_trained_sentence(verdict)):
            assert printable(sentence, 5000) == sentence


@pytest.mark.parametrize("tolerance", [0.07, 0.5, 0.7, 1.0])
def test_a_loss_is_never_shown_on_the_other_side_of_the_tolerance(tolerance):
    assert float(loss_points(tolerance / 100, tolerance)) == pytest.approx(tolerance)
    for thousandth in range(1, 2000):
        loss = thousandth / 100_000
        shown = float(loss_points(loss, tolerance))
        assert shown > 0
        if thousandth / 1000 != tolerance:
            assert (shown > tolerance) == (thousandth / 1000 > tolerance) and shown != tolerance


def test_a_negative_loss_is_a_gain():
    assert [loss_title(loss, 0.5) for loss in (0.012, 0.0, -0.0001, -0.02)] == [
        "1.2",
        "nothing",
        "gains 0.01",
        "gains 2.0",
    ]


@pytest.mark.parametrize(
    ("subset", "title"),
    [
        ({"holds": True, "outcome": "holds", "after": None}, "holds"),
        ({"holds": False, "outcome": "fails", "after": None}, "loses more"),
        ({"holds": False, "outcome": "undecided", "after": None}, "undecided"),
        ({"holds": False, "outcome": "undecided", "after": 0.7}, "undecided (70 % first)"),
        ({"holds": False, "outcome": "fails", "after": 0.7}, "loses more"),
        ({"holds": None, "outcome": "undecided", "after": None}, "not for deciding"),
    ],
)
def test_outcomes_say_why_nothing_is_decided(subset, title):
    assert outcome_title(subset) == title


def test_a_verdict_without_an_answer_says_what_it_said():
    verdict = json.loads(OLD.read_text(encoding="utf-8"))
    assert verdict_sentence(verdict) == f"No subset can be recommended: {verdict['reason']}."
    assert next_sentence(verdict) == not_trained_sentence(verdict) == ""
