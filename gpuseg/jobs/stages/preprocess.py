"""Preprocess the rows: drop duplicates, then fill, clip, transform and scale in place."""

from dataclasses import dataclass

from gpuseg.formatting import count
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.duplicates import drop_duplicates, number_rows
from gpuseg.jobs.infinite_values import showing_text
from gpuseg.jobs.plan import SegmentationPlan
from gpuseg.jobs.stages.drift_reference import RawCounts, count_raw_rows
from gpuseg.jobs.stages.load_rows import LoadedInput
from gpuseg.jobs.text_inputs import described_row
from gpuseg.preprocessing.fit import PreprocessingFit, fit_preprocessing, summarize_raw
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding import row_passes as passes


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
    """

    fit: PreprocessingFit
    pipeline: FeaturePipeline
    digest: int
    raw_counts: RawCounts


def preprocess(ctx: RunContext, plan: SegmentationPlan, rows: LoadedInput) -> PreprocessedRows:
    """Drop duplicates, fit the preprocessing, and apply it to all shards.

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

        with showing_text(ctx.spec, ctx.plan.text_inputs, rows.preprocessing.features):
            raw = summarize_raw(executor, ctx.backend, rows.preprocessing, locate)
    raw_counts = count_raw_rows(ctx, raw.sample)
    with (
        reporter.stage("prepare"),
        showing_text(ctx.spec, ctx.plan.text_inputs, rows.preprocessing.features),
    ):
        fit = fit_preprocessing(executor, ctx.backend, rows.preprocessing, raw)
    if n_missing := plan.dataset.rows - n_rows - n_duplicates:
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
    pipeline = FeaturePipeline(
        rows.encoders, fit.features, fit.feature_transform, prepare.missing == "drop"
    )
    return PreprocessedRows(fit, pipeline, digest, raw_counts.take(fit.kept))


def _was(n: int) -> str:
    return "was" if n == 1 else "were"


def _source_row(executor: Executor, shard: int, row: int) -> int:
    """Return the position of a shard's row among the rows that were read."""
    per_shard = [row if i == shard else None for i in range(executor.n_shards)]
    return executor.map(passes.source_row, per_shard=per_shard)[shard] or 0
