"""A reader decides in a real Chromium, from a file, by keyboard alone."""

import json
from pathlib import Path

import pytest
from made_up_review import CONTENTS, FINGERPRINT, HOSTILE, pictures

from datadiet.pages.review import write_review

pytestmark = pytest.mark.browser
NAMES = ["ash", "elm", "oak", "yew"]


def type_keys(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def current(page):
    """The id of the suspect that the keys act on, as it is shown."""
    return int(page.locator("#number").inner_text().removeprefix("#"))


def decision(page):
    return page.locator("#decided").inner_text()


def downloaded(page, act):
    with page.expect_download() as found:
        act()
    assert found.value.suggested_filename == "decisions.json"
    return json.loads(Path(found.value.path()).read_text(encoding="utf-8"))


def open_file(page, path):
    """By keyboard: the key opens the browser's own dialog, in which the file is chosen."""
    page.chosen_file = path
    page.keyboard.press("o")


@pytest.fixture
def open_page(browser, review_file):
    contexts = []

    def open_at(what, width=1280, height=800, scheme="light", before=None):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.complaints, page.requests = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda made: page.requests.append(made.url))
        # Heard from the start: a dialog that opens before anybody listens is lost.
        page.on("filechooser", lambda chooser: chooser.set_files(page.chosen_file))
        if before is not None:
            page.add_init_script(before)
        path = what if isinstance(what, Path) else review_file(what)
        page.goto(path.as_uri(), wait_until="load")
        return page

    yield open_at
    for context in contexts:
        context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (800, "dark"), (390, "light")])
@pytest.mark.parametrize("name", CONTENTS)
def test_the_page_works_by_itself(open_page, name, width, scheme):
    page = open_page(name, width, scheme=scheme)
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith("data:")] == [page.url]
    assert page.title().endswith(" · data diet review")
    assert page.title() != "hacked"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("document.activeElement.id") == "list"
    for key in ("keep", "drop", "choose", "given"):
        assert page.locator(f"#{key}").is_visible(), key
    type_keys(page, "k", "ArrowDown", "d", "n", "u", "?", "Escape")
    assert page.complaints == []


def test_every_decision_is_made_by_keyboard_and_downloads_exactly(open_page):
    page = open_page("pictures")
    assert current(page) == 0
    type_keys(page, "k")  # 0 is kept, and the next is current
    assert current(page) == 10
    type_keys(page, "d", "r")  # 10 is dropped, 20 relabelled as proposed: oak -> yew
    type_keys(page, "1")  # 30, a yew, is an ash
    type_keys(page, "c")  # 40, an ash, is an oak
    page.keyboard.type("OA")
    type_keys(page, "Enter")
    assert current(page) == 50
    type_keys(page, "2")  # 50 is an elm already: that is a keeping
    type_keys(page, "d", "x", "n")  # 60 is dropped; the next, 70, has nothing to clear
    assert current(page) == 80
    file = downloaded(page, lambda: type_keys(page, "s"))
    assert file == {
        "format": "datadiet-decisions",
        "version": 1,
        "fingerprint": FINGERPRINT,
        "class_names": NAMES,
        "decisions": {
            "0": {"decision": "keep"},
            "10": {"decision": "drop"},
            "20": {"decision": "relabel", "label": "yew"},
            "30": {"decision": "relabel", "label": "ash"},
            "40": {"decision": "relabel", "label": "oak"},
            "50": {"decision": "keep"},
            "60": {"decision": "drop"},
        },
    }
    assert "7 decided: 2 kept, 3 relabelled, 2 dropped" in page.locator("#counts").inner_text()
    assert page.locator("#saved").inner_text() == "all downloaded"


def test_the_same_id_in_both_parts_is_decided_twice_and_each_part_can_be_shown_alone(open_page):
    page = open_page("both_parts")
    assert page.locator("#number").inner_text() == "#test:0"
    type_keys(page, "k", "d")
    page.select_option("#by-part", "train")
    assert page.locator("#shown").inner_text() == "4 shown"
    page.select_option("#by-part", "test")
    page.keyboard.press("Escape")
    type_keys(page, "End", "r", "Home", "n", "d")
    file = downloaded(page, lambda: type_keys(page, "s"))
    assert list(file["decisions"].items()) == [
        ("0", {"decision": "drop"}),
        ("test:0", {"decision": "keep"}),
        ("test:1", {"decision": "drop"}),
        ("test:3", {"decision": "relabel", "label": "elm"}),
    ]
    page.reload()
    assert "4 decided: 1 kept, 1 relabelled, 2 dropped" in page.locator("#counts").inner_text()
    page.select_option("#by-order", "id")
    names = page.locator(".tile:not([hidden])").evaluate_all(
        "all => all.map((e) => e.ariaLabel.split(',')[0])"
    )
    assert set(names) == {f"Example {part}{number}" for part in ("", "test:") for number in range(4)}


