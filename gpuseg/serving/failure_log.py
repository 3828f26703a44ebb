"""The log of a server: one line for each failure on standard error, and no flood of them."""

import sys
import time
from datetime import UTC, datetime

from gpuseg.printable import printable_text

_LINES_PER_SECOND = 20


class FailureLog:
    """Writes lines; of more than some in a second, the rest is only counted."""

    def __init__(self) -> None:
        self._second = 0
        self._n_lines = self._n_dropped = 0

    def write(self, text: str) -> None:
        """Write a line; what a terminal would obey is escaped."""
        second = int(time.monotonic())
        if second != self._second:
            if self._n_dropped:
                self._print(f"and {self._n_dropped:,} more lines")
            self._second, self._n_lines, self._n_dropped = second, 0, 0
        if self._n_lines == _LINES_PER_SECOND:
            self._n_dropped += 1
            return
        self._n_lines += 1
        self._print(text)

    def _print(self, text: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        print(f"{now} gpuseg serve: {printable_text(text)}", file=sys.stderr, flush=True)
