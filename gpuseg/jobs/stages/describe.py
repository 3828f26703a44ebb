"""Describe the segments: the manifest of the run, with names, rules and quantiles."""

from collections.abc import Sequence
from typing import Any

from gpuseg.io.output.assignments import Part
from gpuseg.jobs import build_manifest as manifests
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.plan import SegmentationPlan
from gpuseg.jobs.stages.build_features import BuiltFeatures
from gpuseg.jobs.stages.load_rows import LoadedRows
from gpuseg.jobs.stages.preprocess import PreprocessedRows
from gpuseg.jobs.stages.profile import Seen, alike, look
from gpuseg.segmentation.base import SegmentationResult


def collect_profile(
    ctx: RunContext,
    prepared: PreprocessedRows,
    result: SegmentationResult,
    built: BuiltFeatures | None,
) -> Seen:
    """Collect what a description needs from the workers.

    Raises
    ------
    DataError
        For audited columns that are not categories.
    """
    lines = built.source if built else None
    with ctx.reporter.stage("examples"):
        return look(ctx.executor, prepared.fit, result, ctx.spec.audit.columns, lines)


def describe(
    ctx: RunContext,
    plan: SegmentationPlan,
    rows: LoadedRows,
    prepared: PreprocessedRows,
    result: SegmentationResult,
    parts: Sequence[Part],
    profile: Seen,
    built: BuiltFeatures | None,
) -> dict[str, Any]:
    """Return the manifest."""
    memory = {"rows_are": plan.memory.mode, "why": plan.memory.reason}
    facts = manifests.Facts(
        ctx.spec, plan, rows.reader, prepared.fit, result, parts, prepared.digest,
        {**ctx.executor.describe(), **memory}, ctx.reporter.warnings, profile,
        built.facts if built else None, rows.encoders,
    )  # fmt: skip
    with ctx.reporter.stage("describe"):
        told = manifests.told(facts)
        if result.selected_n_clusters and (text := alike(*told)):
            ctx.reporter.warn(text)
    return manifests.build(facts, told, ctx.run_id, ctx.started, ctx.reporter.seconds)
