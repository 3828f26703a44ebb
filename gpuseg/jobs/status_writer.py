"""Write the status and the log of a run to its run folder, every few seconds, in a thread."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from typing import Any

import psutil

from gpuseg.errors import DataError, GpusegError
from gpuseg.io.library_errors import first_line
from gpuseg.io.output.run_folder import LOG, STATUS, SUBMISSION, RunFolder
from gpuseg.io.storage import store_errors
from gpuseg.jobs.launcher_job import LauncherJob
from gpuseg.jobs.run_log import RunLog, end_line
from gpuseg.printable import printable, shortened
from gpuseg.progress import Progress
from gpuseg.redaction import redacted, without
from gpuseg.run_status import RunError, RunState, RunStatus, parse_status
from gpuseg.runtime.exit_codes import INTERRUPTED, PAUSED
from gpuseg.runtime.forced_end import remove_if_forced
from gpuseg.runtime.interrupts import Interrupted, is_paused

_SECONDS, _SECONDS_ON_A_STORE = 2.0, 10.0
"""Time between two heartbeats; on an object store each is a request."""

JOB_FILE = "job.toml"
"""The job of a submitted run, in its folder; it is there before the record of the submission."""

_UNHANDLED = 1
"""Exit code of Python for an error that nobody handles."""

_PASSES, _ROWS = "passes", ("rows", "rows swept")
"""Units of stages that the status shows as passes, and as rows."""


@dataclass(frozen=True)
class Watched:
    """The run whose status is written.

    Attributes
    ----------
    folder : RunFolder
    output, run_id : str
    started : datetime
    progress : Progress
        Whose last stage is written.
    log : RunLog
    secrets : frozenset of str
        What neither the status nor the log may show.
    job : LauncherJob
    attempt : int
        At least; runs that have recorded nothing are not counted in it.
    is_kept : callable
        Whether the next attempt goes on with the run.
    """

    folder: RunFolder
    output: str
    run_id: str
    started: datetime
    progress: Progress
    log: RunLog
    secrets: frozenset[str] = frozenset()
    job: LauncherJob = field(default_factory=LauncherJob)
    attempt: int = 1
    is_kept: Callable[[], bool] = lambda: False


class StatusWriter:
    """Writes the status of a run; as a context manager, from its begin to its end.

    Both files are removed at the end, unless the run was submitted or the next attempt goes on with
    it. The last lines of the log are written all the same, for those who have it open.
    """

    def __init__(self, run: Watched) -> None:
        self._run = run
        self._stop, self._writing = Event(), Lock()
        self._attempt: int | None = None
        self._has_failed = False
        self._process_started = psutil.Process().create_time()

    def __enter__(self) -> "StatusWriter":
        self._take_back = remove_if_forced(self._end_forced)
        self._thread = Thread(target=self._beat, name="gpuseg-status", daemon=True)
        with suppress(RuntimeError):  # there may be no more threads
            self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._take_back()
        self._end(*_outcome(error), self._reason(error), is_kept=self._run.is_kept())

    def _beat(self) -> None:
        seconds = _SECONDS if self._run.folder.is_local else _SECONDS_ON_A_STORE
        while True:
            self._try(self._write_running)
            if self._stop.wait(seconds):
                return

    def _write_running(self) -> None:
        with self._writing:
            if not self._stop.is_set():  # afterwards the folder may be gone
                self._write(RunState.RUNNING)

    def _end_forced(self) -> None:
        """Write the last status in a forced end; only afterwards the checkpoint is kept."""
        self._end(*_outcome(Interrupted()), is_kept=is_paused())

    def _end(
        self, state: RunState, exit_code: int, error: RunError | None = None, *, is_kept: bool
    ) -> None:
        """Stop the heartbeat, and write the last status or remove it."""
        self._stop.set()
        if error is not None:
            self._run.log.add(error.text, "error")
        self._run.log.add(end_line(state, exit_code))

        def write() -> None:
            with self._writing:
                if is_kept or self._is_submitted():
                    self._write(state, exit_code, error)
                else:
                    self._remove()

        self._try(write)

    def _remove(self) -> None:
        """Remove both files, the log at last."""
        folder = self._run.folder
        if folder.is_local:  # others cannot read an object that is removed
            with suppress(OSError):  # a full disk must not keep them
                self._run.log.flush(folder)
        for name in (STATUS, LOG):
            folder.remove(name)

    def _is_submitted(self) -> bool:
        """Whether the folder is that of a submitted job; only its files of this machine tell."""
        folder = self._run.folder
        return folder.is_local and any(map(folder.exists, (SUBMISSION, JOB_FILE)))

    def _try(self, write: Callable[[], None]) -> None:
        """Write; a failure is shown once, and fails no run."""
        failures: tuple[type[Exception], ...] = (GpusegError, OSError, *store_errors())
        try:
            write()
        except failures as error:
            if not self._has_failed:
                self._has_failed = True
                reason = redacted(without(self._run.secrets, first_line(error)))
                self._run.progress.log(
                    f"note: {STATUS} of the run cannot be written ({reason}); the run goes on"
                )

    def _write(
        self, state: RunState, exit_code: int | None = None, error: RunError | None = None
    ) -> None:
        folder = self._run.folder
        if self._attempt is None:
            self._attempt = max(_number_of_attempt(folder), self._run.attempt)
            if self._attempt == 1:
                folder.remove(LOG)  # of another run
        status = RunStatus.unchecked(
            state=state,
            run_id=self._run.run_id,
            heartbeat=datetime.now(UTC),
            started=self._run.started,
            host=socket.gethostname(),
            pid=os.getpid(),
            process_started=self._process_started,
            attempt=self._attempt,
            exit_code=exit_code,
            error=error,
            output=redacted(self._run.output),
            launcher=self._run.job.launcher,
            job_id=self._run.job.job_id,
            size=self._run.job.size,
            **(self._counts() if state is not RunState.SUCCEEDED else self._all_rows()),
        )
        folder.write(STATUS, status.to_bytes())
        self._run.log.flush(folder)

    def _all_rows(self) -> dict[str, Any]:
        """Return the rows of a run that has succeeded."""
        return {"rows": self._run.progress.rows or None}

    def _counts(self) -> dict[str, Any]:
        """Return the stage, and how far it is."""
        stage = self._run.progress.last
        if stage is None:
            return {}
        counts: dict[str, Any] = {"stage": stage.name, "detail": stage.text or None}
        rows = 0
        if stage.unit == _PASSES:
            counts["n_pass"], rows = stage.done, stage.done * self._run.progress.rows
        elif stage.unit in _ROWS:
            counts["total_rows"], rows = stage.total, stage.done
        if rows and stage.seconds:
            counts |= {"rows": rows, "rows_per_second": rows / stage.seconds}
        return counts

    def _reason(self, error: BaseException | None) -> RunError | None:
        """Return the error that ended the run, without secrets."""
        if error is None or isinstance(error, _INTERRUPTS):
            return None
        is_ours = isinstance(error, GpusegError)
        text = str(error) if is_ours else f"{type(error).__name__}: {first_line(error)}"
        shown = redacted(without(self._run.secrets, text))
        return RunError.model_construct(
            code=error.code if isinstance(error, GpusegError) else type(error).__name__,
            text=shown if is_ours else shortened(printable(shown)),
        )


_INTERRUPTS = (Interrupted, KeyboardInterrupt)


def _outcome(error: BaseException | None) -> tuple[RunState, int]:
    """Return the state of a run that ended with an error, or without one, and its exit code."""
    if error is None:
        return RunState.SUCCEEDED, 0
    if is_paused():
        return RunState.PAUSED, PAUSED
    if isinstance(error, _INTERRUPTS):
        return RunState.CANCELLED, INTERRUPTED
    return RunState.FAILED, error.exit_code if isinstance(error, GpusegError) else _UNHANDLED


def _number_of_attempt(folder: RunFolder) -> int:
    """Return 1, or a greater number where the folder has a run that has not ended."""
    content = folder.read(STATUS)
    try:
        status = None if content is None else parse_status(content, folder.file(STATUS))
    except DataError:  # of another version, or damaged: it says nothing
        return 1
    return 1 if status is None or status.state.has_ended else status.attempt + 1
