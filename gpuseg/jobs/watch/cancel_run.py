"""End a run that somebody gives up."""

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime

from gpuseg.errors import ConfigError, ResourceError
from gpuseg.io.output.run_folder import CHECKPOINT, LOG, STATUS
from gpuseg.io.storage import wrap_store_errors
from gpuseg.jobs.give_up import give_up
from gpuseg.jobs.submit.launchers import launcher_of
from gpuseg.jobs.submit.registry import JobRecord, later_job
from gpuseg.jobs.watch.current_status import current_status, written_status
from gpuseg.jobs.watch.locate import RunLocation, members_of
from gpuseg.jobs.watch.processes import has_process, interrupt, is_on_this_machine
from gpuseg.run_status import RunState, RunStatus
from gpuseg.runtime.exit_codes import INTERRUPTED

_SECONDS_TO_END, _SECONDS_BETWEEN_LOOKS = 60.0, 0.1
"""How long a run may take to end, and how often it is looked at."""

_TIMES = 6
"""How often a scheduler is told to end a job, meanwhile."""


def cancel_run(run: RunLocation) -> RunStatus:
    """End a run as Ctrl-C does, or its job, and wait until it has ended.

    Of a run that has paused, or was lost, what it has kept for its next attempt is removed.

    Returns
    -------
    RunStatus
        The last status, with the state "cancelled".

    Raises
    ------
    ConfigError
        If it does not run and has kept nothing, or runs on another machine without a scheduler
        that is known here.
    DataError
        If there is no such run.
    ResourceError
        If it does not end.
    """
    status = current_status(run)
    if run.job is not None and not status.state.has_ended and not _has_ended(run.job):
        _cancel_job(run.job)
        for member in members_of(run, "run"):
            _discard(member)
    elif status.state is RunState.RUNNING or _hangs(status):
        _interrupt(run, status)
    elif run.folder.exists(CHECKPOINT) and not (run.job and later_job(run.job)):
        _discard(run)
    else:
        raise _not_running(run, status)
    return status.model_copy(update={"state": RunState.CANCELLED, "exit_code": INTERRUPTED})


def _hangs(status: RunStatus) -> bool:
    """Whether a run that is lost still has its process on this machine."""
    return status.state is RunState.LOST and is_on_this_machine(status) and has_process(status)


def _interrupt(run: RunLocation, status: RunStatus) -> None:
    """End the process of a run.

    Raises
    ------
    ConfigError, ResourceError
    """
    if not is_on_this_machine(status):
        raise ConfigError(
            "cancel.other_machine",
            f"the run is on {status.host}, and this is {socket.gethostname()}",
            value=run.output.shown_url,
            hint=f"cancel it on {status.host}"
            + (f", or its job {status.job_id} of {status.launcher}" if status.job_id else ""),
        )
    try:
        if not interrupt(status):
            raise _not_running(run, current_status(run))
    except PermissionError:
        raise ResourceError(
            "cancel.not_yours",
            f"process {status.pid} belongs to another user",
            hint="ask that user",
        ) from None
    if not _ends(lambda: not has_process(status), _SECONDS_TO_END):
        raise _still_running(f"process {status.pid}")


def _cancel_job(job: JobRecord) -> None:
    """End a job of a scheduler; a task that was just starting may not have got the signal.

    Raises
    ------
    ConfigError, ResourceError
    """
    launcher = launcher_of(job.launcher)
    for _ in range(_TIMES):
        launcher.cancel(job.job_id)
        if _ends(lambda: _has_ended(job), _SECONDS_TO_END / _TIMES):
            return
    raise _still_running(f"job {job.job_id}")


def _has_ended(job: JobRecord) -> bool:
    """Whether a job is over; the same output may have a run that was started by hand since."""
    state = launcher_of(job.launcher).state(job.job_id)
    return state.has_ended or state.state == "unknown"


def _ends(has_ended: Callable[[], bool], seconds: float) -> bool:
    """Wait until a process or a job has ended; return whether it has."""
    last = time.monotonic() + seconds
    while not has_ended():
        if time.monotonic() > last:
            return False
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return True


def _still_running(name: str) -> ResourceError:
    return ResourceError(
        "cancel.still_running",
        f"{name} was told to end, and still runs after {_SECONDS_TO_END:.0f} s",
        hint="look at it with `gpuseg status`, and end it by force",
    )


def _discard(run: RunLocation) -> None:
    """Remove what a run has kept for its next attempt; a submitted one is noted as cancelled.

    Raises
    ------
    ResourceError
    """
    with wrap_store_errors("output", run.output.url):
        status = written_status(run)
        if run.folder.exists(CHECKPOINT):
            give_up(run.output)
        if run.job is None:
            for name in (STATUS, LOG):
                run.folder.remove(name)
            run.folder.remove_if_empty()
        elif status is not None and not status.state.has_ended:
            end = {
                "state": RunState.CANCELLED, "exit_code": INTERRUPTED,
                "heartbeat": datetime.now(UTC),
            }  # fmt: skip
            run.folder.write(STATUS, status.model_copy(update=end).to_bytes())


def _not_running(run: RunLocation, status: RunStatus) -> ConfigError:
    return ConfigError(
        "cancel.not_running",
        f"nothing runs: its state is {status.state}",
        value=run.output.shown_url,
        hint="a published output is a folder that you may remove" if status.exit_code == 0 else "",
    )
