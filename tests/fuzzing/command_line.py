"""Call commands in this process: whatever the case, an exit code of the documentation, no trace."""

import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from support.helpers import Outcome

from fuzzing.limited_memory import limited_memory
from fuzzing.pages import check_text
from gpuseg.cli.app import main
from gpuseg.runtime.exit_codes import SIGNALS

EXIT_CODES = {0, 2, 3}
"""What a command may end with: 1 is an internal error, and no case lacks memory, disk or GPUs."""

DAMAGED = "if the file is small, it is damaged"
"""Ends the message of a Parquet file that asks for too much memory: its exit code is 4."""


def call_command(folder: Path, arguments: Sequence[str], input: Path | None = None) -> Outcome:
    """Call a command as its entry point does, with little memory.

    Parameters
    ----------
    folder : Path
        For files with what is written to standard output and standard error.
    input : Path or None
        A file for standard input.
    """
    output, errors = folder / "stdout", folder / "stderr"
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    arguments_before = sys.argv
    sys.argv = ["gpuseg", *arguments]
    try:
        with (
            output.open("w", encoding="utf-8") as out, errors.open("w", encoding="utf-8") as err,
            redirect_stdout(out), redirect_stderr(err), _standard_input(input), limited_memory(),
            warnings.catch_warnings(),
        ):  # fmt: skip
            warnings.simplefilter("default")
            main()
        raise AssertionError("the command has returned")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv = arguments_before
        for number, handler in handlers.items():
            signal.signal(number, handler)
    written = errors.read_text(encoding="utf-8")
    assert code in EXIT_CODES or (code == 4 and DAMAGED in written), f"exit code {code}: {written}"
    assert "Traceback" not in written, written
    check_text(written)
    return Outcome(code, output.read_bytes().decode(), written)


@contextmanager
def _standard_input(path: Path | None) -> Iterator[None]:
    before, descriptor = os.dup(0), os.open(path or os.devnull, os.O_RDONLY)
    os.dup2(descriptor, 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(descriptor)
