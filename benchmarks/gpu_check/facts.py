"""What a step says: facts, a JSON line each, written at once, so that no kill loses one."""

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
"""Environment of a step's process: where facts go, the step's name, when all began."""

NO_GPU, SKIPPED = 4, 5
"""Exit codes of a step besides 0 and 1."""

_TRACE = 900
"""Characters of a traceback that are kept: its end tells where."""


def say(what: str, **told: Any) -> None:
    """Print a fact, and append it to the file of facts where there is one."""
    began = float(os.environ.get(STARTED, time.time()))
    written = line(os.environ.get(STEP, ""), began, what, told)
    print(written, flush=True)
    if folder := os.environ.get(FOLDER):
        append(Path(folder), written)


def line(step: str, began: float, what: str, told: Mapping[str, Any]) -> str:
    """Return a fact as it is written; `at` is the seconds since all began."""
    at = round(time.time() - began, 1)
    return json.dumps({"step": step, "at": at, "what": what, **told}, default=str)


def append(folder: Path, written: str) -> None:
    """Append a line in one write: other processes write here, too."""
    file = os.open(folder / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{written}\n".encode())
    finally:
        os.close(file)


def read(path: Path, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the facts of a file from a byte on."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(start)
        yield from (json.loads(written) for written in file)


def conclude(result: str) -> None:
    """Say what the step comes to, in one line: it goes into the table."""
    say("result", result=result)


def skip(why: str) -> None:
    """End the step: there is nothing to do here."""
    conclude(why)
    sys.exit(SKIPPED)


_NAMED = 3
"""Of the attempts that failed, in the one line that a step comes to."""


class Attempts:
    """Calls that may each fail without keeping the others from being made."""

    def __init__(self) -> None:
        self.right = 0
        self.wrong: list[str] = []

    def __call__(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function and say how that went; return what it returned, None if it failed."""
        began = time.perf_counter()
        try:
            value = function(*arguments)
        except Exception as error:  # noqa: BLE001 – whatever it is, the others are tried
            self.wrong.append(what)
            why = f"{type(error).__name__}: {error}"[:600]
            say(what, ok=False, error=why, trace=traceback.format_exc()[-_TRACE:])
            return None
        self.right += 1
        told = {} if value is None else {"value": value}
        say(what, ok=True, seconds=round(time.perf_counter() - began, 2), **told)
        return value

    def finish(self, result: str = "") -> None:
        """Conclude; a step with a failed attempt has failed."""
        counts = f"{self.right} of {self.right + len(self.wrong)} right"
        parts = [counts, *([result] if result else [])]
        if self.wrong:
            more = f" and {len(self.wrong) - _NAMED} more" if len(self.wrong) > _NAMED else ""
            parts.append(f"wrong: {', '.join(self.wrong[:_NAMED])}{more}")
        conclude("; ".join(parts))
        if self.wrong:
            sys.exit(1)
