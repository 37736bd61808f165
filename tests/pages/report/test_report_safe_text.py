"""Text from the data can do nothing to a terminal or a file system."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadiet.pages.report import printable, safe_name

# Surrogates too: they come from file names that are not UTF-8.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)
HARMFUL = st.sampled_from(
    ["\x1b[31m", "\x1b]0;t\x07", "\x9b2J", "\u202e", "\u2066", "\x00", "\r", "\n", "\u2028", "\x08", "\ufeff"]
)


@given(st.lists(st.one_of(ANY_TEXT, HARMFUL), max_size=8).map("".join), st.integers(1, 120))
def test_printable_text_is_one_short_line_without_anything_that_acts(text, limit):
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.splitlines() in ([], [shown])
    for character in shown:
        assert unicodedata.category(character) not in ("Cc", "Cs", "Co", "Cn")
        assert unicodedata.category(character) != "Cf" or character in "\u200c\u200d"
    shown.encode("utf-8")


@given(ANY_TEXT)
def test_printing_what_is_printable_changes_nothing(text):
    once = printable(text, 500)
    assert printable(once, 500) == once


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;no end", ""),
        ("\x9b31mred", "red"),
        ("\x1bcreset", "reset"),
        ("a\tb\r\nc", "a b c"),
        ("abc\u202etxt.exe", "abctxt.exe"),
        ("e" + "\u0301" * 50, "e" + "\u0301" * 4),
        ("\udcff", "\ufffd"),
        ("漢字 مرحبا 😀 ZW\u200dJ", "漢字 مرحبا 😀 ZW\u200dJ"),
        ("$x^2$ [bold]<b>", "$x^2$ [bold]<b>"),
    ],
)
def test_escape_sequences_go_whole_and_every_script_stays(text, shown):
    assert printable(text) == shown


def test_text_is_cut_with_an_ellipsis_only_when_it_is_too_long():
    assert printable("abcde", 5) == "abcde"
    assert printable("abcdef", 5) == "abcd…"


@given(ANY_TEXT)
def test_a_safe_name_is_one_plain_visible_file_name(text):
    name = safe_name(text)
    assert name
    assert len(name) <= 80
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert name[0] not in ".-"
    assert name[-1] not in ".-"
    assert Path("folder", name).parent == Path("folder")


@given(ANY_TEXT, ANY_TEXT)
def test_two_texts_have_two_safe_names(one, other):
    assert (safe_name(one) == safe_name(other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"), [("A", "a"), ("a b", "a-b"), ("a/b", "a b"), ("x", "x "), ("a" * 200, "a" * 201)]
)
def test_names_that_are_easily_confused_stay_apart(one, other):
    assert safe_name(one) != safe_name(other)


@pytest.mark.parametrize("device", ["con", "NUL", "com1", "lpt9", "aux.txt"])
def test_names_of_windows_devices_are_not_used(device):
    assert safe_name(device).startswith("data-")


@pytest.mark.parametrize("text", ["../../x", "/etc/passwd", "..", ".", "", "~", "C:\\x", ".hidden", "-rf"])
def test_a_path_becomes_a_file_name_in_its_folder(text, tmp_path):
    path = tmp_path / f"{safe_name(text)}.parquet"
    path.write_bytes(b"")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
