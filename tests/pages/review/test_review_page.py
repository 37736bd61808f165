"""The page is one file that loads nothing, and no word of the data is ever read as markup."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from made_up_review import CONTENTS, FINGERPRINT, HOSTILE, pictures, texts, vectors

from datadiet.foundation.errors import BadInputError
from datadiet.pages.review import ReviewContents, ReviewItem, write_review
from datadiet.pages.review.page import as_data_block, page_id, render_review


class Page(HTMLParser):
    """The elements of a page with their attributes, and what stands in each script and style."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.inside, self.raw, self.words = [], None, [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = tag
        if tag in ("script", "style"):
            self.raw.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, text):
        if self.inside in ("script", "style"):
            tag, attributes, before = self.raw[-1]
            self.raw[-1] = (tag, attributes, before + text)
        else:
            self.words.append(text)

    def scripts(self, kind):
        return [text for tag, attrs, text in self.raw if tag == "script" and attrs.get("type") == kind]

    @property
    def data(self):
        (text,) = self.scripts("application/json")
        return json.loads(text)


@pytest.mark.parametrize("name", CONTENTS)
def test_the_page_loads_nothing(name):
    html = render_review(CONTENTS[name]())
    page = Page(html)
    for tag, attributes in page.elements:
        for attribute in ("src", "srcset", "data", "action", "poster", "background"):
            assert attribute not in attributes, tag
        if "href" in attributes:
            assert attributes["href"] in ("data:,", "#list")
        assert not any(attribute.startswith("on") for attribute in attributes)
    (script,) = page.scripts(None)
    (style,) = [text for tag, _, text in page.raw if tag == "style"]
    assert "http" not in script
    assert "url(" not in style and "@import" not in style
    assert re.findall(r"https?://", html) == []


@pytest.mark.parametrize("name", CONTENTS)
def test_the_policy_allows_this_script_and_style_only(name):
    page = Page(render_review(CONTENTS[name]()))
    (policy,) = [
        attrs["content"] for tag, attrs in page.elements if tag == "meta" and attrs.get("http-equiv")
    ]
    (script,) = page.scripts(None)
    (style,) = [text for tag, _, text in page.raw if tag == "style"]

    def hash_of(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == hash_of(script)
    assert rules["style-src"] == hash_of(style)
    assert rules["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in policy


def test_hostile_words_are_nowhere_markup():
    page = Page(render_review(texts()))
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert not {"img", "svg"} & {tag for tag, _ in page.elements}
    assert HOSTILE[0] in "".join(page.words)  # as the title, in words
    # The decisions file has to name classes as the data does; what is shown of them does nothing.
    assert page.data["class_names"] == list(HOSTILE)
    shown = "".join(page.data["shown_names"])
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u202e\u2066]", shown)
    assert max(map(len, page.data["shown_names"])) <= 200


def test_a_data_block_holds_any_text_and_no_markup():
    told = ["</script>", "<!--", "]]>", "&amp;", "\u2028\u2029", "\ud800", "\x00", "'\"\\"]
    block = as_data_block(told)
    assert block.isascii()
    assert not set("<>&") & set(block)
    assert json.loads(block) == told


def test_the_data_of_the_page_says_what_was_given_the_most_suspicious_first():
    items = [
        ReviewItem(7, 0, 1, 0.25, 0.5, {"margin": 2.0}, text="seven"),
        ReviewItem(3, 1, None, 0.75, None, {}, text="three"),
        ReviewItem(5, 1, 0, 0.75, float("nan"), {"margin": float("inf")}, missing="lost"),
    ]
    data = Page(render_review(ReviewContents("t", "f", ("a", "b"), items, in_all=9))).data
    assert data["keys"] == ["3", "5", "7"]
    assert data["given"] == [1, 1, 0]
    assert data["proposed"] == [-1, 0, 1]
    assert data["suspicion"] == [0.75, 0.75, 0.25]
    assert data["probability_wrong"] == [None, None, 0.5]
    assert data["signals"] == [{"name": "margin", "values": [None, None, 2.0]}]
    assert data["texts"] == ["three", None, "seven"]
    assert data["missing"] == {"1": "lost"}
    assert data["in_all"] == 9


def test_a_long_text_is_cut_and_says_how_long_it_was():
    contents = ReviewContents("t", "f", ("a",), [ReviewItem(0, 0, text="x" * 50_000)])
    data = Page(render_review(contents)).data
    assert len(data["texts"][0]) == 20_000
    assert data["lengths"] == [50_000]


def test_a_long_vector_is_cut_and_says_how_long_it_was():
    data = Page(render_review(vectors(1))).data
    assert data["vectors"][0][0] == 40
    assert len(data["vectors"][0]) == 33


def test_a_page_without_proposed_labels_asks_for_none():
    html = render_review(vectors())
    for name in ("by-proposed", "proposed", "relabel"):
        assert f'id="{name}"' not in html
        assert f'id="{name}"' in render_review(pictures())


def test_the_same_question_has_the_same_name_and_another_one_another():
    contents = pictures()
    name = page_id(contents)
    assert page_id(replace(contents, title="other", items=list(reversed(contents.items)))) == name
    assert page_id(replace(contents, fingerprint="other")) != name
    assert page_id(replace(contents, items=contents.items[1:])) != name
    assert (
        page_id(replace(contents, items=[replace(contents.items[0], proposed=None), *contents.items[1:]]))
        != name
    )
    assert page_id(replace(contents, class_names=["Ash", *contents.class_names[1:]])) != name
    assert Page(render_review(contents)).data["page"] == name
    assert Page(render_review(contents)).data["fingerprint"] == FINGERPRINT


def test_the_same_contents_give_the_same_bytes(tmp_path):
    first = write_review(pictures(), tmp_path / "first.html")
    assert first.read_bytes() == write_review(pictures(), tmp_path / "second.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.html", "second.html"]


def test_a_page_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot be written"):
        write_review(pictures(), tmp_path / "file" / "review.html")
