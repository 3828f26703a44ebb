"""The sections that each kind of run has: a job, and a model that scores a table."""

from collections.abc import Generator, Sequence
from typing import Any, Protocol

from gpuseg.io.storage import Storage
from gpuseg.jobs.schema import InputSpec, JoinSpec, RuntimeSpec, ScoredInputSpec, TransactionsSpec


class OutputSections(Protocol):
    """What each kind of run says of its output."""

    @property
    def path(self) -> str: ...
    @property
    def overwrite(self) -> bool: ...
    @property
    def storage_options(self) -> dict[str, Any]: ...


class RunSections(Protocol):
    """The sections of a run; see `jobs.job.JobSpec`."""

    @property
    def transactions(self) -> TransactionsSpec | None: ...
    @property
    def join(self) -> Sequence[JoinSpec]: ...
    @property
    def runtime(self) -> RuntimeSpec: ...
    @property
    def output(self) -> OutputSections: ...
    @property
    def source(self) -> InputSpec | ScoredInputSpec | TransactionsSpec: ...
    @property
    def secrets(self) -> frozenset[str]: ...
    def redacted(self) -> dict[str, Any]: ...
    @property
    def model_fields_set(self) -> set[str]: ...
    def __iter__(self) -> Generator[tuple[str, Any], None, None]: ...


def output_storage(sections: RunSections) -> Storage:
    """Return the place of the output.

    Raises
    ------
    ConfigError
        If there can be no such place.
    """
    output = sections.output
    return Storage.from_url(output.path, output.storage_options, "output.path")
