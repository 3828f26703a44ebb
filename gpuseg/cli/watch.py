"""Commands that watch runs: status, logs and cancel."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gpuseg.cli.options import AsJson
from gpuseg.cli.show import print_json, print_text
from gpuseg.printable import printable_lines
from gpuseg.progress import counted

if TYPE_CHECKING:
    from gpuseg.run_status import RunStatus

Run = Annotated[
    str,
    typer.Argument(
        metavar="OUTPUT|JOBID", help="Path or URL of a run's output, or the id of a submitted job."
    ),
]
"""The run that a command is about; an id goes before a path, and ./NAME is always a path."""

_NAMES = {"run": "OUTPUT|JOBID"}


def status(run: Run, as_json: AsJson = False) -> None:
    """Print what a run is doing, or how it ended."""
    from gpuseg.errors import parameter_names
    from gpuseg.jobs.watch.current_status import current_status
    from gpuseg.jobs.watch.locate import locate, members_of

    with parameter_names(_NAMES):
        place = locate(run, "run")
        statuses = [current_status(each) for each in members_of(place, "run")]
    if as_json:
        content = [each.to_json() for each in statuses]
        print_json(content if place.is_array else content[0])
        return
    for i, each in enumerate(statuses):
        if i:
            print_text("")
        _print_status(each)


def logs(
    run: Run,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Print new lines until the run ends; exit with its exit code."
        ),
    ] = False,
) -> None:
    """Print the log of a run, or all that a submitted job has printed."""
    from gpuseg.errors import parameter_names
    from gpuseg.jobs.watch.follow_log import follow_log, log_text
    from gpuseg.jobs.watch.locate import locate

    with parameter_names(_NAMES):
        place = locate(run, "run")
        if not follow:
            _write(log_text(place))
            return
        code = follow_log(place, _write)
    if code:
        raise typer.Exit(code)


def cancel(run: Run) -> None:
    """End a run as Ctrl-C does; nothing of it is kept."""
    from gpuseg.errors import parameter_names
    from gpuseg.jobs.watch.cancel_run import cancel_run
    from gpuseg.jobs.watch.locate import locate

    with parameter_names(_NAMES):
        ended = cancel_run(locate(run, "run"))
    print_text(f"cancelled  {ended.output}")


def _print_status(status: "RunStatus") -> None:
    """Print one line for each thing that is known."""
    now = datetime.now(UTC)
    lines = {
        "state": status.state
        + ("" if status.exit_code is None else f", exit code {status.exit_code}"),
        "error": None if status.error is None else f"{status.error.text} ({status.error.code})",
        "stage": status.stage
        and status.stage + (f", {counted(status.n_pass, 'passes')}" if status.n_pass else ""),
        "detail": status.detail,
        "rows": None if status.rows is None else _rows(status),
        "heartbeat": status.heartbeat and f"{(now - status.heartbeat).total_seconds():,.0f} s ago",
        "started": status.started and f"{status.started:%Y-%m-%d %H:%M:%S} UTC",
        "process": status.pid and f"{status.pid} on {status.host}",
        "attempt": status.attempt if status.attempt > 1 else None,
        "job": status.job_id and f"{status.job_id} ({status.launcher})",
        "run": status.run_id,
        "output": status.output,
    }
    for name, value in lines.items():
        if value is not None:
            print_text(f"{name:<10} {value}")


def _rows(status: "RunStatus") -> str:
    of_all = f" of {status.total_rows:,}" if status.total_rows else ""
    rate = f", {status.rows_per_second:,.0f} a second" if status.rows_per_second else ""
    return f"{status.rows:,}{of_all}{rate}"


def _write(text: str) -> None:
    """Write lines of a log; what a terminal would obey is escaped."""
    print(printable_lines(text), end="", flush=True)
