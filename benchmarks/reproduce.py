"""The papers' experiments on CIFAR-10 at a scale that two cores manage, written as a page of the documentation.

    python benchmarks/reproduce.py uoft-cs/cifar10 --examples 10000 --epochs 6 --workspace runs/reproduce

Runs the studies one after another in one workspace, so that what one trained the next one reads, and writes
`reproduction.md` with its figures to `--out`. A killed run goes on where it stopped; a finished one is only written
anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import torch

from datadiet.data import Examples, load
from datadiet.foundation.progress import ProgressDisplay
from datadiet.studies.toolbox.protocol import STUDIES, carry_out, open_context
from datadiet.studies.toolbox.scale import SCALES, Scale

CHOICES = ("keep-fraction", "label-noise", "early-features", "init-correlation", "score-epoch", "window")

# Test accuracy in percent at 70 and 50 % kept: Kirsch 2023, ResNet-18, all of CIFAR-10, 200 epochs, 10 scoring runs.
PUBLISHED_ACCURACY = {
    "random": (94.27, 93.54),
    "el2n": (95.30, 95.22),
    "grand": (95.45, 95.07),
    "grand_init": (93.91, 92.19),
    "input_norm": (94.11, 92.41),
}
NAMES = {
    "full": "all data",
    "random": "random",
    "el2n": "EL2N",
    "grand": "GraNd",
    "forgetting": "forgetting",
    "grand_init": "GraNd at initialisation",
    "input_norm": "norm of the input",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="CIFAR-10: a hub id, or a folder with train.parquet and test.parquet")
    parser.add_argument("--examples", type=int, default=10_000, help="the first so many training images")
    parser.add_argument("--epochs", type=float, default=6.0)
    parser.add_argument("--score-seeds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2, help="retrainings of each subset")
    parser.add_argument("--studies", nargs="+", default=list(CHOICES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workspace", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    scale = dataclasses.replace(
        SCALES["fast"],
        score_seeds=chosen.score_seeds,
        retrain_seeds=chosen.seeds,
        score_shares=(0.0, 0.1, 0.4, 1.0),
        fractions=(0.7, 0.5, 0.3),
        offsets=(0.0, 0.05, 0.2),
    )
    folders = run_studies(chosen, scale)
    page = [introduction(chosen, scale, folders), *(section(folder, chosen.out) for folder in folders)]
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "reproduction.md").write_text("\n".join(page), encoding="utf-8")


def cifar10(source: str, examples: int) -> Examples:
    """The first so many training images and all test images."""
    if Path(source).is_dir():
        files = {part: str(Path(source) / f"{part}.parquet") for part in ("train", "test")}
        parts = datasets.load_dataset("parquet", data_files=files)
    else:
        parts = datasets.load_dataset(source)
    train = parts["train"].select(range(min(examples, len(parts["train"]))))
    return load(datasets.DatasetDict(train=train, test=parts["test"]), name="cifar10")


def run_studies(chosen: argparse.Namespace, scale: Scale) -> list[Path]:
    """Carry the studies out; the folders of their results."""
    with ProgressDisplay() as display:
        context = open_context(
            cifar10(chosen.data, chosen.examples),
            workspace=chosen.workspace,
            overrides={"epochs": chosen.epochs},
            display=display,
        )
        context.scale = scale
        folders = []
        try:
            for name in chosen.studies:
                folder = chosen.workspace / "studies" / name
                before = _about(folder) if (folder / "study.json").exists() else None
                carry_out(STUDIES[name], context, folder)
                folders.append(folder)
                _remember_seconds(folder, before)
        finally:
            context.close()
    return folders


def _about(folder: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    return about


def _remember_seconds(folder: Path, before: dict[str, Any] | None) -> None:
    """Where nothing was trained anew, what the study cost is what it cost the first time."""
    now = _about(folder)
    if before is None or now["runs_trained"]:
        return
    now["seconds"], now["runs_trained"] = before["seconds"], before["runs_trained"]
    (folder / "study.json").write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")


def introduction(chosen: argparse.Namespace, scale: Scale, folders: Sequence[Path]) -> str:
    """What was run, how long it took, and what came of the claims."""
    outcomes: dict[str, list[str]] = {"holds": [], "fails": [], "undecided": []}
    for folder in folders:
        for claim in _claims(folder):
            outcomes[claim["outcome"]].append(f"{_sentence(claim)} (`{folder.name}`)")
    hours = sum(_about(folder)["seconds"] for folder in folders) / 3600
    about = _about(folders[0])
    lists = "\n\n".join(
        f"**{title}**\n\n" + "\n".join(f"- {sentence}" for sentence in outcomes[outcome] or ["nothing"])
        for outcome, title in (
            ("holds", "Held here"),
            ("fails", "Did not hold here"),
            ("undecided", "Cannot be concluded at this scale"),
        )
    )
    return f"""# Reproduction on CIFAR-10

