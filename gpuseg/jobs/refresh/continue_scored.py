"""What rows that the older model has scored say of the life of its segments."""

from __future__ import annotations

from collections.abc import Sequence

from gpuseg.drift_record import Drift
from gpuseg.formatting import count, listing
from gpuseg.io.output.assignments import Part
from gpuseg.jobs.context import OpenRun
from gpuseg.jobs.refresh.continuation import Continuation, NotGoodEnough, SegmentLife
from gpuseg.jobs.refresh.levels import first_lineages
from gpuseg.jobs.refresh.migrate import migrate


def continue_scored(
    run: OpenRun,
    continuation: Continuation,
    id: str | None,
    parts: Sequence[Part],
    drift: Drift | None,
) -> tuple[SegmentLife, list[str]]:
    """Return what the manifest says, and the names of the files of changes.

    The definition of the segments has not moved.

    Raises
    ------
    NotGoodEnough
        If the mode is "auto", and the rows have drifted.
    DataError, ResourceError
        If the customers of the two outputs cannot be joined.
    """
    older, reason = continuation.older, continuation.reason
    if continuation.mode == "auto":
        reason = _judged(drift)
    if keys := continuation.only_of_fits:
        run.reporter.warn(
            f"{listing(keys)} left out: the older model has scored the rows, and segments are "
            "described where they are fitted"
        )
    joined = migrate(run, continuation, id, parts)
    refresh = continuation.record("score", reason, [], joined, {})
    lineage = older.lineage or first_lineages(older.model, older.fit.run_id)
    return SegmentLife(lineage, drift, refresh, older.history), [part.name for part in joined.parts]


def _judged(drift: Drift | None) -> str:
    """Return why the older model still suits the rows.

    Raises
    ------
    NotGoodEnough
        If it does not.
    """
    if drift is None:
        raise NotGoodEnough("drift could not be measured")
    if drift.alarms:
        first, n_more = drift.alarms[0].sentence, len(drift.alarms) - 1
        more = f", and {count(n_more, 'more alarm')}" if n_more else ""
        raise NotGoodEnough(f"the rows have drifted: {first.rstrip('.')}{more}")
    return "no measure of drift is beyond its threshold"
