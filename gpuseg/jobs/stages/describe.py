"""Describe the segments: the manifest of the run, with names, rules and quantiles."""

from collections.abc import Sequence

from gpuseg.io.output.assignments import Part
from gpuseg.jobs.build_manifest import ManifestInputs, build_manifest, profile_segments
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.plan import SegmentationPlan
from gpuseg.jobs.stages.build_features import BuiltFeatures
from gpuseg.jobs.stages.load_rows import LoadedInput
from gpuseg.jobs.stages.preprocess import PreprocessedRows
from gpuseg.jobs.stages.profile import (
    ProfileInputs,
    collect_profile_inputs,
    missing_rule_warning,
)
from gpuseg.manifest import Manifest, RowStorage
from gpuseg.segmentation.base import SegmentationResult


def collect_profile(
    ctx: RunContext,
    prepared: PreprocessedRows,
    result: SegmentationResult,
    built: BuiltFeatures | None,
) -> ProfileInputs:
    """Collect what a description needs from the workers.

    Raises
    ------
    DataError
        For audited columns that are not categories.
    """
    lines = built.source if built else None
    with ctx.reporter.stage("examples"):
        return collect_profile_inputs(
            ctx.executor, prepared.fit, result, ctx.spec.audit.columns, lines
        )


def describe(
    ctx: RunContext,
    plan: SegmentationPlan,
    rows: LoadedInput,
    prepared: PreprocessedRows,
    result: SegmentationResult,
    parts: Sequence[Part],
    profile: ProfileInputs,
    built: BuiltFeatures | None,
) -> Manifest:
    """Return the manifest."""
    inputs = ManifestInputs(
        ctx.spec, plan, rows.reader, prepared.fit, result, parts, prepared.digest,
        ctx.executor.describe(), RowStorage(mode=plan.memory.mode, reason=plan.memory.reason),
        ctx.reporter.warnings, profile, built.record if built else None, rows.encoders,
    )  # fmt: skip
    with ctx.reporter.stage("describe"):
        profiles = profile_segments(inputs)
        if result.selected_n_clusters and (warning := missing_rule_warning(profiles)):
            ctx.reporter.warn(warning)
    return build_manifest(inputs, profiles, ctx.run_id, ctx.started, ctx.reporter.seconds)
