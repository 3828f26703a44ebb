"""The commands. Results go to standard output; progress, warnings and errors to standard error.

Commands import heavy packages themselves, so that ``gpuseg --help`` is fast.
"""

import atexit
import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import typer

from gpuseg import __version__
from gpuseg.cli.audience import audience
from gpuseg.cli.drift import drift
from gpuseg.cli.export import export
from gpuseg.cli.history import history
from gpuseg.cli.info import info
from gpuseg.cli.jobs import features, report, run
from gpuseg.cli.models import models
from gpuseg.cli.refresh import refresh
from gpuseg.cli.score import score
from gpuseg.cli.serve import serve
from gpuseg.cli.show import end_start, not_written, print_error, print_text
from gpuseg.cli.submit import submit
from gpuseg.cli.synth import synth
from gpuseg.cli.watch import cancel, logs, status
from gpuseg.errors import GpusegError, ResourceError
from gpuseg.printable import printable_text
from gpuseg.runtime.exit_codes import INTERRUPTED, PAUSED
from gpuseg.runtime.forced_end import (
    force_end_after,
    force_end_after_signals,
    tell_interrupted,
)
from gpuseg.runtime.interrupts import Interrupted, Signals, code_of_interrupt
from gpuseg.runtime.ranks.run_end import RankEnded
from gpuseg.standard_streams import take_output_error, unfailing_streams

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

_COMMANDS: tuple[Callable[..., None], ...] = (
    *(run, submit, features, report, export, score, drift, audience),
    *(refresh, history, status, logs, cancel),
    *(serve, synth, info),
)
"""In the order of the help."""

for _command in _COMMANDS:
    app.command()(_command)

app.add_typer(models)


def _version(value: bool) -> None:
    if value:
        print_text(f"gpuseg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every outcome has its exit code."""
    gc.disable()  # imports make many objects, and no garbage
    sys.setswitchinterval(_SWITCH_SECONDS)
    # The threads of a job do the work. Those of a BLAS, for the map of the report, would spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    signals, is_done = Signals(), False
    with unfailing_streams(), _plain_warnings():
        try:
            _run_app()
        except SystemExit as ended:
            is_done = not ended.code
            if isinstance(ended, RankEnded):
                print_error(ended.text)
            raise
        except GpusegError as error:
            print_error(f"error: {error}")
            sys.exit(error.exit_code)
        finally:
            end_start()  # Python looks for garbage as it ends: 0.4 s after a job
            # Checked here, not caught: an interrupted import may raise any exception. A run that
            # is done has nothing to go on with.
            if signals.received and not (is_done and signals.code == PAUSED):
                tell_interrupted(signals.code)
                sys.exit(signals.code)
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
                not_written(error),
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
        code = code_of_interrupt() or INTERRUPTED
        tell_interrupted(code)
    force_end_after(_SECONDS_TO_END, code)  # what others do at the end may wait for lost processes
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # `main` has written all; others may have left some
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # as where it was closed before the start
                stream.flush()
    os._exit(code)
