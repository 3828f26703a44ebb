"""The exit code of a run of several tasks, one of which was killed: the script of a job asks.

The run may have gone on without that task, or have ended for another reason.
"""

import sys

from gpuseg.errors import GpusegError
from gpuseg.io.output.run_folder import STATUS, RunFolder
from gpuseg.jobs.job_file import load_job
from gpuseg.jobs.run_sections import output_storage
from gpuseg.run_status import parse_status

LOST = 4
"""Exit code of a run that has not said how it ended."""


def run_exit_code(job_file: str, started: float) -> int:
    """Return the exit code that a run has written to its status since a time, in s; else 4."""
    try:
        folder = RunFolder(output_storage(load_job(job_file)))
        content = folder.read(STATUS)
        status = None if content is None else parse_status(content, folder.file(STATUS))
    except (GpusegError, OSError):
        return LOST
    if status is None or status.exit_code is None or status.heartbeat is None:
        return LOST
    return status.exit_code if status.heartbeat.timestamp() >= started else LOST


if __name__ == "__main__":
    sys.exit(run_exit_code(sys.argv[1], float(sys.argv[2])))
