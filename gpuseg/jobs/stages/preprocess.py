"""Preprocess the rows: drop duplicates, then fill, clip, transform and scale in place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpuseg.formatting import count
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.duplicates import drop_duplicates, number_rows
from gpuseg.jobs.infinite_values import showing_text
from gpuseg.jobs.plan import SegmentationPlan
from gpuseg.jobs.stages.drift_reference import RawCounts, count_raw_rows
from gpuseg.jobs.stages.load_rows import LoadedInput
from gpuseg.jobs.text_inputs import described_row
from gpuseg.lineage.compare_rows import compare_rows
from gpuseg.monitoring.feature_bins import FeatureBins
from gpuseg.monitoring.row_counts import RowCounts
from gpuseg.preprocessing.fit import (
    PreprocessingFit,
    RawSummary,
    fit_preprocessing,
    summarize_raw,
)
from gpuseg.preprocessing.keep import keep_preprocessing
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.preprocessing.plan import PreprocessingPlan
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding import row_passes as passes

if TYPE_CHECKING:
    from gpuseg.jobs.refresh.continuation import Continuation
    from gpuseg.models.base import SegmentModel


@dataclass(frozen=True)
class PreprocessedRows:
    """Rows as they are clustered, in the shards of the executor.

    Attributes
    ----------
    fit : PreprocessingFit
    pipeline : FeaturePipeline
        From raw rows to these, for models.
    digest : int
        Hash of the rows as they were read, in any order.
    raw_counts : RawCounts
        Raw rows by bin, of the features that were kept.
    comparison : RowCounts or None
        What the older model says of the rows, if an older output is continued.
    """

    fit: PreprocessingFit
    pipeline: FeaturePipeline
    digest: int
    raw_counts: RawCounts
    comparison: RowCounts | None = None


def preprocess(
    ctx: RunContext,
    plan: SegmentationPlan,
    rows: LoadedInput,
    continuation: Continuation | None = None,
) -> PreprocessedRows:
    """Drop duplicates, fit the preprocessing, and apply it to all shards.

    A run that continues an older output has the features of its model. That model scores the raw
    rows first, and its preprocessing may be kept.

    Raises
    ------
    DataError
    """
    executor, reporter, prepare = ctx.executor, ctx.reporter, ctx.spec.prepare
    n_duplicates = 0
    with reporter.stage("prepare"):
        n_rows = number_rows(executor)
        if prepare.duplicates != "keep":
            n_duplicates = drop_duplicates(
                executor, str(plan.dataset.id), prepare.duplicates, prepare.missing == "drop"
            )
            n_rows = number_rows(executor)
        digest = sum(executor.map(columns.digest, ctx.backend)) % 2**64

        def locate(shard: int, row: int) -> str:
            name, row_of_file = rows.shards[shard].origin(_source_row(executor, shard, row))
            return described_row(ctx.plan.text_inputs, name, row_of_file)

        steps = _steps(ctx, rows, continuation)
        with showing_text(ctx.spec, ctx.plan.text_inputs, steps.features):
            raw = summarize_raw(executor, ctx.backend, steps, locate)
    comparison = None if continuation is None else _compare(ctx, continuation.model)
    n_missing = plan.dataset.rows - n_rows - n_duplicates
    raw_counts = _count(ctx, raw, n_missing, comparison, continuation)
    with reporter.stage("prepare"), showing_text(ctx.spec, ctx.plan.text_inputs, steps.features):
        kept = None if continuation is None else continuation.kept_preprocessing()
        if kept is None:
            fit = fit_preprocessing(executor, ctx.backend, steps, raw)
        else:
            fit = keep_preprocessing(executor, ctx.backend, steps, raw, kept)
    if n_missing:
        reporter.warn(f"{count(n_missing, 'row')} with a missing feature {_was(n_missing)} dropped")
    if n_duplicates:
        reporter.warn(
            f"{count(n_duplicates, 'row')} with a duplicate id {_was(n_duplicates)} dropped; the "
            "first one was kept"
        )
    for name, reason in fit.dropped.items():
        reporter.log(f"feature '{name}' was left out: {reason}")
    for text in fit.redundant:
        reporter.log(f"{text}; see prepare.drop_near_constant, drop_correlated")
    encoders = rows.encoders if continuation is None else continuation.model.pipeline.encoders
    pipeline = FeaturePipeline(
        encoders, fit.features, fit.feature_transform, prepare.missing == "drop"
    )
    return PreprocessedRows(fit, pipeline, digest, raw_counts.take(fit.kept), comparison)


def _steps(
    ctx: RunContext, rows: LoadedInput, continuation: Continuation | None
) -> PreprocessingPlan:
    """Return the plan of the features; other features than those of an older model are dropped."""
    plan = rows.preprocessing
    if continuation is None:
        return plan
    kept = [plan.features.index(name) for name in continuation.model.features]
    if kept != list(range(len(plan.features))):
        ctx.executor.apply(columns.select_columns, kept)
    return replace(plan.take(kept), drop_near_constant=False, drop_correlated=None)


def _compare(ctx: RunContext, model: SegmentModel) -> RowCounts:
    """Return what an older model says of the raw rows."""
    with ctx.reporter.stage("compare"):
        return RowCounts.merged(ctx.executor.apply(compare_rows, ctx.backend, model))


def _count(
    ctx: RunContext,
    raw: RawSummary,
    n_dropped: int,
    comparison: RowCounts | None,
    continuation: Continuation | None,
) -> RawCounts:
    """Return the raw rows by bin; the bins of an older model stay as its preparation does."""
    if comparison is None or comparison.bins is None or continuation is None:
        return count_raw_rows(ctx, raw.sample, n_dropped)
    reference = continuation.model.reference
    if reference is None or not continuation.keeps_preparation:
        return count_raw_rows(ctx, raw.sample, n_dropped)
    bins = FeatureBins(reference.edges, reference.positions, reference.std)
    return RawCounts(bins, comparison.bins.total(), n_dropped)


def _was(n: int) -> str:
    return "was" if n == 1 else "were"


def _source_row(executor: Executor, shard: int, row: int) -> int:
    """Return the position of a shard's row among the rows that were read."""
    per_shard = [row if i == shard else None for i in range(executor.n_shards)]
    return executor.map(passes.source_row, per_shard=per_shard)[shard] or 0
