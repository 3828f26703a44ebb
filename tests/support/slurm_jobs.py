"""What the tests of Slurm share: submitting jobs, and waiting until they have come so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpuseg.jobs.submit.base import JobState
from gpuseg.jobs.submit.launchers import launcher_of
from gpuseg.jobs.submit.prepare import prepare
from gpuseg.jobs.submit.registry import JobRecord
from gpuseg.jobs.submit.submit_job import submit_job
from gpuseg.jobs.submit.wait_for import wait_for
from gpuseg.runtime.journal.executor import Entry
from gpuseg.runtime.journal.frames import frames_of
from gpuseg.runtime.record_pickle import loads

TWO_NODES = {"nodes": 2, "cpus": 1, "partition": "low"}


def submitted(values: dict[str, Any], **submit: Any) -> JobRecord:
    """Submit a job to two nodes."""
    launcher = launcher_of("slurm")
    return submit_job(prepare({**values, "submit": {**TWO_NODES, **submit}}, launcher), launcher)


def ended(record: JobRecord) -> JobState:
    """Return the last state of a job."""
    return wait_for(record, launcher_of("slurm"))


def log_of(record: JobRecord) -> str:
    """Return what a job has printed."""
    return (Path(record.folder) / "output.txt").read_text()


def wait_until(is_so: Callable[[], Any], what: str, seconds: float = 60) -> None:
    """Wait for something that must come."""
    limit = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < limit, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)


def recorded(output: Path) -> list[str]:
    """Return the names of the functions whose calls the checkpoint of an output has."""
    journal = output.parent / f".{output.name}._run/checkpoint/journal"
    if not journal.exists():
        return []
    with journal.open("rb") as file:
        entries: list[Entry] = [entry for frame in frames_of(file) for entry in loads(frame)]
    return [entry.function.rpartition(".")[2] for entry in entries]


def wait_for_passes(output: Path, count: int) -> None:
    """Wait until the fit of a run has made so many passes; its status tells it too rarely."""
    wait_until(lambda: recorded(output).count("lloyd_pass") >= count, f"{count} passes", 120)
