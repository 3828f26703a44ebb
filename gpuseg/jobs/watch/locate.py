"""Where a run keeps its status and its log, by the path of its output or the id of its job."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuseg.io.output.run_folder import RunFolder
from gpuseg.io.storage import Storage
from gpuseg.jobs.submit.registry import JobRecord, newest_of, records_of
from gpuseg.redaction import redacted


@dataclass(frozen=True)
class RunLocation:
    """A run, or an array of runs.

    Attributes
    ----------
    output : Storage
    folder : RunFolder
        That of the output.
    job : JobRecord or None
        None for a run that was not submitted on this machine.
    """

    output: Storage
    folder: RunFolder
    job: JobRecord | None = None

    @property
    def is_array(self) -> bool:
        """Whether these are the runs of an array."""
        return self.job is not None and bool(self.job.members)

    @property
    def printed(self) -> Path | None:
        """The file with all that a submitted job has printed; None if it is not on this machine."""
        path = None if self.job is None else Path(self.job.folder) / "output.txt"
        return path if path is not None and path.is_file() else None


def locate(
    run: str, parameter: str, storage_options: Mapping[str, Any] | None = None
) -> RunLocation:
    """Return where a run is.

    Parameters
    ----------
    run : str
        The id of a submitted job; otherwise the path or URL of an output.
    parameter : str
        The parameter that holds it, for messages.
    storage_options : mapping, optional
        Options of the file system.

    Raises
    ------
    ConfigError, ResourceError
    """
    options = storage_options or {}
    if jobs := records_of(run):
        return of_job(jobs[0], parameter, options)
    output = Storage.from_url(run, options, parameter)
    path = output.root if output.is_local else redacted(output.url)
    return RunLocation(output, RunFolder(output), newest_of(path))


def of_job(
    job: JobRecord, parameter: str, storage_options: Mapping[str, Any] | None = None
) -> RunLocation:
    """Return where the run of a submitted job is.

    Raises
    ------
    ConfigError, ResourceError
    """
    output = Storage.from_url(job.output, storage_options or {}, parameter)
    return RunLocation(output, RunFolder(output), job)


def members_of(run: RunLocation, parameter: str) -> list[RunLocation]:
    """Return the runs of an array; of any other run itself.

    Raises
    ------
    ConfigError, ResourceError
    """
    ids = [] if run.job is None else run.job.members
    jobs = [job for job_id in ids for job in records_of(job_id)[:1]]
    return [of_job(job, parameter) for job in jobs] or [run]