def test_decisions_on_the_test_part_come_back_from_their_file(open_page, tmp_path):
    page = open_page("both_parts")
    decisions = {"test:2": {"decision": "drop"}, "2": {"decision": "keep"}, "test:77": {"decision": "keep"},
                 "test:02": {"decision": "keep"}}  # fmt: skip
    file = {
        "format": "datadiet-decisions",
        "version": 1,
        "fingerprint": FINGERPRINT,
        "class_names": ["ash", "elm"],
    }
    (tmp_path / "d.json").write_text(json.dumps({**file, "decisions": decisions}))
    open_file(page, tmp_path / "d.json")
    page.wait_for_selector("text=2 decisions taken over")
    assert "1 left out" in page.locator(".notice").first.inner_text()
    found = downloaded(page, lambda: type_keys(page, "s"))["decisions"]
    assert found == {key: decisions[key] for key in ("2", "test:2", "test:77")}


def test_what_is_done_can_be_undone_and_done_again(open_page):
    page = open_page("pictures")
    type_keys(page, "k", "d")
    type_keys(page, "u")
    assert (current(page), decision(page)) == (10, "undecided")
    type_keys(page, "Control+z")
    assert (current(page), decision(page)) == (0, "undecided")
    assert "Nothing to undo" not in page.locator("#live").inner_text()
    type_keys(page, "u")
    assert page.locator("#live").inner_text() == "Nothing to undo."
    type_keys(page, "Shift+U")
    assert (current(page), decision(page)) == (0, "kept")
    type_keys(page, "Control+y")
    assert (current(page), decision(page)) == (10, "dropped")
    type_keys(page, "x")
    assert decision(page) == "undecided"
    type_keys(page, "u")
    assert decision(page) == "dropped"


