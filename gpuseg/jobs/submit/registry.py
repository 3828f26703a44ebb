"""The jobs that this user has submitted: a small file for each, by the id of the job."""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from gpuseg.record import Record

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600

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


def write_record(record: JobRecord) -> Path:
    """Write down a job, for this user alone, and return the path of the file."""
    folder = _jobs_folder()
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    path = folder / f"{record.launcher}-{record.job_id}.json"
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE_MODE)
    with os.fdopen(file, "w") as stream:
        json.dump(record.model_dump(mode="json"), stream, indent=1)
    aside.replace(path)
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


def now() -> datetime:
    """Return the time for a new record."""
    return datetime.now(UTC)


def _records(pattern: str) -> Iterator[JobRecord]:
    for path in _jobs_folder().glob(pattern):
        yield JobRecord.from_json(json.loads(path.read_text()))


def _jobs_folder() -> Path:
    return state_folder() / "jobs"
