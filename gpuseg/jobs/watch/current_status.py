"""The status of a run: what it wrote itself, what its scheduler says, or its manifest."""

from collections.abc import Mapping
from typing import Any

from gpuseg.errors import DataError
from gpuseg.io.output.run_folder import STATUS
from gpuseg.io.storage import wrap_store_errors
from gpuseg.jobs.submit.base import JobState
from gpuseg.jobs.submit.launchers import launcher_of
from gpuseg.jobs.submit.registry import JobRecord, later_job
from gpuseg.jobs.watch.locate import RunLocation
from gpuseg.jobs.watch.processes import TOLERANCE, has_process, is_on_this_machine
from gpuseg.manifest import read_content
from gpuseg.run_status import RunError, RunState, RunStatus, parse_status
from gpuseg.strict_json import parse_json

_PAUSED = 75
"""Exit code of a run that has paused."""

_JOB_FAILED = "submit.job_failed"
"""Code of the error of a run that has not said itself why it ended."""

_LOOKS = 2
"""How often the status is read where its process has just ended: it may have left another one."""


def current_status(run: RunLocation) -> RunStatus:
    """Return the status of a run.

    Raises
    ------
    DataError
        If there is no such run, or its status cannot be understood.
    ResourceError
        If its scheduler, or the file system of its output, does not answer.
    """
    with wrap_store_errors("output", run.output.url):
        written = None
        for _ in range(_LOOKS):
            written = written_status(run)
            if written is None or written.state is not RunState.RUNNING or is_alive(written):
                break
    if written is not None and (written.state.has_ended or _is_running(written)):
        return written
    if run.job is not None:
        return _with_scheduler(run, run.job, written)
    if written is None:
        return _of_manifest(run)
    return written.model_copy(update={"state": RunState.LOST}) if _was_running(written) else written


def written_status(run: RunLocation) -> RunStatus | None:
    """Return the status in the run folder; None if there is none, or one of another job.

    Raises
    ------
    DataError, ResourceError, OSError
    """
    content = run.folder.read(STATUS)
    if content is None:
        return None
    status = parse_status(content, run.folder.file(STATUS))
    job = run.job
    if job is None:
        return status
    if status.heartbeat and status.heartbeat < job.submitted:
        return None
    if status.job_id not in (None, job.job_id):
        return None
    if status.job_id is None and _is_of_later_job(status, job):
        return None
    return status.model_copy(update={"launcher": job.launcher, "job_id": job.job_id})


def _is_of_later_job(status: RunStatus, job: JobRecord) -> bool:
    """Whether a run that does not know its job has its process from a later one of its output.

    The start of the run does not tell: it may have begun in the first job, and go on in the other.
    """
    later = later_job(job)
    if later is None or status.process_started is None:
        return False
    return status.process_started + TOLERANCE >= later.submitted.timestamp()


def is_alive(status: RunStatus) -> bool:
    """Whether a run that says that it runs is seen to do so."""
    is_here = is_on_this_machine(status)
    return not status.is_silent() and (not is_here or has_process(status))


def _was_running(status: RunStatus) -> bool:
    return status.state is RunState.RUNNING


def _is_running(status: RunStatus) -> bool:
    return _was_running(status) and is_alive(status)


def _with_scheduler(run: RunLocation, job: JobRecord, written: RunStatus | None) -> RunStatus:
    """Return the status of a submitted run that has not said itself how it is."""
    job_state = launcher_of(job.launcher).state(job.job_id)
    base = written or RunStatus(
        state=RunState.QUEUED, output=job.output, launcher=job.launcher, job_id=job.job_id
    )
    if job_state.state == "unknown":
        if written is None:
            return _of_manifest(run)
        return base.model_copy(update={"state": RunState.LOST}) if _was_running(base) else base
    return base.model_copy(update=_changes(job_state, base))


def _changes(job: JobState, base: RunStatus) -> Mapping[str, Any]:
    """Return the fields that a scheduler knows better."""
    if job.state == "running":  # one that is silent has lost its driver, or never had one
        return {"state": RunState.LOST if base.is_silent() else RunState.RUNNING}
    if not job.has_ended:
        return {"state": RunState.QUEUED}
    state = RunState.PAUSED if job.exit_code == _PAUSED else RunState(job.state)
    changes: dict[str, Any] = {"state": state, "exit_code": job.exit_code}
    if state is RunState.FAILED and base.error is None and job.reason:
        changes["error"] = RunError(code=_JOB_FAILED, text=job.reason)
    return changes


def _of_manifest(run: RunLocation) -> RunStatus:
    """Return the status of a run that has published its output.

    Raises
    ------
    DataError
    """
    try:
        content = parse_json(read_content(run.output), allow_surrogates=True)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            "status.no_run",
            "there is no run, and no output of one",
            value=run.output.shown_url,
            hint="give the output of a job, or the id that `gpuseg submit` printed",
        ) from None
    except ValueError as error:
        raise DataError(
            "manifest.not_json", f"its manifest is damaged ({error})",
            value=run.output.shown_url, hint="run the job again",
        ) from None  # fmt: skip
    known = content if isinstance(content, dict) else {}
    rows = known["input"].get("rows") if isinstance(known.get("input"), dict) else None
    values = {
        "state": RunState.SUCCEEDED, "run_id": known.get("run_id"), "rows": rows,
        "started": known.get("started"), "exit_code": 0, "output": run.output.shown_url,
    }  # fmt: skip
    return RunStatus.from_json(values)
