"""The commands. Results go to standard output; progress, warnings and errors to standard error.

Commands import heavy packages themselves, so that ``gpuseg --help`` is fast.
"""

import atexit
import gc
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from gpuseg import __version__
from gpuseg.errors import GpusegError, ResourceError
from gpuseg.formatting import count
from gpuseg.jobs.job_values import read_job
from gpuseg.jobs.workers import start_importing_for_workers
from gpuseg.printable import printable_lines, printable_text
from gpuseg.redaction import redacted
from gpuseg.runtime.forced_end import (
    INTERRUPTED,
    force_end_after,
    force_end_after_signals,
    tell_interrupted,
)
from gpuseg.runtime.interrupts import Interrupted, Signals
from gpuseg.standard_streams import is_unicode, take_output_error, unfailing_streams

app = typer.Typer(
    name="gpuseg",
    help="Split customers into segments: a table in, segments out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_SWITCH_SECONDS = 0.0001
"""How long a thread that runs Python code may keep the others waiting; Python's default is
fifty times as long. Threads that decode rows need the interpreter often, and for microseconds."""

_SECONDS_TO_END = 5.0
"""How long the end of the process may take, once the run has ended and all is written."""

Job = Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a key of the job; repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(
    job: Job,
    set_: Set = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an older output.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done; touch nothing.")
    ] = False,
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

    with _shown_progress() as progress:
        result = run_job(values, progress=progress)
    path = redacted(result.path)

    def show() -> None:
        if as_json:
            _print_json(result.manifest)
            return
        from gpuseg.reporting.line_quality_table import quality_table
        from gpuseg.reporting.terminal_table import segment_table

        if result.record.transactions is not None:
            _print_table(quality_table(result.record.transactions))
        _print_table(segment_table(result.record))

        _print(f"segments   {path}")
        _print(f"report     {path.rstrip('/')}/_report.html")

    _show_published(show, path)


@app.command()
def features(
    job: Job,
    set_: Set = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an older output.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build features from the transactions of a job: lines in, one row per customer out."""
    from gpuseg.jobs.run_features import run_features

    overrides = [*(set_ or []), *(["output.overwrite=true"] if overwrite else [])]
    with _shown_progress() as progress:
        result = run_features(job, overrides=overrides, progress=progress)
    path = redacted(result.path)

    def show() -> None:
        if as_json:
            _print_json(result.manifest)
            return
        from gpuseg.reporting.line_quality_table import quality_table

        _print_table(quality_table(result.record.transactions))

        _print(f"features   {path}")

    _show_published(show, path)


@app.command()
def report(
    output: Annotated[
        str, typer.Argument(metavar="OUTPUT", help="Path or URL of a run's output folder.")
    ],
) -> None:
    """Render the report of an output again, from its manifest."""
    from gpuseg.jobs.regenerate_report import regenerate_report

    path = redacted(regenerate_report(output))
    _show_published(lambda: _print(f"report     {path}"), path)


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
        _print_json(plan)
        return
    _print_job(plan["job"])
    if "lines" in plan:
        files = count(plan["files"], "file")
        _print(f"lines        {plan['lines']:,} in {files} (estimated for CSV)")
    else:
        row_groups = count(plan["row_groups"], "row group")
        _print(f"rows         {plan['rows']:,} in {row_groups} of {count(plan['files'], 'file')}")
    for text in plan["text_files"]:
        _print(f"text files   {text}")
    if left_out := plan.get("index_columns_left_out"):
        _print(f"left out     {', '.join(left_out)} (index of a pandas frame)")
    _print(f"backend      {plan['backend']['name']} ({plan['backend']['reason']})")
    if "reader" in plan:
        _print(f"reader       {plan['reader']['name']} ({plan['reader']['reason']})")
        _print(_needs(plan))
    _print("dry run: nothing was written")


def _print_job(job: dict[str, Any]) -> None:
    for section, content in job.items():
        for keys in content if isinstance(content, list) else [content]:
            _print(f"[[{section}]]" if isinstance(content, list) else f"[{section}]")
            for key, value in keys.items():
                _print(f"  {key} = {json.dumps(value, ensure_ascii=False)}")


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


@app.command()
def synth(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to.")],
    rows: Annotated[int, typer.Option(help="Customers.")] = 1_000_000,
    transactions: Annotated[
        int | None,
        typer.Option(help="Write this many transaction lines of them instead of features."),
    ] = None,
    features: Annotated[int, typer.Option(help="Numeric columns.")] = 16,
    segments: Annotated[int, typer.Option(help="Latent segments.")] = 8,
    seed: Annotated[int, typer.Option(help="Same seed, same customers.")] = 0,
    files: Annotated[int | None, typer.Option(help="Parquet files; one per million rows.")] = None,
    truth: Annotated[bool, typer.Option("--truth", help="Add the latent segment.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace older files.")] = False,
) -> None:
    """Write synthetic customers that look like customers, or their transactions."""
    from gpuseg.synthetic.customers import write_customers
    from gpuseg.synthetic.transactions import write_transactions

    with _shown_progress() as progress, progress.stage("synth", transactions or rows) as stage:
        if transactions is None:
            paths = write_customers(
                directory, rows=rows, features=features, segments=segments, seed=seed,
                files=files, truth=truth, overwrite=overwrite, report=stage.advance,
            )  # fmt: skip
        else:
            paths = write_transactions(
                directory, lines=transactions, customers=rows, seed=seed, files=files,
                overwrite=overwrite, report=stage.advance,
            )  # fmt: skip
    if transactions is None:
        made = f"{count(rows, 'customer')} × {count(features, 'feature')}"
    else:
        made = f"{count(transactions, 'line')} of {count(rows, 'customer')}"
    text = f"{made} in {count(len(paths), 'file')}: {directory}"
    _show_published(lambda: _print(text), directory)


@app.command()
def info(as_json: AsJson = False) -> None:
    """Print versions, processors and backends of this machine."""
    from gpuseg.jobs.environment import environment

    facts = environment()
    if as_json:
        _print_json(facts)
        return
    for key, value in facts.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        _print(f"{key:<10} {text}")


@contextmanager
def _shown_progress() -> Iterator[Any]:
    """Show progress on standard error, and restore the terminal afterwards."""
    from gpuseg.progress import for_standard_error

    _end_start()
    progress = for_standard_error()
    try:
        yield progress
    finally:
        progress.stop()


def _show_published(show: Callable[[], None], path: object) -> None:
    """Print what a command has made. The files are there: nothing here can fail the command."""
    try:
        show()
    except Exception as error:  # noqa: BLE001 - whatever it is, the results are published
        _print_error(f"warning: the results cannot be shown ({error!r}); they are in {path}")
    if error_of_output := take_output_error():
        _print_error(f"warning: {_not_written(error_of_output)}; the results are in {path}")


def _not_written(error: OSError) -> str:
    return f"standard output cannot be written ({error.strerror or error})"


def _print_table(table: Any) -> None:
    from rich.console import Console

    Console(highlight=False, markup=False, emoji=False).print(table)


def _print_json(content: Any) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=not is_unicode(sys.stdout))
    if not text.replace("\n", "").isprintable():  # json escapes some control characters only
        text = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    print(text)


def _print(text: str) -> None:
    print(printable_lines(text))


def _version(value: bool) -> None:
    if value:
        _print(f"gpuseg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _end_start() -> None:
    """Collect garbage again, but not what there is now."""
    gc.freeze()
    gc.enable()


def main() -> None:
    """Run the command line; every outcome has its exit code."""
    gc.disable()  # imports make many objects, and no garbage
    sys.setswitchinterval(_SWITCH_SECONDS)
    # The threads of a job do the work. Those of a BLAS, for the map of the report, would spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    signals = Signals()
    with unfailing_streams(), _plain_warnings():
        try:
            _run_app()
        except GpusegError as error:
            _print_error(f"error: {error}")
            sys.exit(error.exit_code)
        finally:
            _end_start()  # Python looks for garbage as it ends: 0.4 s after a job
            # Checked here, not caught: an interrupted import may raise any exception.
            if signals.received:
                tell_interrupted()
                sys.exit(INTERRUPTED)
            signals.end()


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show Python's warnings without the line of code that they come from."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *place: f"warning: {printable_text(str(message))}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def _run_app() -> None:
    """Run the command; one that only prints has failed where nothing could be printed.

    Raises
    ------
    GpusegError
    """
    try:
        app()
    except SystemExit as ended:
        if not ended.code and (error := take_output_error()):
            raise ResourceError(
                "stdout.not_writable",
                _not_written(error),
                hint="free some space, or print elsewhere",
            ) from None
        raise


def command() -> None:
    """Run the command line, and end the process at once.

    Otherwise Python takes down all that it has imported, piece by piece.
    """
    force_end_after_signals()
    try:
        main()
    except SystemExit as ended:
        if not isinstance(ended.code, int):
            raise
        code = ended.code
    except Interrupted:  # the signal came at the very end
        tell_interrupted()
        code = INTERRUPTED
    force_end_after(_SECONDS_TO_END, code)  # what others do at the end may wait for lost processes
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # `main` has written all; others may have left some
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # as where it was closed before the start
                stream.flush()
    os._exit(code)


def _print_error(text: str) -> None:
    print(printable_lines(text), file=sys.stderr, flush=True)


if __name__ == "__main__":
    command()