def test_keys_move_through_the_grid(open_page):
    page = open_page("pictures")
    columns = page.evaluate(
        "new Set([...document.querySelectorAll('.tile:not([hidden])')].map(t => t.getBoundingClientRect().left)).size"
    )
    assert columns > 2
    visited = []
    for key in (
        "ArrowRight",
        "j",
        "i",
        "ArrowLeft",
        "ArrowDown",
        "ArrowUp",
        "End",
        "Home",
        "ArrowLeft",
        "PageDown",
    ):
        type_keys(page, key)
        visited.append(current(page) // 10)
    assert visited == [1, 2, 1, 0, columns, 0, 11, 0, 0, min(11, visited[-1])]
    assert visited[-1] > 0


def test_the_next_undecided_is_found_around_the_end(open_page):
    page = open_page("pictures")
    type_keys(page, "End", "d")  # the last one: on to the first undecided
    assert current(page) == 0
    type_keys(page, "p")
    assert current(page) == 100
    type_keys(page, "n")
    assert current(page) == 0


def test_when_all_are_decided_the_page_says_so(open_page):
    page = open_page("pictures")
    type_keys(page, *"kdrkdrkdrkdr")
    assert "All 12 are decided" in page.locator("#live").inner_text()
    assert page.evaluate("document.getElementById('progress').value") == 12
    type_keys(page, "n")
    assert page.locator("#live").inner_text() == "Everything shown is decided."


def test_filters_are_reached_and_left_by_keyboard(open_page):
    page = open_page("pictures")
    type_keys(page, "/")
    assert page.evaluate("document.activeElement.id") == "by-given"
    page.keyboard.type("oak")
    type_keys(page, "Escape")
    assert page.evaluate("document.activeElement.id") == "list"
    assert page.locator("#shown").inner_text() == "3 shown"
    assert current(page) == 20
    # With only undecided ones shown, a decided one leaves and the next takes its place; undone, it comes back.
    type_keys(page, "/", "Tab", "Tab")
    assert page.evaluate("document.activeElement.id") == "by-state"
    page.keyboard.type("undecided")
    type_keys(page, "Escape", "k")
    assert (page.locator("#shown").inner_text(), current(page)) == ("2 shown", 60)
    type_keys(page, "u")
    assert (page.locator("#shown").inner_text(), current(page)) == ("3 shown", 20)
    type_keys(page, "k", "d", "r")
    assert page.locator("#nothing").is_visible()
    assert "9 left under other filters" in page.locator("#live").inner_text()
    assert page.evaluate("document.activeElement.id") == "all"
    type_keys(page, "Enter")
    assert page.locator("#shown").inner_text() == "12 shown"
    assert page.evaluate("document.activeElement.id") == "list"


def test_the_order_by_id_is_another_one_where_suspicion_says_so(open_page, tmp_path):
    contents = pictures()
    turned = [type(item)(**{**item.__dict__, "suspicion": -item.suspicion}) for item in contents.items]
    page = open_page(
        write_review(type(contents)(**{**contents.__dict__, "items": turned}), tmp_path / "turned.html")
    )
    assert current(page) == 110
    page.locator("#by-order").select_option("id")
    type_keys(page, "Escape", "Home")
    assert current(page) == 0


def test_decisions_are_there_when_the_browser_is_opened_again(profile, review_file):
    address = review_file("pictures").as_uri()
    context = profile()
    page = context.new_page()
    page.goto(address)
    type_keys(page, "k", "d", "r")
    context.close()

    page = profile().new_page()
    page.goto(address)
    assert "3 decided: 1 kept, 1 relabelled, 1 dropped" in page.locator("#counts").inner_text()
    assert current(page) == 30  # the first that is undecided
    type_keys(page, "Home")
    assert decision(page) == "kept"
    file = downloaded(page, lambda: type_keys(page, "s"))
    assert file["decisions"] == {
        "0": {"decision": "keep"},
        "10": {"decision": "drop"},
        "20": {"decision": "relabel", "label": "yew"},
    }


def test_a_download_is_opened_in_another_browser(open_page, tmp_path):
    page = open_page("pictures")
    type_keys(page, "d", "k", "r", "4")
    path = tmp_path / "decisions.json"
    file = downloaded(page, lambda: type_keys(page, "s"))
    path.write_text(json.dumps(file), encoding="utf-8")

    other = open_page("pictures")
    type_keys(other, "k")
    open_file(other, path)
    other.locator(".notice").wait_for()
    assert "4 decisions taken over; 1 of them in place of others" in other.locator(".notice").inner_text()
    assert downloaded(other, lambda: type_keys(other, "s")) == file
    type_keys(other, "Home", "u")  # opening a file is one step
    assert (current(other), decision(other)) == (0, "kept")
    assert "1 decided" in other.locator("#counts").inner_text()


def test_decisions_on_examples_that_are_not_on_the_page_are_passed_on(open_page, tmp_path):
    theirs = {
        "0": {"decision": "drop"},
        "5": {"decision": "relabel", "label": "oak"},
        "20": {"decision": "relabel", "label": "a class of another time"},
        "30": {"decision": "burn"},
    }
    path = tmp_path / "decisions.json"
    head = {"format": "datadiet-decisions", "version": 1, "fingerprint": FINGERPRINT, "class_names": NAMES}
    path.write_text(json.dumps({**head, "decisions": theirs}))
    page = open_page("pictures")
    open_file(page, path)
    page.locator(".notice").wait_for()
    told = page.locator(".notice").inner_text()
    assert "1 decision taken over" in told and "2 left out" in told and "not on this page" in told
    page.reload()
    wanted = {key: theirs[key] for key in ("0", "5")}
    assert downloaded(page, lambda: type_keys(page, "s")) == {**head, "decisions": wanted}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not json", "not readable as JSON"),
        ("[]", "holds no decisions"),
        ("null", "holds no decisions"),
        ('{"format": "datadiet-decisions", "version": 2, "decisions": {}}', "of version 2"),
        (
            '{"format": "datadiet-decisions", "version": 1, "fingerprint": "other", '
            '"decisions": {"0": {"decision": "drop"}}}',
            "another data set",
        ),
    ],
)  # fmt: skip
def test_a_file_that_does_not_belong_here_is_refused(open_page, tmp_path, content, words):
    (tmp_path / "file.json").write_text(content)
    page = open_page("pictures")
    open_file(page, tmp_path / "file.json")
    page.locator(".notice").wait_for()
    assert words in page.locator(".notice").inner_text()
    assert "0 decided" in page.locator("#counts").inner_text()


