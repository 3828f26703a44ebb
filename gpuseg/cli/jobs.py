"""Commands of jobs: run, features and report."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from gpuseg.cli.options import AsJson, Fresh, Overwrite
from gpuseg.cli.show import (
    print_changes,
    print_json,
    print_table,
    print_text,
    show_published,
    shown_progress,
)
from gpuseg.formatting import count
from gpuseg.jobs.job_values import read_job
from gpuseg.jobs.workers import start_importing_for_workers
from gpuseg.redaction import redacted

Job = Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a key of the job; repeatable."),
]


def run(
    job: Job,
    set_: Set = None,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done; touch nothing.")
    ] = False,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Run a job: read a table or transactions, segment, write Parquet."""
    overrides = [*(set_ or []), *(["output.overwrite=true"] if overwrite else [])]
    if dry_run:
        _dry_run(job, overrides, as_json)
        return
    values = read_job(job, overrides)
    start_importing_for_workers(values)
    from gpuseg.jobs.run import run as run_job

    with shown_progress() as progress:
        result = run_job(values, progress=progress, fresh=fresh)
    if result.rank:
        return
    path = redacted(result.path)

    def show() -> None:
        if as_json:
            print_json(result.manifest)
            return
        from gpuseg.reporting.line_quality_table import quality_table
        from gpuseg.reporting.terminal_table import segment_table

        if result.record.transactions is not None:
            print_table(quality_table(result.record.transactions))
        print_table(segment_table(result.record))
        print_changes(result.record)

        print_text(f"segments   {path}")
        print_text(f"report     {path.rstrip('/')}/_report.html")

    show_published(show, path)


def features(
    job: Job,
    set_: Set = None,
    overwrite: Overwrite = False,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Build features from the transactions of a job: lines in, one row per customer out."""
    from gpuseg.jobs.run_features import run_features

    overrides = [*(set_ or []), *(["output.overwrite=true"] if overwrite else [])]
    with shown_progress() as progress:
        result = run_features(job, overrides=overrides, progress=progress, fresh=fresh)
    if result.rank:
        return
    path = redacted(result.path)

    def show() -> None:
        if as_json:
            print_json(result.manifest)
            return
        from gpuseg.reporting.line_quality_table import quality_table

        print_table(quality_table(result.record.transactions))

        print_text(f"features   {path}")

    show_published(show, path)


def report(
    output: Annotated[
        str, typer.Argument(metavar="OUTPUT", help="Path or URL of a run's output folder.")
    ],
) -> None:
    """Render the report of an output again, from its manifest."""
    from gpuseg.jobs.regenerate_report import regenerate_report

    path = redacted(regenerate_report(output))
    show_published(lambda: print_text(f"report     {path}"), path)


def _dry_run(job: Path, overrides: list[str], as_json: bool) -> None:
    from gpuseg.io.storage import Storage
    from gpuseg.jobs.context import job_errors
    from gpuseg.jobs.job_file import load_job
    from gpuseg.jobs.plan import describe_plan, plan_run
    from gpuseg.jobs.resolve import ResolvedJob
    from gpuseg.runtime.temporary_folder import temporary_folder

    spec = load_job(job, overrides)
    with job_errors(spec), ExitStack() as stack:

        def make_folder(_: ResolvedJob) -> Storage:
            return Storage.from_url(stack.enter_context(temporary_folder()), {}, "folder")

        plan = describe_plan(spec, plan_run(spec, make_folder))
    if as_json:
        print_json(plan)
        return
    _print_job(plan["job"])
    if "lines" in plan:
        files = count(plan["files"], "file")
        print_text(f"lines        {plan['lines']:,} in {files} (estimated for CSV)")
    else:
        row_groups = count(plan["row_groups"], "row group")
        print_text(
            f"rows         {plan['rows']:,} in {row_groups} of {count(plan['files'], 'file')}"
        )
    for text in plan["text_files"]:
        print_text(f"text files   {text}")
    if left_out := plan.get("index_columns_left_out"):
        print_text(f"left out     {', '.join(left_out)} (index of a pandas frame)")
    print_text(f"backend      {plan['backend']['name']} ({plan['backend']['reason']})")
    if "reader" in plan:
        print_text(f"reader       {plan['reader']['name']} ({plan['reader']['reason']})")
        print_text(_needs(plan))
    print_text("dry run: nothing was written")


def _print_job(job: dict[str, Any]) -> None:
    for section, content in job.items():
        for keys in content if isinstance(content, list) else [content]:
            print_text(f"[[{section}]]" if isinstance(content, list) else f"[{section}]")
            for key, value in keys.items():
                print_text(f"  {key} = {json.dumps(value, ensure_ascii=False)}")


def _needs(plan: Mapping[str, Any]) -> str:
    """Return the lines about workers, rows and memory."""
    if plan["workers"] is None:
        return "workers      those of the scheduler; memory is checked once they are known"
    rows, mib = plan["row_storage"], plan["estimated_bytes_per_worker"] / 2**20
    return (
        f"workers      {plan['workers']} × {count(plan['threads_per_worker'], 'thread')}\n"
        f"rows are     {rows['mode']} ({rows['reason']})\n"
        f"memory       about {mib:,.0f} MiB per worker"
    )
