"""Five thousand suspects: as few elements as for fifty, and every one of them can be reached and decided."""

import json
from pathlib import Path

import pytest
from made_up_review import FINGERPRINT, pictures

from datadiet.pages.review import write_review

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_of_many(tmp_path_factory):
    return write_review(pictures(5000, side=16, classes=200), tmp_path_factory.mktemp("many") / "many.html")


@pytest.fixture
def page(browser, page_of_many):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page = context.new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(page_of_many.as_uri())
    yield page
    assert page.complaints == []
    context.close()


def test_the_number_of_elements_is_bounded_wherever_one_is(page):
    at_first = page.evaluate("document.querySelectorAll('#list *').length")
    assert at_first < 800
    for key in ("End", "PageUp", "Home", *["PageDown"] * 5):
        page.keyboard.press(key)
        assert page.evaluate("document.querySelectorAll('#list *').length") == at_first


def test_wherever_one_scrolls_the_tiles_in_sight_are_there_once_with_their_picture(page):
    seen = """() => {
        const frame = document.getElementById('list').getBoundingClientRect();
        const shown = [...document.querySelectorAll('.tile:not([hidden])')].map(node => {
            const box = node.getBoundingClientRect();
            const canvas = node.querySelector('canvas');
            const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            return {place: Number(node.getAttribute('aria-posinset')) - 1, drawn: pixels.some(value => value > 0),
                    inside: box.bottom > frame.top && box.top < frame.bottom};
        }).filter(tile => tile.inside);
        return shown.sort((a, b) => a.place - b.place);
    }"""
    for share in (0, 0.31, 0.77, 1):
        page.evaluate(
            "share => { const l = document.getElementById('list'); l.scrollTop = share * l.scrollHeight }",
            share,
        )
        # The page's policy forbids what `wait_for_function` does, so this asks again and again.
        for _ in range(100):
            tiles = page.evaluate(seen)
            if len(tiles) >= 20 and all(tile["drawn"] for tile in tiles):
                break
            page.wait_for_timeout(100)
        places = [tile["place"] for tile in tiles]
        assert places == list(range(places[0], places[0] + len(places)))
        assert len(places) >= 20
        assert all(tile["drawn"] for tile in tiles)
    assert places[-1] == 4999


def test_the_current_tile_is_in_sight_after_every_key(page):
    inside = """() => {
        const list = document.getElementById('list'), frame = list.getBoundingClientRect();
        const box = document.getElementById(list.getAttribute('aria-activedescendant')).getBoundingClientRect();
        return box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
    }"""
    for key in (
        "ArrowDown",
        "PageDown",
        "PageDown",
        "ArrowDown",
        "End",
        "ArrowUp",
        "PageUp",
        "n",
        "p",
        "Home",
    ):
        page.keyboard.press(key)
        assert page.evaluate(inside), key


def test_five_thousand_decisions_are_opened_kept_and_downloaded(page, tmp_path):
    names = ["ash", "elm", "oak", "yew", *(f"tree {label:03d}" for label in range(4, 200))]
    decisions = {}
    for number in range(5000):
        if number % 3 == 2:
            decisions[str(10 * number)] = {"decision": "relabel", "label": names[(number % 200 + 1) % 200]}
        else:
            decisions[str(10 * number)] = {"decision": ("keep", "drop")[number % 3]}
    file = {"format": "datadiet-decisions", "version": 1, "fingerprint": FINGERPRINT, "class_names": names}
    (tmp_path / "decisions.json").write_text(json.dumps({**file, "decisions": decisions}))
    page.on("filechooser", lambda chooser: chooser.set_files(tmp_path / "decisions.json"))
    page.wait_for_timeout(500)
    page.keyboard.press("o")
    page.locator(".notice").wait_for()
    page.keyboard.press("x")  # the first is open again ...
    page.keyboard.press("Home")
    page.keyboard.press("k")  # ... and kept once more
    page.reload()
    assert "5,000 decided: 1667 kept, 1666 relabelled, 1667 dropped" in page.locator("#counts").inner_text()
    with page.expect_download() as found:
        page.keyboard.press("s")
    found = json.loads(Path(found.value.path()).read_text())
    assert found == {**file, "decisions": decisions}
    assert list(found["decisions"]) == sorted(decisions, key=int)
