"""Cards: complete, in the right direction, and open to a user's own scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datadiet.foundation.errors import BadInputError
from datadiet.scores import card, cards, outputs, register_score
from datadiet.scores.registry import SCORES, base_name

STANDARD = {
    "el2n", "l1_error", "entropy", "loss", "margin", "logit_margin", "forgetting", "aum", "confidence",
    "variability", "dyn_unc", "dual", "tdds", "tdds_label", "centre_distance", "prototype_distance",
    "grand", "grand_last_layer", "input_norm", "random",
}  # fmt: skip


def test_every_score_of_the_package_has_a_card() -> None:
    names = {found.name for found in cards()}
    assert names >= STANDARD
    for name in STANDARD:
        assert card(name).summary and card(name).source


def test_only_margins_and_confidences_fall_with_difficulty() -> None:
    falling = {name for name in STANDARD if not card(name).higher_is_harder}
    assert falling == {"margin", "logit_margin", "aum", "confidence"}


def test_el2n_and_grand_are_different_scores_of_different_functions() -> None:
    assert card("el2n").function is outputs.el2n
    assert card("grand").needs == "gradients"
    functions = [(found.function, found.columns) for found in cards() if found.function is not None]
    assert len(set(functions)) == len(functions)


def test_each_score_of_outputs_has_its_mean_over_the_training_pass_beside_it() -> None:
    for found in [one for one in cards() if one.needs == "outputs"]:
        mean = card(f"mean_{found.name}")
        assert (mean.needs, mean.columns, mean.higher_is_harder, mean.range) == (
            "trace", (found.name,), found.higher_is_harder, found.range,
        )  # fmt: skip
        assert mean.summary != found.summary and found.name in mean.summary


def test_each_card_names_the_function_of_its_own_name() -> None:
    for found in cards():
        if found.function is not None and found.name in STANDARD:
            assert found.function.__name__ == found.name


@pytest.mark.parametrize("name", ["el2n", "l1_error", "entropy", "margin", "loss", "logit_margin"])
def test_scores_stay_in_the_range_of_their_card(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(500, 5, generator=generator, dtype=torch.float64) * 30
    values = getattr(outputs, name)(logits, torch.randint(0, 5, (500,), generator=generator))
    low, high = card(name).range
    assert values.min() >= low and values.max() <= high + 1e-12


def test_the_direction_of_a_card_agrees_with_what_is_hard() -> None:
    easy_then_hard = np.array([[9.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    for name in ("el2n", "l1_error", "entropy", "loss", "margin", "logit_margin"):
        easy, hard = getattr(outputs, name)(easy_then_hard, np.array([0, 0]))
        assert (hard > easy) == card(name).higher_is_harder, name


@pytest.mark.parametrize(
    ("wrong", "meant"), [("eln2", "el2n"), ("Forgeting", "forgetting"), ("grnd", "grand")]
)
def test_an_unknown_name_suggests_the_nearest(wrong: str, meant: str) -> None:
    with pytest.raises(BadInputError, match=f"There is no score '{wrong}'. Did you mean '{meant}'"):
        card(wrong)


def test_a_name_that_is_near_nothing_lists_what_there_is() -> None:
    with pytest.raises(BadInputError, match=r"Choose from el2n, .*aum, "):
        card("zzzzzzz")


def test_a_column_taken_at_an_epoch_has_the_card_of_its_score() -> None:
    assert card("margin@20") is card("margin")
    assert base_name("margin@20") == "margin"


@pytest.mark.parametrize("name", ["../x", "<script>", "el2n.std", "", "2fast", "el2n@", "el2n@x"])
def test_a_column_name_cannot_carry_anything_else(name: str) -> None:
    with pytest.raises(BadInputError, match="not a score name"):
        base_name(name)


def test_a_users_own_score_gets_a_card_and_keeps_its_function() -> None:
    @register_score("confidence_gap", needs="outputs", higher_is_harder=False)
    def confidence_gap(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """How far the two best classes are apart."""
        best = logits.topk(2, dim=1).values
        return best[:, 0] - best[:, 1]

    try:
        assert card("confidence_gap").function is confidence_gap
        assert card("confidence_gap").summary == "How far the two best classes are apart."
        with pytest.raises(BadInputError, match="exists already"):
            register_score("confidence_gap", needs="outputs")(confidence_gap)
    finally:
        SCORES.forget("confidence_gap")
    with pytest.raises(BadInputError, match="no score 'confidence_gap'"):
        card("confidence_gap")


def test_a_card_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(BadInputError, match="letters, digits and underscores"):
        register_score("a b", needs="outputs")(lambda logits, targets: logits)
    with pytest.raises(BadInputError, match="must be one of"):
        register_score("telepathy", needs="thoughts")(lambda thoughts: thoughts)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="name the columns"):
        register_score("dynamics_of_nothing", needs="trace")(lambda seen: seen)


def test_a_score_goes_and_comes_with_its_mean_over_the_training_pass() -> None:
    def aims(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return -logits.amax(dim=1)

    before = [found.name for found in cards()]
    for _ in range(2):
        register_score("aims", needs="outputs")(aims)
        assert card("mean_aims").columns == ("aims",)
        SCORES.forget("aims")
        assert [found.name for found in cards()] == before
    register_score("mean_aims", needs="outputs")(aims)
    with pytest.raises(BadInputError, match="'mean_aims' exists already"):
        register_score("aims", needs="outputs")(aims)
    assert "aims" not in SCORES
    SCORES.forget("mean_aims")
    assert [found.name for found in cards()] == before
