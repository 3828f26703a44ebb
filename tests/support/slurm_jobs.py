"""What the tests of Slurm share: submitting jobs, and waiting until they have come so far."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpuseg.jobs.submit.base import JobState
from gpuseg.jobs.submit.launchers import launcher_of
from gpuseg.jobs.submit.prepare import prepare
from gpuseg.jobs.submit.registry import JobRecord
from gpuseg.jobs.submit.submit_job import submit_job
from gpuseg.jobs.submit.wait_for import wait_for

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


def status_of(record: JobRecord) -> dict[str, Any]:
    """Return the status that a run has written; empty if it has not."""
    with suppress(FileNotFoundError):
        status: dict[str, Any] = json.loads((Path(record.folder) / "status.json").read_text())
        return status
    return {}


def wait_until(is_so: Callable[[], Any], what: str, seconds: float = 60) -> None:
    """Wait for something that must come."""
    limit = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < limit, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)


def wait_for_passes(record: JobRecord, count: int) -> None:
    """Wait until the fit of a run has made so many passes."""
    wait_until(
        lambda: status_of(record).get("stage") == "fit"
        and (status_of(record).get("n_pass") or 0) >= count,
        f"{count} passes", 120,
    )  # fmt: skip