This page is written by `benchmarks/reproduce.py` from its own runs; `make reproduce` remakes it. It took
{hours:.1f} hours on one core of a shared machine (studies share runs: each counts only what it added).

**What it is.** The first {chosen.examples:,} training images of CIFAR-10 and all {about["n_test"]:,} test images;
`{about["recipe"]["model"]}`, the recipe `fast` with {chosen.epochs:g} epochs; scores are means over {scale.score_seeds}
models; every subset is retrained with {scale.retrain_seeds} seeds that no score came from. Same steps: a subset trains
for as many steps as all data.

**What it is not.** The papers train ResNet-18 on all 50,000 images for 200 epochs, score with 10 models and retrain 4
times. {chosen.examples / 50_000:.0%} of the images and {chosen.epochs / 200:.0%} of the epochs leave a network that is
far from having learnt its data, and hardest-first is known to lose where data is scarce; so a claim that fails here may
hold there. {scale.retrain_seeds} retrainings give wide intervals, and claims stay undecided for that reason alone.

## In short

{lists}
"""


def section(folder: Path, out: Path) -> str:
    """A study: its table beside the published figures, its claims, its figure."""
    about = _about(folder)
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    parts = [f"## {folder.name}\n", f"{about['title']} ({about['source_paper']}.)\n"]
    if folder.name == "keep-fraction":
        parts.append(keep_fraction_table(rows))
    elif folder.name in ("score-epoch", "window"):
        parts.append(accuracy_table(rows))
    parts.append(claims_table(_claims(folder)))
    for picture in sorted(folder.glob("*.png")):
        target = out / "figures" / "reproduction" / f"{folder.name}-{picture.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)
        parts.append(f"![{folder.name}: {picture.stem}](figures/reproduction/{folder.name}-{picture.name})\n")
    return "\n".join(parts)


def keep_fraction_table(rows: Sequence[dict[str, Any]]) -> str:
    """Accuracy by score and kept fraction, and the papers' figures where they have them."""
    fractions = sorted({row["keep"] for row in rows if row["score"] != "full"}, reverse=True)
    cells = {(row["score"], row["keep"]): row for row in rows}
    full = cells["full", 1.0]
    lines = [
        f"All data: {_accuracy(full)}. In brackets 95 % intervals; last columns: Kirsch 2023.\n",
        _row(["kept first", *(f"keep {f:g}" for f in fractions), "published 0.7", "published 0.5"]),
        _row(["---"] * (len(fractions) + 3)),
    ]
    for score, name in NAMES.items():
        if (score, fractions[0]) not in cells:
            continue
        published = PUBLISHED_ACCURACY.get(score)
        lines.append(
            _row(
                [
                    name,
                    *(_accuracy(cells[score, f]) for f in fractions),
                    *(["", ""] if published is None else [f"{p:.2f}" for p in published]),
                ]
            )
        )
    return "\n".join(lines) + "\n"


def accuracy_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of a study that retrains, its numbers as percent."""
    hidden = ("accuracy", "low", "high", "accuracies")
    names = [name for name in rows[0] if name not in hidden]
    lines = [_row([*names, "accuracy, %"]), _row(["---"] * (len(names) + 1))]
    for row in rows:
        lines.append(
            _row([*(f"{row[n]:g}" if isinstance(row[n], float) else row[n] for n in names), _accuracy(row)])
        )
    return "\n".join(lines) + "\n"


def claims_table(claims: Sequence[dict[str, Any]]) -> str:
    """Every claim with its measurement, interval, n and outcome."""
    lines = [_row(["claim", "measured", "interval", "n", "outcome"]), _row(["---"] * 5)]
    for claim in claims:
        interval = claim["interval"]
        lines.append(
            _row(
                [
                    _sentence(claim),
                    ""
                    if claim["measured"] is None
                    else f"{claim['measured']:.3f}, claimed {claim['claimed']}",
                    "" if interval is None else f"[{_bound(interval[0])}, {_bound(interval[1])}]",
                    "" if claim["n"] is None else f"{claim['n']} {claim['unit']}",
                    claim["outcome"],
                ]
            )
        )
    level = f"{100 * claims[0]['level']:.1f}" if claims else "95"
    return (
        "\n".join(lines) + f"\n\nIntervals at {level} %, so that all of this study hold together at 95 %.\n"
    )


def _claims(folder: Path) -> list[dict[str, Any]]:
    claims: list[dict[str, Any]] = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    return claims


def _sentence(claim: dict[str, Any]) -> str:
    return str(claim["sentence"]).replace("|", "\\|")


def _bound(value: float | None) -> str:
    return "…" if value is None else f"{value:.3f}"


def _accuracy(row: dict[str, Any]) -> str:
    return f"{100 * row['accuracy']:.2f} [{100 * row['low']:.2f}, {100 * row['high']:.2f}]"


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    main()
