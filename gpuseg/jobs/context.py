"""What the stages of a run share: its identity, plan, workers, output, and what it reports."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, partial
from typing import Any, TypeVar

from gpuseg.errors import ConfigError, ResourceError, hidden, parameter_names, without_reason
from gpuseg.io.input_paths import paths_of
from gpuseg.io.library_errors import exhausted, first_line
from gpuseg.io.output.base import Output
from gpuseg.io.output.run_folder import RunFolder
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.jobs.checkpoint import Checkpoint
from gpuseg.jobs.give_up import clean_up_if_published
from gpuseg.jobs.import_later import import_later
from gpuseg.jobs.job import JobSpec, job_names
from gpuseg.jobs.launcher_job import launcher_job
from gpuseg.jobs.plan import MakeFolder, RunPlan, plan_run
from gpuseg.jobs.resolve import ResolvedJob
from gpuseg.jobs.resume_key import key_of_input
from gpuseg.jobs.run_log import RunLog
from gpuseg.jobs.run_sections import RunSections, output_storage
from gpuseg.jobs.shared_output import refuse_output_not_shared
from gpuseg.jobs.staged_run import StagedRun
from gpuseg.jobs.status_writer import StatusWriter, Watched
from gpuseg.jobs.workers import WORKER_MODULES
from gpuseg.manifest import DescriptionFailure
from gpuseg.output_kind import OutputKind
from gpuseg.printable import printable, shortened
from gpuseg.progress import Progress, Stage
from gpuseg.redaction import redacted, without
from gpuseg.runtime.cluster import (
    end_worker_that_runs_the_program,
    open_executor,
    refuse_program_without_guard,
)
from gpuseg.runtime.executor import CacheLost, Executor, do_nothing
from gpuseg.runtime.interrupts import interrupts_deferred, raise_if_interrupted
from gpuseg.runtime.journal.executor import JournaledExecutor
from gpuseg.runtime.retry import retry_if_lost

LOGGER = logging.getLogger("gpuseg")
LOGGER.addHandler(logging.NullHandler())

R = TypeVar("R")

_HINTS_WITH_KEYS = {
    "worker.lost_repeatedly": "give each worker more memory (`memory_limit`) or use more workers "
    "(`n_workers`)",
    "partition.too_many_rows": "use more workers (`n_workers`)",
    "dbscan.too_many_rows_per_shard": "use more workers (`n_workers`)",
}
"""Hints of lower layers, with the keys that a job has for them."""


class Reporter:
    """Stages, notes and warnings of a run, for the progress display and the log `gpuseg`.

    Parameters
    ----------
    progress : Progress
    secrets : frozenset of str
        What no note and no warning may show.

    Attributes
    ----------
    run_log : RunLog
        Has the lines of the log `gpuseg` of this run.
    warnings : list of str
        All warnings so far, for the manifest.
    failures : list of DescriptionFailure
        Parts of the description that could not be made, for the manifest.
    seconds : dict of str to float
        Seconds of each stage of this run so far; a stage that ran several times has the sum.
    """

    def __init__(self, progress: Progress, secrets: frozenset[str] = frozenset()) -> None:
        self.progress = progress
        self.run_log = RunLog()
        self._secrets = secrets
        self.warnings: list[str] = []
        self.failures: list[DescriptionFailure] = []
        self.seconds: dict[str, float] = {}
        self._shown: list[str] = []

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "rows") -> Iterator[Stage]:
        """Show, time and log a stage of `total` units.

        An interrupt that was lost in a library ends the run here.
        """
        raise_if_interrupted()
        self._log(logging.INFO, f"{name}: started")
        started = time.perf_counter()
        try:
            with self.progress.stage(name, total, unit) as stage:
                yield stage
        finally:
            elapsed = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        self._log(logging.INFO, f"{name}: finished, {self.seconds[name]:.3f} s in all")

    def _log(self, level: int, text: str) -> None:
        LOGGER.log(level, "%s", text)
        self.run_log.add(text, logging.getLevelName(level).lower())

    def log(self, text: str) -> None:
        """Show and log a note."""
        text = redacted(without(self._secrets, text))
        self._log(logging.INFO, text)
        self.progress.log(f"note: {text}")

    def warn(self, text: str) -> None:
        """Show and log a warning, and keep it for the manifest."""
        text = redacted(without(self._secrets, text))
        self.warnings.append(text)
        if text in self._shown:
            self._shown.remove(text)
            return
        self._log(logging.WARNING, text)
        self.progress.log(f"warning: {text}")

    def describe(self, part: str, make: Callable[[], R], otherwise: Callable[[], R]) -> R:
        """Return a part of the description of the segments, or what stands for it if it fails.

        The labels are complete when segments are described. A failure is warned of and recorded.
        """
        result, failure = self.attempt(part, make, otherwise)
        self.record(failure)
        return result

    def attempt(
        self, part: str, make: Callable[[], R], otherwise: Callable[[], R]
    ) -> tuple[R, DescriptionFailure | None]:
        """Return a part of the description, or what stands for it, and the failure to record."""
        try:
            return make(), None
        except Exception as error:  # whatever it is, it must not cost the labels
            LOGGER.debug("%s failed", part, exc_info=error)
            reason = shortened(printable(redacted(without(self._secrets, first_line(error)))))
            failure = DescriptionFailure(part=part, error=type(error).__name__, reason=reason)
            return otherwise(), failure

    def record(self, failure: DescriptionFailure | None) -> None:
        """Warn of a failure of `attempt`, if there is one, and keep it for the manifest."""
        if failure is not None:
            self.failures.append(failure)
            self.warn(
                f"the {failure.part} of the segments could not be made ({failure.error}: "
                f"{failure.reason}); the output has the segment of every row all the same"
            )

    def drop_warnings(self, start: int) -> None:
        """Drop the warnings from number `start` on; those that come again are not shown again."""
        self.failures.clear()
        self._shown += self.warnings[start:]
        del self.warnings[start:]


@dataclass(frozen=True)
class OpenRun:
    """A run whose output is staged and whose workers are there.

    Attributes
    ----------
    plan : RunPlan
    run_id : str
    started : datetime
    reporter : Reporter
    output : Output
    executor : Executor
    journal : JournaledExecutor or None
        The executor, where it records its calls.
    attempt : int
        Number of this attempt of the run, from 1 on.
    """

    plan: RunPlan
    run_id: str
    started: datetime
    reporter: Reporter
    output: Output
    executor: Executor
    journal: JournaledExecutor | None = field(default=None, kw_only=True)
    attempt: int = field(default=1, kw_only=True)

    @property
    def backend(self) -> str:
        """The name of the backend."""
        return self.plan.resolved.backend.name

    def retry(self, attempt: Callable[[], R]) -> R:
        """Return the result of an attempt; repeat it if a worker is lost with its caches.

        Warnings of a failed attempt are dropped, and not shown again. Its seconds count: those of
        each stage are added up.

        Raises
        ------
        ResourceError
            When workers are lost repeatedly.
        """
        n_warnings, journal = len(self.reporter.warnings), self.journal
        start = None if journal is None else journal.mark()

        def attempt_without_old_warnings() -> R:
            self.reporter.drop_warnings(n_warnings)
            try:
                return attempt()
            except CacheLost:
                if journal is not None and start is not None:
                    journal.cut(start)
                raise

        return retry_if_lost(attempt_without_old_warnings, self.reporter.log)


@dataclass(frozen=True)
class RunContext(OpenRun):
    """The run of a job.

    Attributes
    ----------
    spec : JobSpec
    """

    spec: JobSpec


@contextmanager
def open_run(
    spec: JobSpec,
    progress: Progress | None = None,
    kind: OutputKind = OutputKind.SEGMENTS,
    replaces: Collection[OutputKind] = (),
    is_update: bool = False,
    fresh: bool = False,
    key: Mapping[str, Any] | None = None,
) -> Iterator[RunContext]:
    """Open the run of a job, as `open_sections` does.

    `kind` is that of the output; those of `replaces` may be replaced, too. A run for features
    imports nothing for segments while it waits. For `is_update` see `plan_run`, for `fresh` and
    `key` see `open_sections`.

    Raises
    ------
    ConfigError, DataError, ResourceError
    """

    def importer(plan: RunPlan) -> Callable[[], None]:
        is_segmented = kind is OutputKind.SEGMENTS
        return _importer(spec, plan.resolved) if is_segmented else do_nothing

    with open_sections(
        spec, partial(plan_run, spec, kind=kind, replaces=replaces, is_update=is_update), kind,
        importer, WORKER_MODULES, progress, replaces, fresh, {} if key is None else key,
    ) as opened:  # fmt: skip
        yield RunContext(**vars(opened), spec=spec)


@contextmanager
def open_sections(
    sections: RunSections,
    make_plan: Callable[[MakeFolder], RunPlan],
    kind: OutputKind,
    importer: Callable[[RunPlan], Callable[[], None]],
    worker_modules: Sequence[str],
    progress: Progress | None = None,
    replaces: Collection[OutputKind] = (),
    fresh: bool = False,
    key: Mapping[str, Any] | None = None,
) -> Iterator[OpenRun]:
    """Plan a run, stage its output, and start or reach its workers; clean up afterwards.

    Errors inside get the names that the parameters have in the sections.

    Parameters
    ----------
    make_plan : callable
        Returns the plan; it takes a callable that makes the folder for converted files.
    kind : OutputKind
        That of the output.
    importer : callable
        Returns, from the plan, a function that imports what the run needs after reading.
    worker_modules : sequence of str
        Modules of the functions that workers call.
    replaces : collection of OutputKind
        Other kinds of outputs that may be replaced.
    fresh : bool
        Whether what an interrupted attempt has left is dropped.
    key : mapping, optional
        What the caller says beside the sections. None for a run that is not resumed.

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    end_worker_that_runs_the_program()
    reporter = Reporter(progress or Progress(), sections.secrets)
    with ExitStack() as life, job_errors(sections), ExitStack() as stack:
        refuse_program_without_guard(sections.runtime.cluster)
        staged = StagedRun(sections, kind, replaces, fresh, key, life, stack)
        with reporter.stage("plan"):
            plan = _planned(make_plan, staged, sections, is_resumed=key is not None)
            for text in plan.text_inputs:
                reporter.log(text.describe())
            output = staged.output(plan.resolved.target)
            life.callback(RunFolder(plan.resolved.target).remove_if_empty)
            checkpoint = staged.checkpoint(plan.resolved.target)
            if checkpoint is not None:
                checkpoint.begin(key_of_input(plan), output.staging_name)
                if checkpoint.adopted is not None:
                    reporter.log(
                        f"run {staged.run_id} was interrupted and goes on "
                        f"(attempt {checkpoint.attempt})"
                    )
            watched = _watched(plan, staged, reporter, sections.secrets, checkpoint)
            with interrupts_deferred():  # its thread writes from then on
                life.enter_context(StatusWriter(watched))
        while_waiting = importer(plan)
        with reporter.stage("start"):
            if plan.resolved.cluster.cluster == "dask":
                while_waiting()  # for the process that workers are forked from, which takes longer
            executor = stack.enter_context(
                open_executor(
                    plan.resolved.cluster, reporter.progress.advance, reporter.log, worker_modules,
                    while_waiting,
                )
            )  # fmt: skip
            refuse_output_not_shared(plan.resolved.cluster, output.staging)
        opened = OpenRun(plan, staged.run_id, staged.started, reporter, output, executor)
        if checkpoint is not None:
            journal = checkpoint.executor(executor, reporter.log, staged.placeholders)
            opened = replace(opened, executor=journal, journal=journal, attempt=checkpoint.attempt)
        yield opened


