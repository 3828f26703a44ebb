"""Wait for the end of a submitted job."""

import json
import time
from contextlib import suppress
from pathlib import Path

from gpuseg.jobs.submit.base import JobLauncher, JobState, ended_with
from gpuseg.jobs.submit.registry import JobRecord

_FIRST_SECONDS, _MOST_SECONDS = 0.5, 15.0
"""Between two questions to a scheduler: it has other users too."""


def wait_for(record: JobRecord, launcher: JobLauncher) -> JobState:
    """Return the last state of a job: it has an exit code.

    Raises
    ------
    ResourceError
        If the scheduler does not answer.
    """
    pause = _FIRST_SECONDS
    while True:
        state = launcher.state(record.job_id)
        if state.state == "unknown":
            return _as_recorded(record)
        if state.has_ended:
            return _published(record, state) or state
        time.sleep(pause)
        pause = min(pause * 1.1, _MOST_SECONDS)


def _as_recorded(record: JobRecord) -> JobState:
    """Return what the run itself has written down, where the scheduler has forgotten it."""
    code = _written_code(record)
    if code is not None:
        return JobState(ended_with(code), code)
    return JobState("failed", 4, "the scheduler has forgotten the job, and it wrote no result")


def _published(record: JobRecord, state: JobState) -> JobState | None:
    """Return success if the run has published its output, whatever happened to the job then.

    A node may be lost when the rest of the run no longer needs it.
    """
    if state.exit_code and _written_code(record) == 0:
        return JobState(ended_with(0), 0, f"the output is published; the job: {state.reason}")
    return None


def _written_code(record: JobRecord) -> int | None:
    """Return the exit code that the run of a job has written down; None if there is none."""
    with suppress(OSError, ValueError):
        status = json.loads((Path(record.folder) / "status.json").read_text())
        code = status.get("exit_code")
        job_id = str(status.get("job_id") or record.job_id)
        # The jobs of an array have the id of the array, and a number after "_".
        if isinstance(code, int) and job_id.split("_")[0] == record.job_id.split("_")[0]:
            return code
    return None
