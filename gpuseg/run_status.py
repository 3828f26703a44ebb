"""The status of a run, as `status.json` in its run folder has it while it runs."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError

from gpuseg.errors import DataError
from gpuseg.record import Count, Number, Record

STATUS_FORMAT = 1
"""Number of the JSON form; it rises when a key is renamed, moved or removed."""

LOST_AFTER_SECONDS = 60.0
"""Age of the heartbeat from which on a run that should be running is taken for lost."""

MAX_STATUS_BYTES = 2**20
"""Most bytes of the file; a larger one is something else."""


class RunState(StrEnum):
    """What a run is doing."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    """It should be running, and is not seen any more; shown by readers, never in the file."""

    @property
    def has_ended(self) -> bool:
        """Whether the run will not go on by itself or by the same command."""
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)


class RunError(Record):
    """The error that ended a run."""

    code: str
    """Name of the rule that is broken, or of the class of an error that is no rule of gpuseg;
    `submit.job_failed` if only the scheduler says why the job has ended."""
    text: str
    """The message, without secrets."""


class RunStatus(Record):
    """The status of a run; a reader of an older version ignores what it does not know."""

    model_config = ConfigDict(extra="ignore")

    format: int = STATUS_FORMAT
    """Number of this format."""
    state: RunState
    """What the run is doing: queued, running, paused, succeeded, failed or cancelled."""
    run_id: str | None = None
    """Identifier of the run; null before it has begun."""
    stage: str | None = None
    """Stage in which the run is, or was at its end."""
    detail: str | None = None
    """What the stage shows of itself, such as the inertia after the last pass."""
    n_pass: Count | None = None
    """Passes over the rows that the stage has done; null in a stage without passes."""
    rows: Count | None = None
    """Rows that the stage has done, those of all its passes; null where it counts none. A run that
    has succeeded has all its rows here."""
    total_rows: Count | None = None
    """Rows that the stage will have done at its end; null where that is not known."""
    rows_per_second: Number = None
    """Rows per second in the stage so far."""
    heartbeat: datetime | None = None
    """When the run wrote this; a running one does so every few seconds."""
    started: datetime | None = None
    """Start of the run; of a resumed one, that of its first attempt."""
    host: str | None = None
    """Name of the machine of its driver."""
    pid: Annotated[int, Field(gt=0)] | None = None
    """Number of the process of its driver on that machine."""
    process_started: Number = None
    """Start of that process, in seconds since 1970: another process may get its number."""
    attempt: Annotated[int, Field(ge=1)] = 1
    """Number of the attempt; each resumption is one more."""
    exit_code: int | None = None
    """Exit code of the command, once it has ended."""
    error: RunError | None = None
    """The error that ended the run."""
    output: str
    """Path or URL of the output."""
    launcher: str | None = None
    """The scheduler that started the run, such as slurm; null for one started by hand."""
    job_id: str | None = None
    """Identifier of its job there."""
    size: Annotated[int, Field(ge=1)] = 1
    """Number of processes that the launcher started for the run."""

    @classmethod
    def unchecked(cls, **values: Any) -> "RunStatus":
        """Build it from values of the right types; the checks take as long as a short run."""
        return cls.model_construct(**values)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, with all fields."""
        return {name: _plain(value) for name, value in dict(self).items()}

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        return f"{text}\n".encode(errors="backslashreplace")

    def is_silent(self, now: datetime | None = None) -> bool:
        """Whether the heartbeat is so old that a running run must be lost."""
        if self.heartbeat is None:
            return False
        age = (now or datetime.now(UTC)) - self.heartbeat
        return age.total_seconds() > LOST_AFTER_SECONDS


def _plain(value: Any) -> Any:
    """Return the JSON form of the value of a field."""
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if isinstance(value, RunError) else value


def parse_status(content: bytes, place: str) -> RunStatus:
    """Read the content of a status file; `place` is its path, for messages.

    Raises
    ------
    DataError
        If it is damaged, or written by a version with another format.
    """
    try:
        if len(content) > MAX_STATUS_BYTES:
            raise ValueError(f"{len(content):,} bytes")
        status = RunStatus.model_validate_json(content)
    except ValidationError as error:
        raise _not_a_status(place, error.errors()[0]["msg"]) from None
    except ValueError as error:
        raise _not_a_status(place, str(error)) from None
    if status.format != STATUS_FORMAT:
        raise _not_a_status(place, f"it has format {status.format}, not {STATUS_FORMAT}")
    return status


def _not_a_status(place: str, reason: str) -> DataError:
    return DataError(
        "status.invalid", f"{place} is not the status of a run ({reason})",
        hint="use the version of gpuseg that runs the job, or run the job again",
    )  # fmt: skip
