"""The second half of a run: segment the rows that were read, describe the segments, publish."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpuseg.jobs.build_manifest import ManifestInputs
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.plan import SegmentationPlan
from gpuseg.jobs.refresh.continue_segments import NumberedSegments, number_segments
from gpuseg.jobs.refresh.describe_life import describe_life
from gpuseg.jobs.stages.describe import collect_profile, describe, profile_meanwhile
from gpuseg.jobs.stages.drift_reference import with_reference
from gpuseg.jobs.stages.load_rows import LoadedInput
from gpuseg.jobs.stages.preprocess import PreprocessedRows, preprocess
from gpuseg.jobs.stages.profile import SegmentProfiles
from gpuseg.jobs.stages.publish import publish
from gpuseg.jobs.stages.segment import segment
from gpuseg.jobs.stages.write import write_assignments
from gpuseg.jobs.text_inputs import summaries_of
from gpuseg.manifest import Manifest, RowStorage
from gpuseg.segmentation.base import SegmentationResult

if TYPE_CHECKING:
    from gpuseg.jobs.refresh.continuation import Continuation
    from gpuseg.jobs.stages.build_features import BuiltFeatures


def segment_table(
    ctx: RunContext,
    plan: SegmentationPlan,
    rows: LoadedInput,
    built: BuiltFeatures | None,
    continuation: Continuation | None = None,
) -> tuple[Manifest, SegmentationResult]:
    """Preprocess and segment rows, write the segments, and publish the output.

    Parameters
    ----------
    built : BuiltFeatures or None
        What the features of the rows were built from, if they were.
    continuation : Continuation, optional
        The older output that the segments continue.

    Raises
    ------
    DataError, ResourceError
    """
    prepared = preprocess(ctx, plan, rows, continuation)
    older = None if continuation is None else continuation.older_segments()
    older_names = {} if continuation is None else continuation.older.segment_names
    storage = RowStorage(mode=rows.memory.mode, reason=rows.memory.reason)

    def attempt() -> tuple[ManifestInputs, SegmentProfiles, NumberedSegments]:
        fitted = segment(ctx, plan, prepared, older)
        numbered = number_segments(ctx, continuation, prepared, fitted)
        result = _with_reference(ctx, prepared, numbered.result, continuation)
        profile = collect_profile(ctx, prepared, result, built)
        inputs = ManifestInputs(
            ctx.spec, plan, rows.reader, prepared.fit, result, prepared.digest, storage,
            ctx.reporter.warnings, profile, built.record if built else None,
            summaries_of(ctx.plan.text_inputs, "input"), rows.encoders, older_names=older_names,
            keeps_names=continuation is not None and continuation.is_update,
        )  # fmt: skip
        rows_with_id = profile.examples.positions
        written, profiles = profile_meanwhile(
            ctx, inputs, lambda: write_assignments(ctx, plan, rows_with_id)
        )
        inputs = replace(inputs, parts=written.parts, example_ids=written.ids)
        return replace(inputs, executor=ctx.executor.describe()), profiles, numbered

    inputs, profiles, numbered = ctx.retry(attempt)
    life, changes = describe_life(ctx, continuation, rows, prepared, inputs, profiles, numbered)
    manifest = describe(ctx, inputs, profiles, life)
    return publish(ctx, manifest, inputs, built, changes), inputs.result


def _with_reference(
    ctx: RunContext,
    prepared: PreprocessedRows,
    result: SegmentationResult,
    continuation: Continuation | None,
) -> SegmentationResult:
    """Return the result with what drift is measured against.

    Rows that are appended are a part of all rows: those of the older fit stay the measure.
    """
    if continuation is None or continuation.mode != "append":
        return with_reference(ctx, prepared.fit, prepared.raw_counts, result)
    reference = continuation.model.reference
    if reference is None:
        return result
    return result.with_model(result.model.with_reference(reference))
