"""A process with everything imported, which runs commands in forks of itself, several at once, each with a fault.

Reads a request a line, JSON: `{"folder": where, "commands": [{"arguments": [...], "fault": ..., "at": n}, ...]}`.
Answers with a line, JSON, an outcome a command. The fault comes at the n-th change that the package makes on disk:

- "kill": the process is killed;
- "full": this and every later write finds the disk full;
- "pause": the process is stopped for a moment, so that others overtake it;
- None: nothing.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import pkgutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import datadiet
from datadiet.foundation import atomic

PAUSE = 1.5
LIMIT = 120  # seconds that commands may take together


def child(command: dict[str, Any], folder: str, places: dict[str, Path]) -> None:
    """Run one command to its end, in a process of its own."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(places[name], os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    log = os.open(places["changes"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fault, at, count = command.get("fault"), command.get("at", 0), 0

    def touching(change: str, path: Path) -> None:
        nonlocal count
        count += 1
        os.write(log, (json.dumps([change, str(path)]) + "\n").encode())
        if fault == "kill" and count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "full" and count >= at and change == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if fault == "pause" and count == at:
            time.sleep(PAUSE)

    atomic.touching = touching
    if command.get("audit"):
        audit(folder, os.open(places["audit"], os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    sys.argv = ["datadiet", *command["arguments"]]
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8")
    status = 1
    try:
        from datadiet.cli import main

        main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def audit(folder: str, log: int) -> None:
    """Write down what Python itself changes on disk in the folder from now on."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        changed: tuple[Any, ...] = ()
        if event == "open" and isinstance(arguments[2], int):
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            changed = arguments[:1] if writes and not arguments[2] & os.O_DIRECTORY else ()
        elif (
            event in ("os.rename", "os.remove", "os.rmdir") and arguments[-1] == -1
        ):  # no part of a deleted folder
            changed = arguments[:2] if event == "os.rename" else arguments[:1]
        for path in changed:
            if isinstance(path, str | bytes | os.PathLike) and not os.fsdecode(path).startswith("/dev/"):
                real = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - no look at the disk in here
                if real.startswith(folder):
                    os.write(log, (json.dumps([event, real]) + "\n").encode())

    sys.addaudithook(hook)


def run(request: dict[str, Any]) -> list[dict[str, Any]]:
    """All commands of a request, at once."""
    with tempfile.TemporaryDirectory() as scratch:
        started = []
        for index, command in enumerate(request["commands"]):
            places = {
                name: Path(scratch) / f"{index}.{name}" for name in ("stdout", "stderr", "changes", "audit")
            }
            number = os.fork()
            if number == 0:
                child(command, request["folder"], places)
            started.append((number, places))
        outcomes, end = [], time.monotonic() + LIMIT
        for number, places in started:
            done, status = os.waitpid(number, os.WNOHANG)
            while not done and time.monotonic() < end:
                time.sleep(0.005)
                done, status = os.waitpid(number, os.WNOHANG)
            if not done:
                os.kill(number, signal.SIGKILL)
                _, status = os.waitpid(number, 0)
            text = {n: p.read_text(errors="replace") if p.exists() else "" for n, p in places.items()}
            outcomes.append(
                {
                    "status": os.waitstatus_to_exitcode(status) if done else "too long",
                    "stdout": text["stdout"],
                    "stderr": text["stderr"],
                    "changes": [json.loads(line) for line in text["changes"].splitlines()],
                    "audit": [json.loads(line) for line in text["audit"].splitlines()],
                }
            )
        return outcomes


def main() -> None:
    """Import everything once, then serve."""
    torch.set_num_threads(1)
    for found in pkgutil.walk_packages(datadiet.__path__, "datadiet."):
        if not found.name.startswith(("datadiet.integrations", "datadiet.cli.__main__")):
            importlib.import_module(found.name)
    for name in ("optuna", "matplotlib.pyplot", "sklearn.linear_model", "torch.optim.lr_scheduler"):
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
