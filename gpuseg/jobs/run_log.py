"""The log of a run in its run folder: notes, warnings and stages, each line with its time."""

import re
from datetime import UTC, datetime
from threading import Lock

from gpuseg.io.output.run_folder import LOG, RunFolder
from gpuseg.printable import printable
from gpuseg.run_status import RunState

_END = re.compile(r" ended: [a-z]+, exit code (\d{1,3})$")


class RunLog:
    """Lines that wait until they are written; any thread may add some."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._lock = Lock()

    def add(self, text: str, level: str = "info") -> None:
        """Add a line; what a terminal would obey is escaped."""
        now = datetime.now(UTC)
        line = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z {level:<7} "
        with self._lock:
            self._lines.append(line + printable(text))

    def flush(self, folder: RunFolder) -> None:
        """Append the lines that wait to the file.

        Raises
        ------
        GpusegError, OSError
        """
        with self._lock:
            lines, self._lines = self._lines, []
        if lines:
            folder.append(LOG, "".join(f"{line}\n" for line in lines).encode())


def end_line(state: RunState, exit_code: int) -> str:
    """Return the last line of a run, from which `exit_code_of` reads its exit code."""
    return f"ended: {state}, exit code {exit_code}"


def exit_code_of(log: str) -> int | None:
    """Return the exit code at the end of a log; None if the run has not ended there."""
    match = _END.search(log.rstrip("\n"))
    return int(match[1]) if match else None
