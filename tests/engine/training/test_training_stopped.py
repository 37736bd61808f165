"""Time in which a process was stopped is on no account of its ledger; waiting is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

LAPS = """
import json, sys, time
from datadiet.engine.training.ledger import Ledger
ledger = Ledger()
print("begun", flush=True)
end = time.perf_counter() + float(sys.argv[1])
while time.perf_counter() < end:
    time.sleep(0.05)
    ledger.lap("training")
time.sleep(float(sys.argv[2]))
ledger.lap("loading")
print(json.dumps(ledger.seconds))
"""


def seconds_of(looping: float, waiting: float, stopped: float) -> dict[str, float]:
    arguments = [sys.executable, "-c", LAPS, str(looping), str(waiting)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        if stopped:
            time.sleep(0.2)
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(stopped)
            os.kill(process.pid, signal.SIGCONT)
        return json.loads(process.stdout.read())


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no signal stops a process here")
@pytest.mark.slow
def test_a_process_that_was_stopped_counts_only_what_it_ran() -> None:
    seconds = seconds_of(looping=1.0, waiting=0.0, stopped=6.0)
    assert seconds["training"] < 2.0


@pytest.mark.slow
def test_a_wait_of_seconds_is_counted() -> None:
    assert seconds_of(looping=0.1, waiting=4.0, stopped=0.0)["loading"] == pytest.approx(4.0, abs=0.9)
