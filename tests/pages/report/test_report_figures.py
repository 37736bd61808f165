"""Every figure has named axes, shows something, and reads names as text."""

import io
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from made_up_report import HOSTILE, made_up_verdict
from PIL import Image

from datadiet.foundation.errors import BadInputError
from datadiet.pages.report.canvas import DARK, LIGHT, as_png, as_svg, recoloured
from datadiet.pages.report.figures import (
    MOST_PANELS,
    accuracy_against_keep,
    class_balance,
    score_distributions,
)


def example_figures(theme=LIGHT, narrow=False):
    generator = np.random.default_rng(0)
    labels, many = generator.integers(0, 3, 300), generator.integers(0, 60, 3000)
    scores = {"el2n": generator.random(300), "forgetting": generator.poisson(2, 300).astype(float)}
    mask = scores["el2n"] > 0.5
    return {
        "accuracy": accuracy_against_keep(made_up_verdict(), theme, narrow),
        "scores": score_distributions(scores, {"el2n": mask}, theme, narrow),
        "balance": class_balance(labels, ("a", "b", "c"), {"half": mask}, theme, narrow),
        "many classes": class_balance(
            many, [f"class {row}" for row in range(60)], {"half": generator.random(3000) > 0.5}, theme, narrow
        ),
    }


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(as_png(figure, 80))).convert("RGB")).astype(int)


@pytest.mark.parametrize(("theme", "narrow"), [(LIGHT, False), (DARK, True)])
def test_every_figure_has_labelled_axes_and_is_not_blank(theme, narrow):
    paper = [int(theme.paper[start : start + 2], 16) for start in (1, 3, 5)]
    for name, figure in example_figures(theme, narrow).items():
        labelled = [axes for axes in figure.axes if axes.get_xlabel() and axes.get_ylabel()]
        assert labelled, name
        assert all(axes.get_xlabel() for axes in figure.axes), name
        drawn = (abs(pixels(figure) - paper).sum(axis=2) > 40).mean()
        assert 0.01 < drawn < 0.6, name


def test_marks_stand_at_the_accuracies_of_the_verdict():
    verdict = made_up_verdict(3, ("el2n",))
    axes = accuracy_against_keep(verdict).axes[0]
    expected = [100 * entry["accuracy"] for entry in verdict["subsets"] if entry["score"] == "el2n"]
    lines = [line.get_ydata() for line in axes.get_lines() if len(line.get_ydata()) == len(expected)]
    assert any(np.allclose(line, expected) for line in lines)
    band = next(patch for patch in axes.patches if np.isclose(patch.get_height(), 100 * (0.9786 - 0.9632)))
    assert np.isclose(band.get_y(), 96.32)


def test_the_recommended_subset_has_a_ring():
    verdict = made_up_verdict()
    ring = [
        line for line in accuracy_against_keep(verdict).axes[0].get_lines() if line.get_markersize() == 15
    ]
    assert [float(line.get_ydata()[0]) for line in ring] == [100 * verdict["recommended"]["accuracy"]]


@pytest.mark.parametrize("keeps", [1, 2])
def test_one_fraction_or_a_missing_interval_can_still_be_drawn(keeps):
    verdict = made_up_verdict()
    verdict["subsets"] = [{**entry, "interval": None} for entry in verdict["subsets"][: 3 * keeps]]
    verdict["full"]["interval"] = None
    assert pixels(accuracy_against_keep(verdict)).std() > 1


def test_what_stays_is_drawn_inside_what_there_is():
    values = np.arange(10.0)
    mask = values >= 6
    everything, stays = score_distributions({"el2n": values}, {"el2n": mask}).axes[0].patches
    assert everything.get_data().values.sum() == 10
    assert stays.get_data().values.sum() == 4
    assert (stays.get_data().values[:6] == 0).all()


@pytest.mark.parametrize(
    "values",
    [
        [1.0] * 5,
        [0.0] * 5,
        [np.nan] * 5,
        [np.inf, 1.0, 2.0, -np.inf, np.nan],
        [-1e308, 1e308, 0.0, 0.0, 0.0],
        [1e-300, 2e-300, 0.0, 0.0, 0.0],
        [1e16, 1e16 + 2, 1e16, 1e16, 1e16],
        [0, 10**7, 5, 7, 9],
    ],
)
def test_strange_scores_can_be_drawn(values):
    assert pixels(score_distributions({"el2n": np.array(values)})).std() > 1


def test_values_that_cannot_be_placed_are_counted_in_the_panel():
    axes = score_distributions({"aum": np.array([1.0, np.inf, np.nan])}).axes[0]
    assert axes.get_title("right") == "2 not finite"


def test_only_the_first_scores_are_drawn_when_there_are_very_many():
    figure = score_distributions({f"score_{row}": np.arange(5.0) for row in range(40)})
    assert len(figure.axes) == MOST_PANELS


def test_a_marker_stands_at_each_class_share_of_what_stays():
    labels = np.array([0, 0, 0, 1])
    axes = class_balance(labels, ("a", "b"), {"half": np.array([True, False, False, True])}).axes[0]
    before, after = (line.get_xdata() for line in axes.get_lines()[-2:])
    assert list(before) == [75.0, 25.0]
    assert list(after) == [50.0, 50.0]


def test_without_data_there_is_no_figure_but_an_error():
    with pytest.raises(BadInputError):
        accuracy_against_keep({})
    with pytest.raises(BadInputError):
        score_distributions({})
    with pytest.raises(BadInputError):
        class_balance(np.zeros(0, int), (), {})


def test_hostile_names_are_text_in_figures():
    labels = np.arange(50) % len(HOSTILE)
    scores = {name: np.arange(50.0) for name in HOSTILE}
    for figure in (
        class_balance(labels, HOSTILE, dict.fromkeys(HOSTILE, labels > 2)),
        score_distributions(scores),
        accuracy_against_keep(made_up_verdict(3, HOSTILE[:4])),
    ):
        svg = as_svg(figure)
        root = ElementTree.fromstring(svg)
        assert not [tag for tag in root.iter() if tag.tag.rsplit("}")[-1] in ("script", "image", "a")]
        text = " ".join(root.itertext())
        assert "$x^2$" in text
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
        assert pixels(figure).std() > 1


def test_an_svg_is_the_same_every_time_and_names_nothing_outside_itself():
    one, other = (as_svg(accuracy_against_keep(made_up_verdict())) for _ in range(2))
    assert one == other
    for reference in re.findall(rb'(?:href|src)="([^"]*)"', one):
        assert reference.startswith(b"#")


def test_recolouring_gives_what_drawing_in_the_other_theme_gives():
    light, dark = (as_svg(accuracy_against_keep(made_up_verdict(), theme)) for theme in (LIGHT, DARK))
    repainted = recoloured(light, LIGHT, DARK)
    colours = re.compile(rb"#[0-9a-f]{6}")
    assert colours.findall(repainted) == colours.findall(dark)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_no_two_parts_of_a_theme_share_a_colour(theme):
    colours = [theme.paper, theme.ink, theme.muted, theme.grid, theme.pale, *theme.series]
    assert len(set(colours)) == len(colours)


def test_the_readers_own_matplotlib_settings_are_neither_used_nor_changed():
    with matplotlib.rc_context({"text.usetex": True, "axes.facecolor": "red", "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        figure = accuracy_against_keep(made_up_verdict())
        assert b"<text" in as_svg(figure)
        assert as_png(figure)
        assert dict(matplotlib.rcParams) == before


def test_the_global_figures_of_pyplot_are_left_alone():
    import matplotlib.pyplot

    example_figures()
    assert matplotlib.pyplot.get_fignums() == []
