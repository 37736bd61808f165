"""A real browser opens the page: nothing runs, nothing is fetched, everything shows, nothing overflows."""

import pytest

from chromium import ARGUMENTS, CHROMIUM, NO_CHROMIUM

SECTIONS = ("accuracy", "subsets", "left-out", "cost", "scores", "examples", "classes", "made")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=NO_CHROMIUM),
]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (the `test` extra)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, report_folder):
    pages = []

    def open_at(name, width=1280, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        pages.append(page)
        page.complaints, page.requests = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda made: page.requests.append(made.url))
        page.goto((report_folder(name) / "report.html").as_uri(), wait_until="load")
        # Folded parts too: what is never laid out cannot overflow, nor fail to load.
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
        page.wait_for_function("[...document.images].every(image => image.complete)")
        return page

    yield open_at
    for page in pages:
        page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "light"), (400, "dark")])
@pytest.mark.parametrize("name", ["image", "text", "vector", "hostile", "undecided"])
def test_the_page_works_by_itself(open_page, name, width, scheme):
    page = open_page(name, width, scheme)
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith("data:")] == [page.url]
    assert page.title().removeprefix("<script>document.title='hacked'</script>") != "hacked"
    assert page.title().endswith(" · data diet report")
    assert page.evaluate("document.scripts.length") == 0

    assert page.locator(".verdict").is_visible()
    for section in SECTIONS:
        assert page.locator(f"section#{section} h2").is_visible(), section
    broken = "[...document.images].filter(image => image.naturalWidth === 0).map(image => image.alt)"
    assert page.evaluate(broken) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_script_that_gets_into_the_page_all_the_same_does_not_run(open_page):
    page = open_page("vector")
    page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = "document.title = 'hacked'";
            document.body.append(script);
            document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="document.title=1">');
        }"""
    )
    assert page.title() == "measurements · data diet report"
    assert any("Content Security Policy" in complaint for complaint in page.complaints)


def test_the_page_can_be_read_by_keyboard(open_page):
    page = open_page("image")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#accuracy"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_reader_and_can_be_read(open_page, scheme):
    page = open_page("image", scheme=scheme)

    def brightness(selector, kind):
        colour = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{kind}")
        linear = []
        for part in colour.removeprefix("rgb(").removesuffix(")").split(","):
            value = int(part) / 255
            linear.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    ground = brightness("body", "backgroundColor")
    assert (ground < 0.05) if scheme == "dark" else (ground > 0.85)
    # WCAG 2.1, success criterion 1.4.3: a contrast of at least 4.5 to 1 for running text.
    for selector in ("body", ".lead", "figcaption", ".interval", ".yes", ".no", "nav a", ".about .id"):
        text = brightness(selector, "color")
        assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 4.5, selector


def test_figures_follow_the_reader_and_the_width(open_page):
    chosen = set()
    for width in (400, 1280):
        for scheme in ("light", "dark"):
            page = open_page("image", width, scheme)
            chosen.add(page.evaluate("document.querySelector('figure img').currentSrc"))
    assert len(chosen) == 4


def test_a_printed_page_is_light_and_whole(open_page):
    page = open_page("image", scheme="dark")
    # The width of A4 without its margins, at 96 pixels an inch.
    page.set_viewport_size({"width": 718, "height": 1000})
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert page.locator("section#made h2").is_visible()
