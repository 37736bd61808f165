"""What is measured of a checkpoint, while others work in the same workspace."""

from __future__ import annotations

import threading
from pathlib import Path

from datadiet.engine import points
from datadiet.engine.runs import train_run
from datadiet.engine.workspace import RunFolder


def test_another_process_that_takes_the_run_does_not_remove_what_is_being_written(tiny, monkeypatch) -> None:
    """The next holder of a run sweeps up half-written files; a measurement that is being written is none."""
    step = tiny.step_of(1)
    run = train_run(tiny, 0, record=True, until=step, weights_at=[step])
    really = RunFolder.write
    swept = threading.Event()

    def sweep() -> None:
        with run.folder.locked():
            swept.set()

    def slowly(folder: RunFolder, path: Path, data: bytes) -> None:
        other = threading.Thread(target=sweep)
        other.start()
        assert not swept.wait(0.3)  # it has to wait until the file is there
        really(folder, path, data)
        threads.append(other)

    threads: list[threading.Thread] = []
    monkeypatch.setattr(RunFolder, "write", slowly)
    found = points.measure_points(tiny, run, step)
    for thread in threads:
        thread.join(10)
    assert swept.is_set() and len(found.columns["el2n"]) == len(tiny.examples.train)
