"""What a verdict costs, against sums that were done by hand."""

import pytest

from datadiet.jobs.costs import cost_of

HOURS = {
    "budget": "epochs",
    "today_seconds": 7200.0,
    "scoring_seconds": 1800.0,
    "full_seconds": 3600.0,
    "kept_seconds": 2700.0,
    "price_per_hour": None,
}


def test_seconds_of_one_and_of_a_hundred_trainings_count_scoring_once():
    assert cost_of(**HOURS) == {
        "scoring_seconds": 1800.0,
        "full_training_seconds": 3600.0,
        "kept_training_seconds": 2700.0,
        "pays_after_trainings": 2,
        "today_seconds": 7200.0,
        "after_one": {"full_seconds": 3600.0, "kept_seconds": 4500.0, "saved_seconds": -900.0},
        "after_hundred": {"full_seconds": 360000.0, "kept_seconds": 271800.0, "saved_seconds": 88200.0},
        "price_per_hour": None,
        "money": None,
    }


def test_money_is_the_price_of_as_many_hours():
    cost = cost_of(**{**HOURS, "price_per_hour": 2.5})
    assert cost["price_per_hour"] == 2.5
    assert cost["money"] == {
        "today": 5.0,
        "scoring": 1.25,
        "after_one": {"full": 2.5, "kept": 3.125, "saved": -0.625},
        "after_hundred": {"full": 250.0, "kept": 188.75, "saved": 61.25},
    }


def test_a_machine_that_costs_nothing_has_a_price():
    assert cost_of(**{**HOURS, "price_per_hour": 0.0})["money"]["today"] == 0.0


def test_with_the_same_steps_nothing_is_a_saving_whatever_the_clock_says():
    cost = cost_of(**{**HOURS, "budget": "steps", "price_per_hour": 1.0})
    assert cost["pays_after_trainings"] is None
    assert cost["kept_training_seconds"] == 2700.0
    assert cost["after_hundred"] == {
        "full_seconds": 360000.0,
        "kept_seconds": 271800.0,
        "saved_seconds": None,
    }
    assert cost["money"]["after_one"]["saved"] is None


def test_where_nothing_is_kept_nothing_comes_after_it():
    cost = cost_of(**{**HOURS, "kept_seconds": None, "today_seconds": None, "price_per_hour": 1.0})
    assert cost["after_one"] is cost["after_hundred"] is cost["pays_after_trainings"] is None
    assert cost["money"] == {"today": None, "scoring": 0.5, "after_one": None, "after_hundred": None}


@pytest.mark.parametrize(
    ("scoring", "kept", "pays"),
    [
        (1800.0, 3564.0, None),  # a hundredth: noise of the clock
        (1800.0, 3563.0, 49),  # 37 s each: after 48 trainings 24 s are left
        (900.0, 2700.0, 1),
        (900.1, 2700.0, 2),
        (0.0, 2700.0, 0),
        (1800.0, 3600.0, None),
        (1800.0, 5400.0, None),
    ],
)
def test_scoring_has_paid_for_itself_after_whole_trainings(scoring, kept, pays):
    cost = cost_of(**{**HOURS, "scoring_seconds": scoring, "kept_seconds": kept})
    assert cost["pays_after_trainings"] == pays
