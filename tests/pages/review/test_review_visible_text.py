"""No character of the data is invisible to a reviewer, and none does anything."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from datadiet.pages.text import visible


@given(st.text())
def test_nothing_that_acts_is_left(text):
    for character in visible(text):
        assert character in "\u200c\u200d" or unicodedata.category(character) not in (
            "Cc",
            "Cf",
            "Cs",
            "Co",
            "Zl",
            "Zp",
        )


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S", "Zs", "Mn"))))
def test_letters_of_every_script_stay(text):
    assert visible(text) == text


@given(st.text(), st.text())
def test_texts_that_differ_only_in_an_invisible_character_look_different(before, after):
    assert visible(f"{before}\u202e{after}") != visible(before + after)


def test_line_breaks_stay_only_in_running_text():
    assert visible("a\nb\tc\r\nd", lines=True) == "a\nb\tc\nd"
    assert visible("a\nb") == "a⟨U+000A⟩b"
    assert visible("a\rb", lines=True) == "a⟨U+000D⟩b"
