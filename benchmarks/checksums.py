"""What checking costs: the share of `datadiet run digits` that goes into checksums and manifests, twice in a row.

    python benchmarks/checksums.py [--repeat 3] [run digits ...]

Each command is a process of its own on a fresh workspace, then once more on the finished one. Within it, the time in
the functions that take checksums and read and write manifests is added up, on the clock of the thread that does it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WATCHED = {
    "datadiet.engine.workspace": ("checksum", "checksum_of"),
    "datadiet.engine.workspace.RunFolder": ("_manifest", "_write_manifest"),
    "datadiet.foundation.outputs": ("checksum",),
    "datadiet.foundation.outputs.ResultsFolder": ("manifest",),
    "datadiet.foundation.tables": ("_checksum",),
}


def watched_command(arguments: list[str]) -> None:
    """Run a command in this process; its last line on standard error says what it took."""
    from importlib import import_module

    spent, depth = 0.0, 0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **named: Any) -> Any:
            nonlocal spent, depth
            depth += 1
            begin = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                depth -= 1
                spent += time.perf_counter() - begin if depth == 0 else 0.0

        return wrapped

    for place, names in WATCHED.items():
        module, _, kind = place.rpartition(".") if place.rpartition(".")[2][0].isupper() else (place, "", "")
        owner = getattr(import_module(module), kind) if kind else import_module(module)
        for name in names:
            setattr(owner, name, timed(getattr(owner, name)))
    from datadiet.cli import app

    begin, processor = time.perf_counter(), time.process_time()
    app(arguments, standalone_mode=False)
    seconds = {"wall": time.perf_counter() - begin, "processor": time.process_time() - processor}
    print(json.dumps({**seconds, "checks": spent}), file=sys.stderr)


def measure(arguments: list[str], folder: str) -> dict[str, float]:
    """Seconds of one command in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--watched", *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, env=os.environ)
    return json.loads(done.stderr.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("arguments", nargs="*", default=["run", "digits"])
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"first": [], "second": []}
    for _ in range(options.repeat):
        with tempfile.TemporaryDirectory() as folder:
            for name in found:
                found[name].append(measure(options.arguments, folder))
    for name, rows in found.items():
        wall, processor, checks = (
            statistics.median(row[key] for row in rows) for key in ("wall", "processor", "checks")
        )
        print(
            f"{name:7} {wall:7.2f} s, of the processor {processor:7.2f} s; checks {1000 * checks:6.1f} ms, "
            f"{checks / wall:.2%}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watched"]:
        watched_command(sys.argv[2:])
    else:
        main()
