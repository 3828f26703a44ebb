"""Describe the segments: the manifest of the run, with names, rules and quantiles."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gpuseg.jobs.build_manifest import (
    ManifestInputs,
    bare_segments,
    build_manifest,
    profile_segments,
)
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.refresh.continuation import SegmentLife
from gpuseg.jobs.stages.build_features import BuiltFeatures
from gpuseg.jobs.stages.preprocess import PreprocessedRows
from gpuseg.jobs.stages.profile import (
    ProfileInputs,
    SegmentProfiles,
    collect_profile_inputs,
    missing_rule_warning,
)
from gpuseg.manifest import DescriptionFailure, Manifest
from gpuseg.segmentation.base import SegmentationResult

R = TypeVar("R")


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
            ctx.executor, prepared.fit, prepared.pipeline.is_element(), result,
            ctx.spec.compared_columns, lines, ctx.reporter,
        )  # fmt: skip


def profile_meanwhile(
    ctx: RunContext, inputs: ManifestInputs, act: Callable[[], R]
) -> tuple[R, SegmentProfiles]:
    """Profile the segments in another thread during `act`; return the result of it, and profiles.

    The stage "describe" has the time after `act`. Profiles that cannot be made are left out.
    Nothing waits for the thread after an error or an interrupt: it only computes, and does not
    touch the reporter, which a next attempt may use by then.
    """

    def profile() -> tuple[SegmentProfiles, DescriptionFailure | None]:
        return ctx.reporter.attempt(
            "profiles", lambda: profile_segments(inputs), lambda: bare_segments(inputs)
        )

    thread = ThreadPoolExecutor(1, thread_name_prefix="gpuseg-describe")
    try:
        profiling = thread.submit(profile)
        result = act()
        with ctx.reporter.stage("describe"):
            profiles, failure = profiling.result()
            ctx.reporter.record(failure)
            return result, profiles
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def describe(
    ctx: RunContext, inputs: ManifestInputs, profiles: SegmentProfiles, life: SegmentLife
) -> Manifest:
    """Return the manifest."""
    if inputs.result.selected_n_clusters and (warning := missing_rule_warning(profiles)):
        ctx.reporter.warn(warning)
    reporter = ctx.reporter
    return build_manifest(
        inputs, profiles, ctx.run_id, ctx.started, reporter.seconds, reporter.failures, life
    )
