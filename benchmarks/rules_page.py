"""Tables and the figure of docs/selection.md from what `rules.py` wrote.

python benchmarks/rules_page.py benchmarks/results/rules/*.json --figure docs/figures/rules.png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

from datadiet.pages.report.canvas import as_png, drawing_style

LOWEST = -12.0  # points below random at which the axis ends


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--figure", type=Path)
    chosen = parser.parse_args()
    found = merged([json.loads(path.read_text()) for path in chosen.files])
    for one in found:
        print(f"{table(one)}\n")
    if chosen.figure is not None:
        chosen.figure.write_bytes(figure(found))


def merged(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry a data set: the fractions of several files of the same data put together, the largest first."""
    by_data: dict[str, dict[str, Any]] = {}
    for one in found:
        entry = by_data.setdefault(one["data"], {**one, "cells": []})
        entry["cells"] = sorted([*entry["cells"], *one["cells"]], key=lambda cell: -cell["keep"])
    return list(by_data.values())


def table(found: Mapping[str, Any]) -> str:
    """Accuracy of random, and of every rule the difference to it with its interval, in percentage points."""
    rules, fractions = _rules(found), _fractions(found)
    lines = [
        "| keep | random | " + " | ".join(rules) + " |",
        "|" + " --- |" * (len(rules) + 2),
    ]
    for fraction in fractions:
        random, *others = (_cell(found, rule, fraction) for rule in ("random", *rules))
        assert random is not None
        row = [f"{100 * random['accuracy'][0]:.1f}"]
        row += ["" if cell is None else _difference(cell["minus_random"]) for cell in others]
        lines.append(f"| {fraction:g} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def figure(found: Sequence[Mapping[str, Any]]) -> bytes:
    """One panel a data set: how far every rule lies from random, by the fraction that stays."""
    rules = list(dict.fromkeys(rule for one in found for rule in _rules(one)))
    with drawing_style():
        shown, panels = plt.subplots(
            1, len(found), figsize=(3.6 * len(found), 3.4), sharey=True, squeeze=False
        )
        for panel, one in zip(panels[0], found, strict=True):
            for number, rule in enumerate(rules):
                cells = [cell for fraction in _fractions(one) if (cell := _cell(one, rule, fraction))]
                means, lows, highs = (
                    [max(LOWEST - 5, 100 * cell["minus_random"][part]) for cell in cells] for part in range(3)
                )
                places = [cell["keep"] + 0.006 * (number - 4) for cell in cells]
                errors = [
                    [max(0.0, mean - low) for mean, low in zip(means, lows, strict=True)],
                    [max(0.0, high - mean) for mean, high in zip(means, highs, strict=True)],
                ]
                panel.errorbar(
                    places, means, errors, label=rule, linewidth=1.2, elinewidth=0.6, color=f"C{number}"
                )
            panel.axhline(0, color="0.4", linewidth=0.8, linestyle="--")
            panel.set_title(f"{one['data']}, n = {one['n']:,}, {one['seeds']} seeds", fontsize=9)
            panel.set_xlabel("kept fraction")
            panel.set_ylim(LOWEST, 4)
        panels[0][0].set_ylabel("accuracy minus random's, points")
        panels[0][-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))
        shown.tight_layout()
        return as_png(shown)


def _rules(found: Mapping[str, Any]) -> list[str]:
    return [rule for rule in dict.fromkeys(cell["rule"] for cell in found["cells"]) if rule != "random"]


def _fractions(found: Mapping[str, Any]) -> list[float]:
    return list(dict.fromkeys(cell["keep"] for cell in found["cells"]))


def _cell(found: Mapping[str, Any], rule: str, fraction: float) -> Mapping[str, Any] | None:
    there = (cell for cell in found["cells"] if (cell["rule"], cell["keep"]) == (rule, fraction))
    return next(there, None)


def _difference(values: Sequence[float]) -> str:
    mean, low, high = (100 * value for value in values)
    told = f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"**{told}**" if low > 0 else told


if __name__ == "__main__":
    main()