def test_another_data_set_at_the_same_place_gets_none_of_the_decisions(browser, tmp_path):
    context = browser.new_context(accept_downloads=True)
    path = tmp_path / "review.html"
    contents = pictures()
    write_review(contents, path)
    page = context.new_page()
    page.goto(path.as_uri())
    type_keys(page, "k", "r")
    write_review(type(contents)(**{**contents.__dict__, "fingerprint": "of other data"}), path)
    page.reload()
    assert "0 decided" in page.locator("#counts").inner_text()
    notice = page.locator(".notice")
    assert "another data set" in notice.inner_text()
    with page.expect_download() as found:
        notice.get_by_role("button", name="Download them").click()
    file = json.loads(Path(found.value.path()).read_text())
    assert file["fingerprint"] == FINGERPRINT
    assert file["decisions"] == {"0": {"decision": "keep"}, "10": {"decision": "relabel", "label": "oak"}}
    context.close()


def test_a_longer_page_of_the_same_data_takes_the_decisions_over(browser, tmp_path):
    context = browser.new_context()
    contents = pictures()
    short = type(contents)(**{**contents.__dict__, "items": contents.items[:3]})
    page = context.new_page()
    page.goto(write_review(short, tmp_path / "short.html").as_uri())
    type_keys(page, "k", "d")
    page.goto(write_review(contents, tmp_path / "long.html").as_uri())
    assert "0 decided" in page.locator("#counts").inner_text()
    page.get_by_role("button", name="Take over").click()
    assert "2 decided: 1 kept, 0 relabelled, 1 dropped" in page.locator("#counts").inner_text()
    page.reload()
    assert "2 decided" in page.locator("#counts").inner_text()
    assert page.locator(".notice").count() == 0
    context.close()


def test_two_tabs_of_a_page_know_of_each_other(browser, review_file):
    context = browser.new_context()
    first, second = context.new_page(), context.new_page()
    for page in (first, second):
        page.goto(review_file("pictures").as_uri())
    type_keys(first, "k")
    second.locator("#counts", has_text="1 decided").wait_for()
    type_keys(second, "Home", "n", "d")
    first.locator("#counts", has_text="2 decided").wait_for()
    context.close()


def test_without_storage_the_page_says_so_and_still_downloads(open_page):
    denied = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError') }})"
    page = open_page("pictures", before=denied)
    assert "does not keep decisions" in page.locator(".notice").inner_text()
    type_keys(page, "k", "d")
    assert page.locator(".notice").count() == 1
    assert "not kept by this browser" in page.locator("#saved").inner_text()
    assert len(downloaded(page, lambda: type_keys(page, "s"))["decisions"]) == 2


def test_a_store_that_fills_up_is_told_of_once(open_page):
    full = """const set = Storage.prototype.setItem;
        Storage.prototype.setItem = function (key, value) {
            if (value.includes('10d')) throw new DOMException('full', 'QuotaExceededError');
            set.call(this, key, value);
        };"""
    page = open_page("pictures", before=full)
    type_keys(page, "k")
    assert page.locator(".notice").count() == 0
    type_keys(page, "d", "d")
    assert "QuotaExceededError" in page.locator(".notice").inner_text()
    assert page.locator(".notice").count() == 1


def test_hostile_text_is_only_ever_text(open_page):
    page = open_page("texts")
    for _ in HOSTILE:
        type_keys(page, "ArrowDown", "c", "Escape")
    assert page.title() != "hacked"
    assert page.complaints == []
    assert page.evaluate("document.images.length + document.querySelectorAll('svg').length") == 0
    type_keys(page, "Home")
    assert HOSTILE[0] in page.locator("#text").inner_text()
    type_keys(page, "r")
    file = downloaded(page, lambda: type_keys(page, "s"))
    assert file["class_names"] == list(HOSTILE)
    assert file["decisions"] == {"0": {"decision": "relabel", "label": HOSTILE[1]}}


