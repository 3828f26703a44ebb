"""Segment the rows with the algorithm of the job; labels stay where the rows are."""

from gpuseg.algorithms.data_statistics import measure_prepared
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.plan import SegmentationPlan
from gpuseg.jobs.stages.preprocess import PreprocessedRows
from gpuseg.model_selection.confidence import keep_confidence
from gpuseg.segmentation.base import FitContext, SegmentationResult


def segment(
    ctx: RunContext, plan: SegmentationPlan, prepared: PreprocessedRows
) -> SegmentationResult:
    """Fit the algorithm to all rows, and store the confidence if the output has it.

    Raises
    ------
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
        )
        result: SegmentationResult = algorithm.fit(spec.segment, context)
    runner_up = result.runner_up
    if spec.output.confidence and runner_up is not None:
        executor.apply(keep_confidence, ctx.backend, runner_up.centers, runner_up.segment)
    return result
