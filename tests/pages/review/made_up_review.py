"""Made-up suspects of every kind, for the tests of the review room only."""

from __future__ import annotations

import numpy as np

from datadiet.pages.review import ReviewContents, ReviewItem

FINGERPRINT = "5f0c8a91b2d7e63f9a4410c7d2e8b6aa01f35c7788e9d0431b6c2f4fe19a7d3c"
HOSTILE = (
    "<script>document.title='hacked'</script>",
    "</script><img src=x onerror=\"document.title='hacked'\">",
    "\x1b[31mred\x1b[0m \x1b]0;owned\x07",
    "abc\u202etxt.exe\u2066",
    "'\"><svg onload=alert(1)> &lt; <!--",
    "{{ 7 * 7 }}{% raw %}",
    "ol\u00e9 \u6f22\u5b57 \U0001f600 \u0645\u0631\u062d\u0628\u0627",
    "a" * 300,
    "line\nbreak\u2028and\u0000null",
    "constructor",
)


def pictures(count: int = 12, *, side: int = 8, classes: int = 4) -> ReviewContents:
    """Suspects of small pictures: example 10 k has suspicion 1 - k / count, so the page shows them by id."""
    generator = np.random.default_rng(0)
    items = [
        ReviewItem(
            id=10 * number,
            given=number % classes,
            proposed=(number + 1) % classes,
            suspicion=1 - number / count,
            probability_wrong=0.5,
            signals={"margin": -1.25},
            picture=generator.integers(0, 256, (side, side, 3), dtype=np.uint8),
        )
        for number in range(count)
    ]
    names = ("ash", "elm", "oak", "yew", *(f"tree {label:03d}" for label in range(4, classes)))[:classes]
    return ReviewContents("trees", FINGERPRINT, names, items, pixelated=True)


def texts(count: int = 20) -> ReviewContents:
    """Hostile texts under hostile class names; every fourth one without a proposed label, one of them long."""
    size = len(HOSTILE)
    items = [
        ReviewItem(
            id=number,
            given=number % size,
            proposed=None if number % 4 == 3 else (number + 1) % size,
            suspicion=-float(number),
            text="word " * 2000 if number == 1 else f"{HOSTILE[number % size]}\nsecond line",
        )
        for number in range(count)
    ]
    return ReviewContents(HOSTILE[0], FINGERPRINT, HOSTILE, items)


def vectors(count: int = 30, classes: int = 300) -> ReviewContents:
    """Rows of numbers of hundreds of classes, ranked by a score, without proposed labels."""
    generator = np.random.default_rng(1)
    items = [
        ReviewItem(
            id=number, given=number % classes, suspicion=1 / (number + 1), vector=generator.normal(size=40)
        )
        for number in range(count)
    ]
    names = [f"species {label:03d}" for label in range(classes)]
    return ReviewContents("points", FINGERPRINT, names, items, ranking="el2n", in_all=9000)


def both_parts() -> ReviewContents:
    """The same ids in both parts: test and training examples by turns, the test ones first."""
    items = [
        ReviewItem(
            number // 2,
            number % 2,
            1 - number % 2,
            1 - number / 8,
            text=f"text {number}",
            part="train" if number % 2 else "test",
        )
        for number in range(8)
    ]
    return ReviewContents("both", FINGERPRINT, ("ash", "elm"), items)


CONTENTS = {"pictures": pictures, "texts": texts, "vectors": vectors, "both_parts": both_parts}
