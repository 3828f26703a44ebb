"""The log of a run, as it is now or until the run ends."""

import codecs
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from gpuseg.errors import ConfigError, DataError, ResourceError
from gpuseg.io.output.run_folder import LOG
from gpuseg.io.storage import wrap_store_errors
from gpuseg.jobs.run_log import exit_code_of
from gpuseg.jobs.submit.launchers import launcher_of
from gpuseg.jobs.watch.current_status import current_status
from gpuseg.jobs.watch.locate import RunLocation
from gpuseg.run_status import RunState, RunStatus
from gpuseg.runtime.exit_codes import INTERRUPTED, PAUSED

_SECONDS, _SECONDS_ON_A_STORE = 0.5, 5.0
"""Time between two looks."""

_TAIL = 4096
"""Characters that are kept to read the last line."""

_CODES = {RunState.SUCCEEDED: 0, RunState.PAUSED: PAUSED, RunState.CANCELLED: INTERRUPTED}
"""Exit codes of runs whose status has none."""


@runtime_checkable
class PrintsLogs(Protocol):
    """A scheduler that keeps what jobs print, since it is in no file that this machine sees."""

    def logs(self, job_id: str, *, follow: bool = False) -> Iterator[str]:
        """Yield the lines that a job has printed, or prints until it ends."""
        ...


class LogTail:
    """Reads what is new in the log of a run: all that a job printed, or the run's log.

    An open file of this machine can still be read when the run folder is gone.
    """

    def __init__(self, run: RunLocation) -> None:
        self._run = run
        self._handle = -1
        self._position = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.last = ""

    def read(self) -> str:
        """Return what was added since the last call."""
        content = self._read_local() if self._has_file() else self._read_object()
        text = self._decoder.decode(content)
        self.last = (self.last + text)[-_TAIL:]
        return text

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _has_file(self) -> bool:
        return self._handle >= 0 or self._run.printed is not None or self._run.folder.is_local

    def _read_local(self) -> bytes:
        if self._handle < 0:
            path = self._run.printed or Path(self._run.folder.file(LOG))
            try:
                self._handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
        parts = []
        while part := os.read(self._handle, 2**16):
            parts.append(part)
        return b"".join(parts)

    def _read_object(self) -> bytes:
        content = (self._run.folder.read(LOG) or b"")[self._position :]
        self._position += len(content)
        return content


def follow_log(run: RunLocation, show: Callable[[str], None]) -> int:
    """Show the log of a run until it ends, and return its exit code.

    Raises
    ------
    ConfigError
        If these are the runs of an array.
    DataError
        If there is no such run.
    ResourceError
        If the run is lost, or has ended without saying how.
    """
    _refuse_array(run)
    seconds = _SECONDS if run.folder.is_local else _SECONDS_ON_A_STORE
    tail, seen = LogTail(run), None
    try:
        for line in _scheduler_log(run, follow=True):
            show(line)
        while True:
            with wrap_store_errors("output", run.output.url):
                status = _status_or_none(run, seen)
                _show_new(tail, show)
            if status is None or (seen is not None and status.run_id != seen.run_id):
                return _code_of_log(run, tail)
            if (code := _code_of(status)) is not None:
                return code
            seen = status if status.run_id else seen
            time.sleep(seconds)
    finally:
        tail.close()


def log_text(run: RunLocation) -> str:
    """Return the log as it is now.

    Raises
    ------
    ConfigError
        If these are the runs of an array.
    DataError
        If there is none.
    """
    _refuse_array(run)
    tail = LogTail(run)
    try:
        with wrap_store_errors("output", run.output.url):
            content = "".join(_scheduler_log(run)) or tail.read()
    finally:
        tail.close()
    if not content:
        raise DataError(
            "logs.none",
            "there is no log",
            value=run.output.shown_url,
            rule="a run has one while it runs; that of a submitted job is kept",
            hint="`gpuseg status` says what is known of it",
        )
    return content


def _scheduler_log(run: RunLocation, *, follow: bool = False) -> Iterator[str]:
    """Yield the lines of a job whose scheduler keeps them; none of another one.

    Raises
    ------
    ResourceError
        If the scheduler does not answer.
    """
    if run.job is None or run.printed is not None:
        return
    launcher = launcher_of(run.job.launcher)
    if isinstance(launcher, PrintsLogs) and launcher.state(run.job.job_id).state != "unknown":
        yield from launcher.logs(run.job.job_id, follow=follow)


def _refuse_array(run: RunLocation) -> None:
    """Refuse an array, whose runs have a log each.

    Raises
    ------
    ConfigError
    """
    if run.job is not None and run.job.members:
        raise ConfigError(
            "logs.of_array", "each job of an array has its log", value=run.job.job_id,
            hint=f"give the id of one of them, such as {run.job.members[0]}",
        )  # fmt: skip


def _show_new(tail: LogTail, show: Callable[[str], None]) -> None:
    if text := tail.read():
        show(text)


def _status_or_none(run: RunLocation, seen: RunStatus | None) -> RunStatus | None:
    """Return the status; None if the run that was seen has left nothing."""
    try:
        return current_status(run)
    except DataError as error:
        if seen is None or error.code != "status.no_run":
            raise
        return None


def _code_of(status: RunStatus) -> int | None:
    """Return the exit code of a run that has ended; None while it runs or waits.

    Raises
    ------
    ResourceError
        If it is lost.
    """
    if status.state is RunState.LOST:
        raise ResourceError(
            "run.lost",
            f"the run on {status.host} is lost: it has not ended, and no longer runs",
            hint="the same command goes on from its checkpoint",
        )
    if status.state in (RunState.QUEUED, RunState.RUNNING):
        return None
    return _CODES.get(status.state, 1) if status.exit_code is None else status.exit_code


def _code_of_log(run: RunLocation, tail: LogTail) -> int:
    """Return the exit code of a run that has left nothing, by the last line of its log.

    Raises
    ------
    ResourceError
        If the log does not say it.
    """
    code = exit_code_of(tail.last)
    if code is None:
        raise ResourceError(
            "run.ended_unseen",
            "the run has ended and left no output; its log does not say why",
            value=run.output.shown_url,
            hint="look at what its command printed",
        )
    return code
