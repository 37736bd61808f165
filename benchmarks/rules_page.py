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
    found = [json.loads(path.read_text()) for path in chosen.files]
    for one in found:
        print(f"{table(one)}\n")
    if chosen.figure is not None:
        chosen.figure.write_bytes(figure(found))


def table(found: Mapping[str, Any]) -> str:
    """Accuracy of random, and of every rule the difference to it with its interval, in percentage points."""
    rules, fractions = _rules(found), _fractions(found)
    lines = [
        "| keep | random | " + " | ".join(rules) + " |",
        "|" + " --- |" * (len(rules) + 2),
    ]
    for fraction in fractions:
        row = [f"{100 * _cell(found, 'random', fraction)['accuracy'][0]:.1f}"]
        row += [_difference(_cell(found, rule, fraction)["minus_random"]) for rule in rules]
        lines.append(f"| {fraction:g} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def figure(found: Sequence[Mapping[str, Any]]) -> bytes:
    """One panel a data set: how far every rule lies from random, by the fraction that stays."""
    with drawing_style():
        shown, panels = plt.subplots(
            1, len(found), figsize=(3.6 * len(found), 3.4), sharey=True, squeeze=False
        )
        for panel, one in zip(panels[0], found, strict=True):
            fractions = _fractions(one)
            for number, rule in enumerate(_rules(one)):
                cells = [_cell(one, rule, fraction)["minus_random"] for fraction in fractions]
                means, lows, highs = (
                    [max(LOWEST - 5, 100 * cell[part]) for cell in cells] for part in range(3)
                )
                places = [fraction + 0.006 * (number - 4) for fraction in fractions]
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


def _cell(found: Mapping[str, Any], rule: str, fraction: float) -> Mapping[str, Any]:
    return next(cell for cell in found["cells"] if (cell["rule"], cell["keep"]) == (rule, fraction))


def _difference(values: Sequence[float]) -> str:
    mean, low, high = (100 * value for value in values)
    told = f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"**{told}**" if low > 0 else told


if __name__ == "__main__":
    main()
