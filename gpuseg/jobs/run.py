"""Run a job, from the file to the published output; each stage is in `jobs.stages`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg.jobs.context import RunContext, open_run
from gpuseg.jobs.job_file import load_job
from gpuseg.jobs.on_ranks import run_on_ranks
from gpuseg.jobs.plan import LinesPlan, plan_for_workers, plan_table
from gpuseg.jobs.run_sections import output_storage
from gpuseg.jobs.stages.load_rows import load_rows
from gpuseg.redaction import redacted

if TYPE_CHECKING:
    from gpuseg.jobs.job import JobSpec
    from gpuseg.jobs.refresh.continuation import Continuation
    from gpuseg.manifest import Manifest
    from gpuseg.models.base import SegmentModel
    from gpuseg.progress import Progress


@dataclass(frozen=True)
class RunResult:
    """Result of a run.

    Attributes
    ----------
    path : str
        The output folder.
    record : Manifest
        The manifest as a typed object.
    model : SegmentModel
        The model of the segments that were written.
    models : mapping of int to SegmentModel
        By number of segments: all models of a sweep, otherwise only `model`.
    rank : int
        Rank of this process where ``runtime.cluster = "ranks"``; otherwise 0. The result of other
        ranks than 0 has only the model that was published.
    """

    path: str
    record: Manifest
    model: SegmentModel
    models: Mapping[int, SegmentModel]
    rank: int = 0

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest as a dict, as in ``_manifest.json``."""
        return self.record.to_json()

    def __repr__(self) -> str:
        return (
            f"RunResult(path={redacted(self.path)!r}, n_segments={self.record.n_segments}, "
            f"rows={self.record.input.rows}, run_id={self.record.run_id!r})"
        )

    def _repr_html_(self) -> str:
        """Return the segments as a notebook shows them."""
        from gpuseg.reporting.report import render_summary

        return render_summary(self.record)


def run(
    job: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    fresh: bool = False,
) -> RunResult:
    """Run a job; if it was interrupted, it goes on where it was.

    Parameters
    ----------
    job : path of a TOML file, or a mapping of the same shape
    overrides : such as ``["segment.n_clusters=12"]``
    progress : display of the progress; none by default
    fresh : bool, default False
        Whether it starts from the beginning even if it was interrupted.

    Raises
    ------
    ConfigError, DataError, ResourceError
        When the job, the data or the machine is at fault. Then nothing is published, and an older
        output is unchanged.
    """
    spec = load_job(job, overrides)

    def command() -> RunResult:
        with open_run(spec, progress, fresh=fresh) as ctx:
            return segment_job(ctx)

    return run_on_ranks(spec, command, partial(read_run, spec))


def read_run(spec: JobSpec, rank: int) -> RunResult:
    """Return the result of a job from its published output, as another rank than 0 has it.

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    from gpuseg.manifest import read_manifest
    from gpuseg.models.loading import load_model

    record = read_manifest(output_storage(spec))
    model = load_model(spec.output.path, storage_options=spec.output.storage_options)
    return RunResult(spec.output.path, record, model, {model.n_clusters: model}, rank)


def segment_job(ctx: RunContext, continuation: Continuation | None = None) -> RunResult:
    """Run an open job: build features where it has lines, read rows, segment and publish them.

    Parameters
    ----------
    continuation : Continuation, optional
        The older output that the segments continue.

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    spec, step, built = ctx.spec, ctx.plan.first_step, None
    if isinstance(step, LinesPlan):
        from gpuseg.jobs.stages.build_features import build_features

        built = build_features(ctx, step, None if continuation is None else continuation.borders)
        is_update = continuation is not None and continuation.is_update
        step = plan_table(spec, ctx.plan.resolved, built.table, is_update)
    previous_bytes, kept = 0, None
    if continuation is not None:
        continuation.check_ids(step.dataset)
        previous_bytes = continuation.previous_bytes
        kept = continuation.model.pipeline.used_encoders
    plan = plan_for_workers(spec, step, len(ctx.executor.workers()), previous_bytes)
    rows = load_rows(ctx, plan, kept)
    from gpuseg.jobs.segment_table import segment_table  # see `jobs.import_later`

    manifest, result = segment_table(ctx, plan, rows, built, continuation)
    models = result.alternatives or {result.model.n_clusters: result.model}
    return RunResult(spec.output.path, manifest, result.model, models)
