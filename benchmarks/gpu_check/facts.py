"""Facts of steps as JSON lines, written immediately, so that no kill loses one."""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = "facts.jsonl"
FOLDER, STEP, STARTED = "GPU_CHECK_FOLDER", "GPU_CHECK_STEP", "GPU_CHECK_STARTED"
"""Environment variables of a step: the folder of facts, its name, the start of the run."""

NO_GPU, SKIPPED = 4, 5
"""Exit codes of a step, in addition to 0 and 1."""

_TRACE = 900
"""Characters kept of a traceback, from its end."""


def record(what: str, **values: Any) -> None:
    """Print a fact, and append it to the file of facts, if there is one."""
    began = float(os.environ.get(STARTED, time.time()))
    written = line(os.environ.get(STEP, ""), began, what, values)
    print(written, flush=True)
    if folder := os.environ.get(FOLDER):
        append(Path(folder), written)


def line(step: str, began: float, what: str, values: Mapping[str, Any]) -> str:
    """Return the line of a fact; `at` is the seconds since the start of the run."""
    elapsed = round(time.time() - began, 1)
    return json.dumps({"step": step, "at": elapsed, "what": what, **values}, default=str)


def append(folder: Path, written: str) -> None:
    """Append a line in one write, as other processes write to the file too."""
    file = os.open(folder / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{written}\n".encode())
    finally:
        os.close(file)


def read(path: Path, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the facts of a file from a byte offset on."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(start)
        yield from (json.loads(written) for written in file)


def conclude(result: str) -> None:
    """Record the result of the step, one line for the table."""
    record("result", result=result)


def skip(reason: str) -> None:
    """End the step as skipped."""
    conclude(reason)
    sys.exit(SKIPPED)


_MAX_NAMED = 3
"""Failed attempts that the result of a step names."""


class Attempts:
    """Calls that may fail without stopping the following calls."""

    def __init__(self) -> None:
        self.n_passed = 0
        self.failed: list[str] = []

    def __call__(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function and record the outcome; return its result, or None if it fails."""
        began = time.perf_counter()
        try:
            value = function(*arguments)
        except Exception as error:  # noqa: BLE001 – the other attempts are made after any error
            self.failed.append(what)
            message = f"{type(error).__name__}: {error}"[:600]
            record(what, ok=False, error=message, trace=traceback.format_exc()[-_TRACE:])
            return None
        self.n_passed += 1
        values = {} if value is None else {"value": value}
        record(what, ok=True, seconds=round(time.perf_counter() - began, 2), **values)
        return value

    def finish(self, result: str = "") -> None:
        """Record the result; a step with a failed attempt fails."""
        counts = f"{self.n_passed} of {self.n_passed + len(self.failed)} right"
        parts = [counts, *([result] if result else [])]
        if self.failed:
            n_more = len(self.failed) - _MAX_NAMED
            more = f" and {n_more} more" if n_more > 0 else ""
            parts.append(f"wrong: {', '.join(self.failed[:_MAX_NAMED])}{more}")
        conclude("; ".join(parts))
        if self.failed:
            sys.exit(1)
