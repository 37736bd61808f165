"""The ledger of a run: how many examples it took through the model, and where its time went."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Account = Literal["training", "scoring", "loading", "evaluation"]
ACCOUNTS: tuple[Account, ...] = get_args(Account)
METHOD = ACCOUNTS[:3]  # what a training costs; testing it is no part


BEAT = 0.5  # seconds between two beats of the clock that sees a process stopped
STOPPED = 2.0  # so much more than a beat, in which the processor did nothing, is no wait


class _Pulse:
    """Seconds in which this whole process did not run: stopped by a signal, or on a machine that was asleep.

    A thread looks at the clocks every half second. It goes on while others wait for an accelerator, a loader or a
    disk, however long; where it did not come to look for seconds, and the processor did nothing for the process
    meanwhile, the process was stopped.
    """

    def __init__(self) -> None:
        self._lock, self._owner = threading.Lock(), 0
        self._lost = self._wall = self._processor = 0.0

    def lost(self) -> float:
        """Seconds lost so far."""
        with self._lock:
            if self._owner == os.getpid():
                self._look()
            else:  # the first look of this process
                self._owner, self._wall, self._processor = (
                    os.getpid(),
                    time.perf_counter(),
                    time.process_time(),
                )
                threading.Thread(target=self._beat, daemon=True, name="datadiet pulse").start()
            return self._lost

    def _look(self) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        idle = (wall - self._wall) - (processor - self._processor) - BEAT
        if idle > STOPPED:
            self._lost += idle
        self._wall, self._processor = wall, processor

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT)
            with self._lock:
                self._look()


_PULSE = _Pulse()


def _zeros() -> dict[str, float]:
    return dict.fromkeys(ACCOUNTS, 0.0)


@dataclass
class Ledger:
    """Counts and times of one run, over all its interruptions.

    Counts are of the whole job, whatever share of it a process has. Times are this process's: `seconds` on the wall,
    `processor_seconds` of all its threads (not of loader processes), which a busy machine does not stretch. On an
    accelerator, steps are queued: how time divides between accounts is then rough, its sum at ends of epochs is right.
    Time in which the whole process was stopped, by a signal or with the machine, is on no account; waiting for an
    accelerator, a loader or a slow disk is.

    Args:
        forwarded: examples that went forward through the model, in training steps and in passes that only score.
        backwarded: examples that went backward.
        evaluated: test examples that went forward.
        steps: optimiser steps.
        epoch_sizes: examples of each epoch, where a dynamic selector decides that.
        seconds: by account: "training" (steps and what watches them), "scoring" (passes that only score, and
            choosing), "loading" (waiting for batches), "evaluation" (the test part).
        processor_seconds: the same on the processor's clock.

    Example:
        >>> ledger = Ledger(forwarded=10, backwarded=10)
        >>> Ledger.from_dict(ledger.as_dict()) == ledger
        True
    """

    forwarded: int = 0
    backwarded: int = 0
    evaluated: int = 0
    steps: int = 0
    epoch_sizes: list[int] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=_zeros)
    processor_seconds: dict[str, float] = field(default_factory=_zeros)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Look at the clocks; what has passed until now is nobody's."""
        self._lost = _PULSE.lost()
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def lap(self, account: Account) -> float:
        """Put what has passed since the last look on an account; returns these seconds."""
        lost = _PULSE.lost()
        wall, processor = time.perf_counter(), time.process_time()
        passed = max(0.0, wall - self._wall - (lost - self._lost))
        self.seconds[account] += passed
        self.processor_seconds[account] += processor - self._processor
        self._wall, self._processor, self._lost = wall, processor, lost
        return passed

    @property
    def method_seconds(self) -> float:
        """What the training took with all that its method needs: training, scoring and loading."""
        return method_cost(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as in `result.json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Ledger:
        """What `as_dict` gave."""
        clocks = {c: {**_zeros(), **data.get(c, {})} for c in ("seconds", "processor_seconds")}
        return cls(**{**data, "epoch_sizes": list(data.get("epoch_sizes", ())), **clocks})


def method_cost(ledger: Mapping[str, Any], clock: str = "seconds") -> float:
    """Seconds of training, scoring and loading in a ledger as plain data.

    Example:
        >>> method_cost({"seconds": {"training": 2.0, "scoring": 1.0, "loading": 0.5, "evaluation": 9.0}})
        3.5
    """
    return float(sum(ledger[clock].get(account, 0.0) for account in METHOD))
