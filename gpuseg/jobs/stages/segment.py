"""Segment the rows with the algorithm of the job; labels stay where the rows are."""

from gpuseg.algorithms.data_statistics import measure_prepared
from gpuseg.errors import ConfigError
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.plan import SegmentationPlan
from gpuseg.jobs.stages.preprocess import PreprocessedRows
from gpuseg.model_selection.confidence import keep_confidence
from gpuseg.segmentation.base import FitContext, OlderSegments, SegmentationResult
from gpuseg.segmentation.facts import checked_facts


def segment(
    ctx: RunContext,
    plan: SegmentationPlan,
    prepared: PreprocessedRows,
    older: OlderSegments | None = None,
) -> SegmentationResult:
    """Fit the algorithm to all rows, and store the confidence if the output has it.

    Raises
    ------
    ConfigError
        If the output has the confidence, and the algorithm has not said how to measure it.
    GpusegError
        If the algorithm reports facts that are not values of JSON.
    DataError, ResourceError
    CacheLost
        When a worker was lost with what the algorithm had in its cache.
    """
    spec, executor, reporter = ctx.spec, ctx.executor, ctx.reporter
    algorithm = spec.algorithm
    progress = algorithm.progress(spec.segment, prepared.fit.raw.rows)
    with reporter.stage("fit", progress.total, progress.unit) as stage:
        context = FitContext(
            executor=executor,
            backend=ctx.backend,
            pipeline=prepared.pipeline,
            statistics=measure_prepared(executor, ctx.backend, prepared.fit),
            bounds_bytes=plan.memory.bounds_bytes,
            staging=ctx.output.staging,
            published=ctx.plan.resolved.target,
            stage=stage,
            log=reporter.log,
            warn=reporter.warn,
            older=older,
        )
        result = checked_facts(algorithm, algorithm.fit(spec.segment, context))
    if spec.output.confidence:
        runner_up = result.runner_up
        if runner_up is None:
            raise ConfigError(
                "confidence.no_runner_up", f"{algorithm.title} has returned no runner_up",
                parameter="confidence", hint="leave it out, or tell the author of the algorithm",
            )  # fmt: skip
        executor.apply(keep_confidence, ctx.backend, runner_up.centers, runner_up.segment)
    return result
