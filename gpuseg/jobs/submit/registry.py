"""The jobs that this user has submitted: a small file for each, by the id of the job."""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from gpuseg.errors import DataError, ResourceError
from gpuseg.record import Record

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600

_MOST_BYTES = 2**16
"""More than a record has."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
"""Ids of jobs; others, such as paths, are not looked for."""


class JobRecord(Record):
    """One submitted job, one job of an array (id "12_3"), or an array (id "12").

    Attributes
    ----------
    launcher, job_id : str
    output : str
        Path or URL of the output; of an array, that which its outputs have in common.
    folder : str
        Where its job file, its script and its log are: the run folder of a local output.
    members : list of str
        Ids of the jobs of an array; otherwise empty.
    submitted : datetime
    """

    launcher: str
    job_id: str
    output: str
    folder: str
    members: list[str] = Field(default_factory=list)
    submitted: datetime


def state_folder() -> Path:
    """Return the folder where gpuseg keeps what it knows of this user's jobs."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "gpuseg"


def require_room() -> None:
    """Refuse to go on if no job can be written down: nobody could cancel it by its id.

    Raises
    ------
    ResourceError
    """
    try:
        _write_aside("room", "x" * _MOST_BYTES).unlink()
    except OSError as error:
        raise ResourceError(
            "submit.not_written",
            f"{error.filename or _jobs_folder()}: cannot be written ({error.strerror})",
            hint="gpuseg keeps a small file of each job there; name another folder with "
            "XDG_STATE_HOME",
        ) from None


def write_record(record: JobRecord) -> Path:
    """Write down a job, for this user alone, and return the path of the file."""
    path = _jobs_folder() / f"{record.launcher}-{record.job_id}.json"
    text = json.dumps(record.model_dump(mode="json"), indent=1)
    return _write_aside(path.name, text).replace(path)


def _write_aside(name: str, text: str) -> Path:
    """Write a file that no reader looks for, and return its path; nothing is left of a failure."""
    folder = _jobs_folder()
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    path = folder / f".{name}.{os.getpid()}"
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE_MODE)
        with os.fdopen(file, "w") as stream:
            stream.write(text)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return path


def records_of(job_id: str) -> list[JobRecord]:
    """Return the jobs with an id, the newest first: two schedulers may use the same."""
    if not _ID.fullmatch(job_id):
        return []
    suffix = f"-{job_id}.json"
    return sorted(
        (record for record in _records(f"*{suffix}") if record.job_id == job_id),
        key=lambda record: record.submitted,
        reverse=True,
    )


def all_records() -> list[JobRecord]:
    """Return all jobs that were submitted, the newest first."""
    return sorted(_records("*.json"), key=lambda record: record.submitted, reverse=True)


def same_for_all(output: str) -> str:
    """Return the one notation of an output: links and ``..`` of a path are followed."""
    return output.rstrip("/") if "://" in output else os.path.realpath(output)


def later_job(job: JobRecord) -> JobRecord | None:
    """Return the job that was last submitted for the output of a job, if it is another one."""
    newest = newest_of(job.output)
    return newest if newest is not None and newest.submitted > job.submitted else None


def newest_of(output: str) -> JobRecord | None:
    """Return the job that was last submitted for an output, or None."""
    jobs = (job for job in all_records() if not job.members)
    wanted = same_for_all(output)
    return next((job for job in jobs if same_for_all(job.output) == wanted), None)


def now() -> datetime:
    """Return the time for a new record."""
    return datetime.now(UTC)


def _records(pattern: str) -> Iterator[JobRecord]:
    for path in _jobs_folder().glob(pattern):
        try:
            yield JobRecord.from_json(json.loads(path.read_text()))
        except (ValueError, DataError) as error:
            reason = error.rule if isinstance(error, DataError) else str(error)
            raise DataError(
                "submit.damaged_record", f"{path} is not the record of a job ({reason})",
                hint="remove the file; its job is then known by its output only",
            ) from None  # fmt: skip
        except OSError as error:
            raise ResourceError(
                "submit.unreadable_record", f"{path}: cannot be read ({error.strerror})",
                hint="the files in this folder must be yours",
            ) from None  # fmt: skip


def _jobs_folder() -> Path:
    return state_folder() / "jobs"
