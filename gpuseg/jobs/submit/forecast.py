"""What a job needs: memory and time of its tasks, from the footers of its input."""

from contextlib import ExitStack
from dataclasses import dataclass

from gpuseg.errors import ConfigError, ResourceError
from gpuseg.io.storage import Storage
from gpuseg.jobs.context import job_errors
from gpuseg.jobs.job import JobSpec
from gpuseg.jobs.memory_plan import PROCESS_BYTES, in_words
from gpuseg.jobs.plan import RunPlan, SegmentationPlan, plan_run
from gpuseg.jobs.resolve import ResolvedJob
from gpuseg.runtime.temporary_folder import temporary_folder

MARGIN = 1.5
"""What is proposed, for what is expected."""

_NO_LIMIT = 2**60

_START_SECONDS = 60.0
"""Imports, the start of the ranks, and compiling where no kernels are kept."""

_READ_SECONDS = 2e-8
"""To read and write a value of a row, by one thread."""

_PASS_SECONDS = 1e-9
"""To compare a value of a row with a center, by one thread of a slow machine."""

_LINE_SECONDS = 2e-6
"""To read, group and write a transaction line."""

_PASSES, _CENTERS = 100, 32
"""Where the job does not say them."""

_LINE_BYTES = 64
"""Memory of a transaction line, if those of a task were all of one group of customers."""

_MIN_SECONDS, _STEP_SECONDS = 600, 300
_STEP_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Forecast:
    """What each task of a job is expected to need.

    Attributes
    ----------
    memory : int
        Bytes, with all rows in memory.
    seconds : float
        A rough time, on the safe side; a job that takes longer goes on after its limit.
    """

    memory: int
    seconds: float

    @property
    def proposed_memory(self) -> int:
        """Bytes to ask for, in steps of 64 MiB."""
        return _rounded_up(self.memory * MARGIN, _STEP_BYTES)

    @property
    def proposed_seconds(self) -> int:
        """A time limit to ask for: at least 10 minutes, in steps of 5."""
        return max(_MIN_SECONDS, _rounded_up(self.seconds * MARGIN, _STEP_SECONDS))


def forecast_job(spec: JobSpec, tasks: int, cpus: int) -> Forecast:
    """Check a job as far as footers tell, and return what its tasks need.

    Raises
    ------
    ConfigError, DataError, ResourceError
        What `gpuseg run --dry-run` would raise; and a memory limit, `submit.memory`, that is
        below what the job needs even with its rows on disk.
    """
    memory = spec.submit.memory
    plan = _plan(spec, tasks, cpus, _NO_LIMIT)
    forecast = _forecast(spec, plan, tasks, cpus)
    if memory is not None:
        _check_memory(spec, int(memory), forecast, tasks, cpus)
    return forecast


def _plan(spec: JobSpec, tasks: int, cpus: int, memory: int) -> RunPlan:
    """Plan a run on so many workers, none of which need be here, nor a GPU."""
    backend = "numpy" if spec.runtime.backend == "numpy" else "numba"
    runtime = spec.runtime.model_copy(
        update={
            "cluster": "dask", "n_workers": tasks, "threads_per_worker": cpus,
            "memory_limit": memory, "backend": backend, "reader": "auto",
        }
    )  # fmt: skip
    planned = spec.model_copy(update={"runtime": runtime})
    with job_errors(planned), ExitStack() as stack:

        def make_folder(_: ResolvedJob) -> Storage:
            return Storage.from_url(stack.enter_context(temporary_folder()), {}, "folder")

        return plan_run(planned, make_folder)


def _forecast(spec: JobSpec, plan: RunPlan, tasks: int, cpus: int) -> Forecast:
    step, threads = plan.first_step, tasks * cpus
    if isinstance(step, SegmentationPlan):
        rows, columns = step.dataset.rows, step.n_columns
        return Forecast(step.memory.peak_bytes, _seconds(spec, rows, columns, threads))
    lines = step.source.rows  # type: ignore[union-attr]
    seconds = lines * _LINE_SECONDS / threads + _seconds(spec, lines // 4, 12, threads)
    return Forecast(2 * PROCESS_BYTES + _LINE_BYTES * lines // tasks, seconds)


def _seconds(spec: JobSpec, rows: int, columns: int, threads: int) -> float:
    unit = spec.algorithm.progress(spec.segment, rows)
    passes = unit.total if unit.unit == "passes" and unit.total else _PASSES
    n_clusters = getattr(spec.segment, "n_clusters", None)
    centers = n_clusters if isinstance(n_clusters, int) else _CENTERS
    values = rows * columns
    work = values * (_READ_SECONDS + passes * centers * _PASS_SECONDS)
    return _START_SECONDS + work / threads


def _check_memory(spec: JobSpec, memory: int, forecast: Forecast, tasks: int, cpus: int) -> None:
    """Refuse a memory that is too small even with the rows on disk."""
    needed = None
    if memory < PROCESS_BYTES:
        needed = PROCESS_BYTES
    elif memory < forecast.memory and spec.transactions is None:
        try:
            _plan(spec, tasks, cpus, memory)
        except ResourceError as error:
            if not error.code.startswith("memory_limit."):
                raise
            needed = forecast.memory
    if needed is not None:
        raise ConfigError(
            "submit.memory_too_low", f"{in_words(memory)} is below the forecast of the job",
            parameter="submit.memory",
            rule=f"each of the {tasks} tasks needs about {in_words(needed)}",
            hint=f'write memory = "{-(-forecast.proposed_memory // 2**20)}MiB", or leave it out, '
            "or use more tasks",
        )  # fmt: skip


def _rounded_up(number: float, step: int) -> int:
    return -int(-number // step) * step
