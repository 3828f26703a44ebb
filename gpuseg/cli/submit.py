"""The command submit: a job goes to the scheduler of a cluster."""

import sys
from typing import Annotated, Any

import typer

from gpuseg.cli.jobs import Job, Set
from gpuseg.cli.options import AsJson, Overwrite
from gpuseg.cli.show import end_start, print_error, print_json, print_text
from gpuseg.errors import ConfigError


def submit(
    job: Job,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="KIND", help="slurm, kubernetes or local; else submit.kind."),
    ] = None,
    set_: Set = None,
    array: Annotated[
        list[str] | None,
        typer.Option(
            "--array",
            metavar="SECTION.KEY=VALUE,VALUE",
            help="A job for each value, with an output KEY=VALUE below that of the job; "
            "repeatable.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the script or manifest; queue nothing.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the job, and end with its exit code.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job to Slurm, Kubernetes or this machine; print the id of the job."""
    end_start()
    from gpuseg.jobs.job_values import read_job
    from gpuseg.jobs.submit.launchers import launcher_of
    from gpuseg.jobs.submit.prepare import prepare

    overrides = [*(set_ or []), *(["output.overwrite=true"] if overwrite else [])]
    values = read_job(job, overrides)
    launcher = launcher_of(_kind(values), "submit.kind") if to is None else launcher_of(to)
    submission = prepare(values, launcher, array=array or [])
    if dry_run:
        print(launcher.render(submission), end="")
        return
    from gpuseg.jobs.submit.submit_job import submit_job
    from gpuseg.jobs.submit.wait_for import wait_for

    record = submit_job(submission, launcher)
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        print_text(record.job_id)
    sys.stdout.flush()
    if not wait:
        return
    state = wait_for(record, launcher)
    if state.exit_code:
        print_error(f"error: job {record.job_id}: {state.reason or state.state}")
        print_error(f"its log and its job file are in {record.folder}")
        raise SystemExit(state.exit_code)


def _kind(values: Any) -> str:
    section = values.get("submit")
    kind = section.get("kind") if isinstance(section, dict) else None
    if kind is None:
        raise ConfigError(
            "submit.no_kind", "nothing says where to submit the job",
            hint='give --to slurm, or write kind = "slurm" under [submit]',
        )  # fmt: skip
    return str(kind)
