"""What the manifest of a new fit says of the life of its segments."""

from __future__ import annotations

from gpuseg.jobs.build_manifest import ManifestInputs
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.refresh.continuation import Continuation, SegmentLife
from gpuseg.jobs.refresh.continue_segments import NumberedSegments
from gpuseg.jobs.refresh.measured_drift import measured_drift
from gpuseg.jobs.refresh.migrate import migrate
from gpuseg.jobs.stages.load_rows import LoadedInput
from gpuseg.jobs.stages.preprocess import PreprocessedRows
from gpuseg.jobs.stages.profile import SegmentProfiles


def describe_life(
    ctx: RunContext,
    continuation: Continuation | None,
    rows: LoadedInput,
    prepared: PreprocessedRows,
    inputs: ManifestInputs,
    profiles: SegmentProfiles,
    numbered: NumberedSegments,
) -> tuple[SegmentLife, list[str]]:
    """Return what the manifest says, and the names of the files of changes.

    Raises
    ------
    DataError, ResourceError
        If the customers of the two outputs cannot be joined.
    """
    if continuation is None:
        return SegmentLife(numbered.lineage), []
    joined = migrate(ctx, continuation, inputs.plan.dataset.id, inputs.parts)
    names = {s.segment: s.name for s in profiles.segments if s.name is not None}
    result, mode, reason = inputs.result, continuation.mode, continuation.reason
    if mode == "refit":
        mode = "warm" if result.is_warm else "fresh"
        reason = f"{reason}; {result.start}"
    assert mode != "auto"  # the older model has scored the rows, or a fit was chosen
    refresh = continuation.record(
        mode, reason, numbered.definitions(continuation, names), joined, profiles.previous_names
    )
    drift = measured_drift(continuation.older, rows, prepared, ctx.spec.drift)
    return SegmentLife(numbered.lineage, drift, refresh, continuation.older.history), [
        part.name for part in joined.parts
    ]