def _planned(
    make_plan: Callable[[MakeFolder], RunPlan],
    staged: StagedRun,
    sections: RunSections,
    is_resumed: bool,
) -> RunPlan:
    """Return the plan; remove the checkpoint of a run that was killed just after it published."""
    try:
        return make_plan(staged.make_folder)
    except ConfigError as error:
        if error.code == "output.exists" and is_resumed:
            clean_up_if_published(output_storage(sections))
        raise


def _watched(
    plan: RunPlan,
    staged: StagedRun,
    reporter: Reporter,
    secrets: frozenset[str],
    checkpoint: Checkpoint | None,
) -> Watched:
    """Return the facts of a run that others may watch."""
    target = plan.resolved.target
    return Watched(
        RunFolder(target), _shown(target), staged.run_id, staged.started, reporter.progress,
        reporter.run_log, secrets, launcher_job(plan.resolved.cluster.cluster),
        1 if checkpoint is None else checkpoint.attempt,
        lambda: checkpoint is not None and checkpoint.is_kept,
    )  # fmt: skip


def _shown(target: Storage) -> str:
    """Return the path or URL of an output, without secrets, as it is from any working folder."""
    return target.root if target.is_local else target.shown_url


def _importer(spec: JobSpec, resolved: ResolvedJob) -> Callable[[], None]:
    """Return a function that imports, once, what the run needs after reading."""
    algorithm, load_kernels = spec.algorithm, do_nothing
    if resolved.cluster.cluster == "local":
        load_kernels = partial(algorithm.load_kernels, spec.segment, resolved.backend.name)
    # Kept by the run, not by the module: it holds the job.
    return cache(partial(import_later, tuple(algorithm.fit_modules), load_kernels))


@contextmanager
def job_errors(spec: RunSections) -> Iterator[None]:
    """Give the errors raised inside the names that the parameters have in the sections."""
    section = "input" if spec.transactions is None else "transactions"
    keys = f"{section}.path{', [[join]] path' if spec.join else ''}, output.path"
    sections = (spec.source, *spec.join, spec.output)
    urls = [url for each in sections for url in paths_of(each.path)]
    hides_ids = spec.source.id_hash_key_env is not None
    with parameter_names(job_names(spec)), hidden(spec.secrets), without_reason(hides_ids):
        try:
            with wrap_store_errors(keys, " → ".join(urls)):
                yield
        except ResourceError as error:
            error.hint = _HINTS_WITH_KEYS.get(error.code, error.hint)
            raise
        except RuntimeError as error:
            raise exhausted(error, urls[0]) or error from None
        except MemoryError:
            raise ResourceError(
                "memory.exhausted", "out of memory",
                hint="use more workers (`n_workers`) on other machines, or fewer `features`",
            ) from None  # fmt: skip
