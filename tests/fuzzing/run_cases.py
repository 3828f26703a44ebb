"""Run drawn cases; keep those that end with a foreign exception, or run too long."""

import importlib
import random
import signal
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gpuseg.errors import GpusegError

TARGETS: dict[str, str] = {
    "audiences": "audiences",
    "data-files": "data_files",
    "differing-files": "differing_files",
    "job-files": "job_files",
    "json-lines": "json_lines",
    "kills": "kills",
    "models": "models",
    "manifests": "manifests",
    "names": "names",
    "scored-tables": "scored_tables",
    "serving": "serving",
    "text-files": "text_files",
}
"""Name of each fuzzer, and the module of this package whose `fuzzer()` makes it."""


class Fuzzer(Protocol):
    """Draws and tries cases of one kind.

    One that is a context manager is entered before it is prepared, and left after the last case.
    """

    seconds: float
    """How long a case may take."""

    def prepare(self, folder: Path) -> None:
        """Write what all cases share into `folder`, once."""

    def try_case(self, draw: random.Random, folder: Path) -> None:
        """Draw a case, write it into the empty `folder`, and try it.

        It may return, or raise a `GpusegError` that passes the checks of the fuzzer; everything
        else, an `AssertionError` of the fuzzer itself included, is a finding.
        """


@dataclass(frozen=True)
class Finding:
    """A case that broke a rule; its number and the seed repeat it."""

    number: int
    error: str
    trace: str


class TooSlow(BaseException):
    """A case took longer than it may; not an `Exception`, which a library would handle."""


def load_fuzzer(name: str) -> Fuzzer:
    """Make the fuzzer of a name."""
    fuzzer: Fuzzer = importlib.import_module(f"fuzzing.{TARGETS[name]}").fuzzer()
    return fuzzer


def run_cases(fuzzer: Fuzzer, seed: int, numbers: range) -> Iterator[Finding]:
    """Try the cases of these numbers, and yield what broke a rule.

    A case depends on `seed` and its number alone, so that it can be repeated by itself.
    """
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-"))
        if isinstance(fuzzer, AbstractContextManager):
            stack.enter_context(fuzzer)
        shared = Path(temporary) / "shared"
        shared.mkdir()
        fuzzer.prepare(shared)
        for number in numbers:
            folder = Path(temporary) / f"case-{number}"
            folder.mkdir()
            finding = _tried(fuzzer, random.Random(f"{seed}:{number}"), number, folder)
            if finding is not None:
                yield finding
            _remove(folder)


def _tried(fuzzer: Fuzzer, draw: random.Random, number: int, folder: Path) -> Finding | None:
    try:
        with _time_limit(fuzzer.seconds):
            fuzzer.try_case(draw, folder)
    except GpusegError:
        return None
    except (Exception, TooSlow, SystemExit) as error:  # noqa: BLE001 - each one is a finding
        return Finding(number, f"{type(error).__name__}: {error}"[:300], traceback.format_exc())
    return None


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def expired(signal_number: int, frame: Any) -> None:
        raise TooSlow(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _remove(folder: Path) -> None:
    """Remove the folder of a case, which may have files that only this can remove."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
            path.rmdir()
        else:
            path.unlink()
    folder.rmdir()
