"""A study of texts with a small pre-trained encoder, at sizes of one's own; prints its rows and claims as Markdown.

    python benchmarks/text_studies.py bert-diet trec6.train.parquet --test trec6.test.parquet --encoder FOLDER \\
        --layers 2 --epochs 2 --lr 2e-4 --batch-size 64 --keep 0.3 --offsets 0.05
    python benchmarks/text_studies.py pool-selection snips.train.parquet --test snips.test.parquet --encoder FOLDER \\
        --layers 2 --epochs 4 --lr 5e-4 --pick 0.05

`datadiet study` does the same at its fixed scales; here every size can be set, to fit the time that there is.
What is trained stays in the workspace: killed, the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from datadiet.foundation.progress import ProgressDisplay
from datadiet.studies.toolbox.protocol import STUDIES, carry_out, open_context
from datadiet.studies.toolbox.scale import SCALES
from reproduce import claims_table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=("bert-diet", "pool-selection", "active-learning"))
    parser.add_argument("source")
    parser.add_argument("--test")
    parser.add_argument("--encoder", required=True, help="folder or hub id of a transformers encoder")
    parser.add_argument("--layers", type=int, help="keep the first so many layers of it")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument(
        "--offsets", type=float, nargs="+", default=[0.05], help="shares of the hardest that go"
    )
    parser.add_argument(
        "--base", type=float, default=0.05, help="labelled share that a pool study begins with"
    )
    parser.add_argument("--pick", type=float, default=0.05, help="share that it adds")
    parser.add_argument("--budget", choices=("steps", "epochs"), default="epochs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    scale = dataclasses.replace(
        SCALES["fast"],
        score_seeds=chosen.seeds,
        retrain_seeds=chosen.seeds,
        keep=chosen.keep,
        offsets=tuple(chosen.offsets),
        base_share=chosen.base,
        pick_share=chosen.pick,
    )
    overrides = {
        "model": chosen.encoder,
        "model_options": {} if chosen.layers is None else {"num_hidden_layers": chosen.layers},
        "epochs": chosen.epochs,
        "lr": chosen.lr,
        "batch_size": chosen.batch_size,
        "budget": chosen.budget,
    }
    loading = {"test": chosen.test, "on_bad_example": "skip"}
    with ProgressDisplay() as display:
        context = open_context(
            chosen.source,
            recipe="finetune",
            workspace=chosen.workspace,
            load_options=loading,
            overrides=overrides,
            display=display,
        )
        context.scale = scale
        folder = chosen.workspace / "studies" / f"{chosen.study}-{context.setup.examples.name}"
        try:
            carry_out(STUDIES[chosen.study], context, folder)
        finally:
            context.close()
    about = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    print(
        f"{about['n_train']:,} training, {about['n_test']:,} test examples; {chosen.layers or 'all'} layers; "
        f"{chosen.epochs:g} epochs; {chosen.seeds} seeds; {about['budget']}; {about['seconds']:.0f} s"
    )
    print(rows_table(pq.read_table(folder / "results.parquet").to_pylist()))
    print(claims_table(json.loads((folder / "claims.json").read_text(encoding="utf-8"))))


def rows_table(rows: list[dict[str, Any]]) -> str:
    """Every row as it is, numbers short."""
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name != "accuracies"]
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    for row in rows:
        cells = [row.get(name) for name in names]
        lines.append(
            "| "
            + " | ".join(f"{c:.4g}" if isinstance(c, float) else "" if c is None else str(c) for c in cells)
            + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
