"""Labels that look wrong, as the report shows them: the sentence, the worst, and the commands that go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datadiet.pages.numbers import percent
from datadiet.pages.report.contents import ReportContents, thumbnails_of
from datadiet.pages.text import printable


def wrong_labels_sentence(verdict: Mapping[str, Any]) -> str | None:
    """One line for a terminal; None where nothing was looked for.

    >>> found = {"sentence": "About 3 of 90 labels look wrong.", "commands": ["datadiet suspects s.parquet"]}
    >>> wrong_labels_sentence({"suspects": found})
    'About 3 of 90 labels look wrong. The worst are in the report; to go on: datadiet suspects s.parquet'
    """
    found = verdict.get("suspects")
    if not found:
        return None
    commands = found.get("commands") or ()
    following = f" The worst are in the report; to go on: {commands[0]}" if commands else ""
    return printable(f"{found.get('sentence')}", limit=300) + following


def wrong_labels_view(contents: ReportContents) -> dict[str, Any] | None:
    """What the section shows; None for no section."""
    found = contents.verdict.get("suspects")
    if not found:
        return None
    worst = list(found.get("worst") or ())
    shown = {thumbnail.id: thumbnail for thumbnail in thumbnails_of(contents.worst)}
    return {
        "sentence": found.get("sentence"),
        "told": found.get("about") is not None,
        "commands": list(found.get("commands") or ()),
        "worst": [
            {**entry, "seen": shown[entry["id"]], "models": _said(entry)}
            for entry in worst
            if entry["id"] in shown
        ],
    }


def _said(entry: Mapping[str, Any]) -> str | None:
    """How sure the models are of what they say, and how probable the label is to them."""
    if entry.get("say") is None:
        return None
    if entry["say"] == entry["label"]:
        return f"{percent(entry['probability'], 0)}"
    return f"{percent(entry['probability'], 0)}; the label {percent(entry['probability_of_label'], 0)}"
