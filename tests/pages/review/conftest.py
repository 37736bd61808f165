"""A Chromium for the whole room, and every made-up page written once."""

from functools import cache

import pytest
from made_up_review import CONTENTS

from chromium import ARGUMENTS, CHROMIUM, NO_CHROMIUM
from datadiet.pages.review import write_review


@pytest.fixture(scope="session")
def review_file(tmp_path_factory):
    """The page of made-up contents, by their name."""
    folder = tmp_path_factory.mktemp("reviews")

    @cache
    def page_of(name):
        return write_review(CONTENTS[name](), folder / f"{name}.html")

    return page_of


@pytest.fixture(scope="module")
def driver():
    if not CHROMIUM.exists():
        pytest.skip(NO_CHROMIUM)
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (the `test` extra)")
    with playwright.sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def browser(driver):
    browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture
def profile(driver, tmp_path):
    """Open a browser with a profile on disk that outlives it: `with`-less, `close()` it like a reader does."""
    contexts = []

    def open_profile(name="reader"):
        context = driver.chromium.launch_persistent_context(
            str(tmp_path / name),
            executable_path=str(CHROMIUM),
            args=ARGUMENTS,
            accept_downloads=True,
            viewport={"width": 1280, "height": 800},
        )
        contexts.append(context)
        return context

    yield open_profile
    for context in contexts:
        context.close()
