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
            return state
        time.sleep(pause)
        pause = min(pause * 1.1, _MOST_SECONDS)


def _as_recorded(record: JobRecord) -> JobState:
    """Return what the run itself has written down, where the scheduler has forgotten it."""
    with suppress(OSError, ValueError):
        status = json.loads((Path(record.folder) / "status.json").read_text())
        code = status.get("exit_code")
        if isinstance(code, int):
            return JobState(ended_with(code), code)
    return JobState("failed", 4, "the scheduler has forgotten the job, and it wrote no result")
