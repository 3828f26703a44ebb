"""The command refresh: a job continues the segments of an older output."""

from typing import Annotated, Any, Literal

import typer

from gpuseg.cli.jobs import Job, Set
from gpuseg.cli.options import AsJson, Fresh, Overwrite
from gpuseg.cli.show import (
    print_changes,
    print_json,
    print_table,
    print_text,
    show_published,
    shown_progress,
)
from gpuseg.jobs.job_values import read_job
from gpuseg.jobs.workers import start_importing_for_workers
from gpuseg.redaction import redacted


def refresh(
    job: Job,
    older: Annotated[
        str,
        typer.Option("--from", metavar="OUTPUT", help="Path or URL of the older output."),
    ],
    mode: Annotated[
        Literal["auto", "score", "warm", "fresh"] | None,
        typer.Option("--mode", metavar="MODE", help="auto, score, warm or fresh; see [refresh]."),
    ] = None,
    append: Annotated[
        bool,
        typer.Option("--append", help="The rows are only new ones, and update older centers."),
    ] = False,
    set_: Set = None,
    overwrite: Overwrite = False,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Run a job again: segments that survive keep their numbers, and it says who moved."""
    overrides = [*(set_ or []), *(["output.overwrite=true"] if overwrite else [])]
    values = read_job(job, overrides)
    start_importing_for_workers(values)
    from gpuseg.jobs.refresh.run_refresh import refresh as refresh_output

    with shown_progress() as progress:
        result = refresh_output(
            values, older, mode=mode, append=append, progress=progress, fresh=fresh
        )
    if result.rank:
        return
    path = redacted(result.path)

    def show() -> None:
        if as_json:
            print_json(result.manifest)
            return
        print_table(_table(result.record))
        print_changes(result.record)
        print_text(f"segments   {path}")
        if result.record.refresh is not None and result.record.refresh.changes:
            print_text(f"changes    {path.rstrip('/')}/_changes")
        print_text(f"report     {path.rstrip('/')}/_report.html")

    show_published(show, path)


def _table(record: Any) -> Any:
    """Return the table of a run, or of rows that the older model has scored."""
    from gpuseg.manifest import Manifest

    if isinstance(record, Manifest):
        from gpuseg.reporting.terminal_table import segment_table

        return segment_table(record)
    from gpuseg.reporting.scores_table import scores_table

    return scores_table(record)
