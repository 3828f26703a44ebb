"""Progress of a run: bars on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from gpuseg.printable import printable_text

_SECONDS_BETWEEN_LINES = 2.0


class Stage(Protocol):
    """A stage of a run that has begun."""

    def advance(self, amount: int) -> None:
        """Count `amount` more units as done; any thread may call it."""
        ...

    def status(self, text: str) -> None:
        """Show the current state of the stage."""
        ...


def iteration_callback(stage: Stage) -> Callable[[int, float, float], None]:
    """Return a callback that shows each pass of k-means: inertia and shift of the first run."""

    def show(n_iter: int, inertia: float, shift: float) -> None:
        stage.advance(1)
        stage.status(f"inertia {inertia:.6g}  shift {shift:.3g}")

    return show


class CountedStage:
    """A stage of a display, and how far it is; any thread may read that.

    Parameters
    ----------
    shown : Stage
    name, total, unit
        As in `Progress.stage`.

    Attributes
    ----------
    done : int
        Units that are done.
    text : str
        Its current state, as it is shown.
    """

    def __init__(self, shown: Stage, name: str, total: int | None, unit: str) -> None:
        self.shown, self.name, self.total, self.unit = shown, name, total, unit
        self.done, self.text = 0, ""
        self._started = time.perf_counter()
        self._ended: float | None = None
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds since the stage has begun, until its end."""
        ended = self._ended
        return (time.perf_counter() if ended is None else ended) - self._started

    def end(self) -> None:
        """Stop the time."""
        self._ended = time.perf_counter()

    def advance(self, amount: int) -> None:
        with self._lock:
            self.done += amount
        self.shown.advance(amount)

    def status(self, text: str) -> None:
        self.text = text
        self.shown.status(text)


class Progress:
    """Show nothing; subclasses override `_open`, `_close` and `log`.

    Several runs may use one display, one after the other.

    Attributes
    ----------
    last : CountedStage or None
        The stage that runs, or that ran last.
    rows : int
        Rows of the last stage that has ended and counted rows.
    """

    def __init__(self) -> None:
        self.last: CountedStage | None = None
        self.rows = 0
        self._current: CountedStage | None = None
        self._remaining = 0

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "rows") -> Iterator[Stage]:
        """Show a stage of `total` units; None if their number is not known."""
        shown = self._open(name, total, unit)
        stage = CountedStage(shown, name, total, unit)
        self.last = self._current = stage
        self._remaining = total or 0
        finished = False
        try:
            yield stage
            finished = True
        finally:
            self._current = None
            stage.end()
            if unit == "rows" and stage.done:
                self.rows = stage.done
            self._close(shown, finished)

    def advance(self, rows: int) -> None:
        """Count rows in the current stage; any thread may call it.

        The count stops at the total of the stage: the rows of a lost worker are read a second
        time.
        """
        counted = min(rows, self._remaining)
        if self._current is not None and counted:
            self._remaining -= counted
            self._current.advance(counted)

    def log(self, text: str) -> None:
        """Show a line that stays."""

    def stop(self) -> None:
        """Restore the terminal."""

    def _open(self, name: str, total: int | None, unit: str) -> "Any":
        return _SilentStage()

    def _close(self, stage: Any, finished: bool) -> None:
        pass


class _SilentStage:
    def advance(self, amount: int) -> None:
        pass

    def status(self, text: str) -> None:
        pass


_SINGULAR = {"passes": "pass", "rows swept": "row swept"}


def counted(number: int, unit: str) -> str:
    """Return "1,000 rows", "1 row"."""
    singular = _SINGULAR.get(unit, unit.removesuffix("s"))
    return f"{number:,} {singular if number == 1 else unit}"


class _PlainLines:
    """A stage as plain lines: one every few seconds, and one at its end."""

    def __init__(self, name: str, unit: str, write: Callable[[str], None]) -> None:
        self.name, self.unit, self.write = name, unit, write
        self.done, self.text = 0, ""
        self.started = self.written = time.perf_counter()
        self._lock = threading.Lock()

    def advance(self, amount: int) -> None:
        with self._lock:
            self.done += amount
        self._write_if_due()

    def status(self, text: str) -> None:
        self.text = text
        self._write_if_due()

    def line(self) -> str:
        done = counted(self.done, self.unit) if self.done else ""
        state = "  ".join(part for part in (done, self.text) if part)
        return f"{self.name:<10} {time.perf_counter() - self.started:7.1f} s  {state}".rstrip()

    def _write_if_due(self) -> None:
        now = time.perf_counter()
        if now - self.written >= _SECONDS_BETWEEN_LINES:
            self.written = now
            self.write(f"{self.line()} …")


class PlainLines(Progress):
    """Plain lines on standard error."""

    def log(self, text: str) -> None:
        if sys.stderr is not None:  # as in a program without a console
            with suppress(OSError, ValueError):  # full or closed: what is shown fails no run
                print(printable_text(text), file=sys.stderr, flush=True)

    def _open(self, name: str, total: int | None, unit: str) -> _PlainLines:
        return _PlainLines(name, unit, self.log)

    def _close(self, stage: _PlainLines, finished: bool) -> None:
        self.log(stage.line() + ("" if finished else "  not finished"))


class _Bar:
    """A stage as a bar of rich."""

    def __init__(self, bars: Any, task: Any, unit: str) -> None:
        self.bars, self.task, self.unit = bars, task, unit
        self.done = 0
        self._lock = threading.Lock()

    def advance(self, amount: int) -> None:
        with self._lock:
            self.done += amount
            state = counted(self.done, self.unit)
            self.bars.update(self.task, advance=amount, state=state)

    def status(self, text: str) -> None:
        self.bars.update(self.task, note=text)


class Bars(Progress):
    """Bars on standard error, one for each stage."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.progress import Progress as RichProgress

        super().__init__()
        self._bars = RichProgress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state]}"),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
        )
        self._bars.start()

    def log(self, text: str) -> None:
        self._bars.console.print(printable_text(text), markup=False, highlight=False)

    def stop(self) -> None:
        self._bars.stop()

    def _open(self, name: str, total: int | None, unit: str) -> _Bar:
        return _Bar(self._bars, self._bars.add_task(name, total=total, note="", state=""), unit)

    def _close(self, stage: _Bar, finished: bool) -> None:
        if not finished:
            stage.status("not finished")
            return
        task = next(task for task in self._bars.tasks if task.id == stage.task)
        self._bars.update(stage.task, total=task.completed or 1, completed=task.completed or 1)


def for_standard_error() -> Progress:
    """Return bars on a terminal, plain lines elsewhere."""
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    return Bars() if on_terminal else PlainLines()
