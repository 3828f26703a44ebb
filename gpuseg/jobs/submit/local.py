"""Jobs on this machine, for trying: a script starts the tasks in the background."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil

from gpuseg.errors import ConfigError, ResourceError
from gpuseg.jobs.submit.base import JobState, Submission, ended_with
from gpuseg.jobs.submit.local_script import exit_code_file, local_script
from gpuseg.jobs.submit.registry import records_of
from gpuseg.runtime.executor import available_cpus

_BASH = "/bin/bash"


class LocalLauncher:
    """Processes of this machine; see `JobLauncher`.

    The id of a job has the id of the process of its script, and when that was started.
    """

    name = "local"
    script_name = "submit.sh"
    runs_elsewhere = False
    keys = frozenset({"tasks", "cpus", "memory", "time", "gpus", "setup", "environment", "python"})

    def check(self, submission: Submission) -> None:
        """Refuse more tasks than this machine has CPUs for."""
        if submission.resources.tasks > (limit := 4 * available_cpus()):
            raise ConfigError(
                "submit.too_many_tasks_here", value=submission.resources.tasks,
                parameter="submit.tasks", rule=f"at most {limit} on this machine",
            )  # fmt: skip

    def render(self, submission: Submission) -> str:
        """Return the script."""
        return local_script(submission)

    def submit(self, submission: Submission, script: Path) -> str:
        """Start the script in a session of its own."""
        log = submission.folder / "output.txt"
        try:
            pid = os.posix_spawn(
                _BASH, [_BASH, str(script)], os.environ, setsid=True,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
            )  # fmt: skip
        except OSError as error:
            raise ResourceError(
                "submit.not_started", f"the job cannot be started ({error.strerror})"
            ) from None
        return f"{pid}-{_started(pid)}"

    def state(self, job_id: str) -> JobState:
        """Return whether the script runs, and else the exit code that it wrote.

        The jobs of an array run one after the other; one that has no exit code yet is queued, or
        runs, as its status says.
        """
        script, _, number = job_id.partition("_")
        records = [record for record in records_of(job_id) if record.launcher == self.name]
        if _is_running(script) and not number:
            return JobState("running")
        for record in records:
            with suppress(OSError, ValueError):
                code = int(exit_code_file(Path(record.folder), script).read_text())
                return JobState(ended_with(code), code)
            if _is_running(script):
                return JobState("queued")
            if not Path(record.folder).exists():
                return JobState("unknown")
            whole = self.state(script) if number else None
            if whole is not None and whole.state == "cancelled":  # before this one had begun
                return whole
            return JobState("failed", 4, "its script was killed, or could not write its exit code")
        return JobState("unknown")

    def cancel(self, job_id: str) -> None:
        """Send SIGINT, which the script passes on to the tasks: they give up.

        Raises
        ------
        ConfigError
            For one job of an array: the script is that of all.
        """
        script, _, number = job_id.partition("_")
        if number and _is_running(script):
            raise ConfigError(
                "cancel.part_of_array", "the jobs of an array on this machine end together",
                value=job_id, hint=f"cancel {script}",
            )  # fmt: skip
        if _is_running(job_id):
            with suppress(ProcessLookupError):
                os.kill(int(job_id.partition("-")[0]), signal.SIGINT)


def _started(pid: int) -> int:
    """Return when a process was started, in ms: ids of processes are used again."""
    return int(psutil.Process(pid).create_time() * 1000)


def _is_running(job_id: str) -> bool:
    pid, _, started = job_id.partition("-")
    if not pid.isdigit() or not started.isdigit():
        return False
    try:
        process = psutil.Process(int(pid))
        is_same = abs(_started(int(pid)) - int(started)) < 1000
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
