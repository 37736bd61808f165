"""Time and memory of every rule of selection: 10 million scores, and 1 million embeddings of 128 dimensions.

    python benchmarks/selection.py                 # 10 million scores, the rules that need no embeddings
    python benchmarks/selection.py --embeddings    # 1 million x 128, the rules that need them

Each rule runs in a process of its own, so that its peak of resident memory is its own; "input" is the peak
after the arrays were made and before the rule began, "peak" the one at the end, both of the whole process
with its input.
"cpu s" counts all threads: where it is far below seconds times cores, something else was running.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time

import numpy as np

SCORES = ("hardest", "easiest", "window", "random", "stratified", "dual", "auto")
EMBEDDINGS = ("moderate", "prototypes", "d2", "kcenter", "herding")
FORMS = {"plain": {}, "per class": {"per_class": True}}


def made_embeddings(
    n: int, dimensions: int, labels: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Clusters of 16 inner dimensions each and a little noise, as a trained network's last layer gives."""
    classes, inner = int(labels.max()) + 1, 16
    centres = generator.standard_normal((classes, dimensions))
    axes = generator.standard_normal((classes, inner, dimensions)) / np.sqrt(inner)
    vectors = np.empty((n, dimensions), dtype=np.float32)
    for label in range(classes):
        rows = np.flatnonzero(labels == label)
        noise = 0.1 * generator.standard_normal((len(rows), dimensions))
        vectors[rows] = centres[label] + generator.standard_normal((len(rows), inner)) @ axes[label] + noise
    return vectors


def measure(rule: str, n: int, dimensions: int, keep: float, form: str) -> dict[str, object]:
    """Seconds and peak memory of one rule in this process."""
    from datadiet.selection import rule_card, select

    generator = np.random.default_rng(0)
    card = rule_card(rule)
    labels = generator.integers(0, 100, n)
    data = {"ids": generator.permutation(n), "hardness": generator.beta(2, 5, n), "labels": labels}
    if "trace" in card.needs:
        data["extra"] = {"confidence": generator.random(n)}
    if "embeddings" in card.needs:
        data["embeddings"] = made_embeddings(n, dimensions, labels, generator)
    before = peak()
    start, start_cpu = time.perf_counter(), time.process_time()
    kept = select(**data, keep=keep, rule=rule, **FORMS[form])
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    return {"kept": len(kept), "seconds": seconds, "cpu": cpu, "input": before, "peak": peak()}


def peak() -> float:
    """Largest resident memory of this process so far, in GB."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1e9 if platform.system() == "Darwin" else 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--embeddings", action="store_true", help="the rules that need embeddings")
    parser.add_argument("--n", type=int, help="examples; default 10 million scores or 1 million embeddings")
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--keep", type=float, default=0.3)
    parser.add_argument("--rules", nargs="*", help="only these rules")
    parser.add_argument("--form", choices=list(FORMS), help="only this form")
    parser.add_argument("--timeout", type=float, default=600, help="seconds after which a rule is given up")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    n = options.n or (1_000_000 if options.embeddings else 10_000_000)
    if options.one:
        print(json.dumps(measure(options.one, n, options.dimensions, options.keep, options.form)))
        return
    shape = f"{n:,} x {options.dimensions} embeddings" if options.embeddings else f"{n:,} scores"
    load = os.getloadavg()[0]
    print(f"{shape}, keep {options.keep}, {os.cpu_count()} cores, load {load:.1f}, numpy {np.__version__}")
    print(f"{'rule':<12}{'form':<11}{'seconds':>9}{'cpu s':>8}{'input GB':>10}{'peak GB':>9}")
    forms = [options.form] if options.form else ["plain"] if options.embeddings else list(FORMS)
    for rule in options.rules or (EMBEDDINGS if options.embeddings else SCORES):
        for form in forms:
            command = [sys.executable, __file__, "--one", rule, "--n", str(n), "--keep", str(options.keep)]
            command += ["--dimensions", str(options.dimensions), "--form", form]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=options.timeout, check=True
                )
            except subprocess.TimeoutExpired:
                print(f"{rule:<12}{form:<11} gave up after {options.timeout:.0f} s", flush=True)
                continue
            found = json.loads(done.stdout)
            row = f"{found['seconds']:>9.1f}{found['cpu']:>8.1f}{found['input']:>10.2f}{found['peak']:>9.2f}"
            print(f"{rule:<12}{form:<11}{row}", flush=True)


if __name__ == "__main__":
    main()