def test_an_inserted_script_does_not_run(open_page):
    page = open_page("pictures")
    page.evaluate(
        """() => {
            const script = document.createElement('script');
            try { script.textContent = "document.title = 'hacked'" } catch { return }
            document.body.append(script);
        }"""
    )
    assert page.title() != "hacked"


def test_a_long_text_is_shown_whole_when_asked(open_page):
    page = open_page("texts")
    type_keys(page, "ArrowDown")
    assert len(page.locator("#text").inner_text()) < 1600
    type_keys(page, "e")
    assert len(page.locator("#text").inner_text()) > 9900
    type_keys(page, "ArrowDown")
    assert page.locator("#expand").is_hidden()


def test_one_class_of_hundreds_is_picked_by_a_part_of_its_name(open_page):
    page = open_page("vectors")
    type_keys(page, "r")  # nothing is proposed: one has to choose
    page.keyboard.type("ES 12")
    assert page.locator("#picker-list li").count() == 10
    type_keys(page, "ArrowDown", "ArrowDown", "ArrowUp", "Enter")
    page.keyboard.press("c")
    page.keyboard.type("no such")
    type_keys(page, "Enter", "Escape", "c", "Escape", "Home")
    assert decision(page) == "relabelled as species 121"
    assert "1 decided" in page.locator("#counts").inner_text()
    assert "30 most suspicious of 9,000" in page.locator("#counts").inner_text()


def test_classes_named_by_a_digit_keep_their_digit(open_page, tmp_path):
    contents = pictures()
    digits = type(contents)(**{**contents.__dict__, "class_names": ["0", "1", "2", "3"]})
    page = open_page(write_review(digits, tmp_path / "digits.html"))
    type_keys(page, "3", "0", "Home")
    assert decision(page) == "relabelled as 3"
    type_keys(page, "ArrowRight")
    assert decision(page) == "relabelled as 0"


def test_what_is_current_and_decided_is_told_to_screen_readers(open_page):
    page = open_page("pictures")
    active = "document.getElementById(document.getElementById('list').getAttribute('aria-activedescendant'))"
    type_keys(page, "k", "ArrowLeft")
    told = page.evaluate(f"[{active}.getAttribute('aria-label'), {active}.getAttribute('aria-selected')]")
    assert told == ["Example 0, given ash, proposed elm, kept", "true"]
    assert page.evaluate(f"{active}.getAttribute('aria-setsize')") == "12"
    assert page.locator("#live").inner_text() == "Example 0 kept. 11 left."
    assert page.evaluate("document.querySelectorAll('[aria-selected=true]').length") == 1


def test_a_key_held_down_decides_once(open_page):
    page = open_page("pictures")
    for _ in range(3):
        page.keyboard.down("d")
    page.keyboard.up("d")
    assert "1 decided" in page.locator("#counts").inner_text()
    for _ in range(3):
        page.keyboard.down("ArrowRight")
    assert current(page) == 40


def test_mouse_and_touch_do_the_same(open_page):
    page = open_page("pictures", 390)
    page.locator(".tile[aria-posinset='3']").click()
    assert current(page) == 20
    page.locator("#relabel").click()
    assert "1 relabelled" in page.locator("#counts").inner_text()
    page.locator("#choose").click()
    page.locator("#picker-list li").nth(1).click()
    assert "2 relabelled" in page.locator("#counts").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_by_day_and_by_night(open_page, scheme):
    page = open_page("pictures", scheme=scheme)
    type_keys(page, "k", "d", "r", "Home")

    def brightness(colour):
        linear = []
        for part in colour.removeprefix("rgb(").removesuffix(")").split(","):
            value = int(part) / 255
            linear.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    find = """selector => {
        let node = document.querySelector(selector);
        const colour = getComputedStyle(node).color;
        while (getComputedStyle(node).backgroundColor === 'rgba(0, 0, 0, 0)') node = node.parentElement;
        return [colour, getComputedStyle(node).backgroundColor];
    }"""
    marks = [f".tile[data-decision={kind}] .mark" for kind in ("keep", "drop", "relabel")]
    # WCAG 2.1, success criterion 1.4.3: a contrast of at least 4.5 to 1 for running text.
    for selector in (
        "body",
        "#counts",
        ".tile .given",
        "#keep",
        "#drop",
        "#relabel",
        "#facts dt",
        "kbd",
        *marks,
    ):
        text, ground = map(brightness, page.evaluate(find, selector))
        assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 4.5, selector
