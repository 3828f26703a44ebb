"""Join the customers of the older output and of the new one."""

from __future__ import annotations

from collections.abc import Sequence

from gpuseg.io.output.assignments import Part
from gpuseg.jobs.context import OpenRun
from gpuseg.jobs.refresh.continuation import Continuation
from gpuseg.lineage.labeled_parts import LabeledParts
from gpuseg.lineage.migration import JoinedOutputs, join_segments
from gpuseg.runtime.executor import TaskContext


def migrate(
    run: OpenRun, continuation: Continuation, id: str | None, parts: Sequence[Part]
) -> JoinedOutputs:
    """Join the customers of the older output, and those of the parts that a run has written.

    The files of changes are staged. Warnings go to the reporter.

    Raises
    ------
    DataError
        For parts of the older output that are missing or have changed.
    ResourceError
        If there is no room for the files.
    """
    if continuation.warning is not None:
        run.reporter.warn(continuation.warning)
    now = LabeledParts.staged(run.output.staging, parts, id)
    with run.reporter.stage("compare customers", sum(part.rows for part in parts)) as stage:
        context = TaskContext(run.executor.local_threads, stage.advance)
        joined = join_segments(
            continuation.older.parts,
            now,
            run.output.staging,
            context,
            is_whole=continuation.mode != "append",
        )
    if joined.no_migration is not None:
        run.reporter.log(f"customers are not compared: {joined.no_migration}")
    if joined.warning is not None:
        run.reporter.warn(joined.warning)
    return joined
