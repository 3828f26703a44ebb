"""What a run shows while it runs: bars on a terminal, plain lines elsewhere, seconds for all."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

_LINES_APART = 2.0


class Stage(Protocol):
    """A stage under way."""

    def advance(self, amount: int) -> None:
        """Count `amount` more units as done; callable from any thread."""
        ...

    def note(self, text: str) -> None:
        """Show how things stand."""
        ...


def iteration_callback(stage: Stage) -> Callable[[int, float, float], None]:
    """Return a callback that shows each pass of k-means: inertia and shift of the first run."""

    def show(n_iter: int, inertia: float, shift: float) -> None:
        stage.advance(1)
        stage.note(f"inertia {inertia:.6g}  shift {shift:.3g}")

    return show


class Progress:
    """Shows nothing, but measures: the seconds of each stage are in `seconds`.

    Subclasses override `_open`, `_close` and `_stage`.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._current: Stage | None = None
        self._left = 0

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "rows") -> Iterator[Stage]:
        """Show and time a stage; `total` is the number of units in it, where that is known."""
        started = time.perf_counter()
        stage = self._open(name, total, unit)
        self._current, self._left = stage, total or 0
        finished = False
        try:
            yield stage
            finished = True
        finally:
            self._current = None
            self.seconds[name] = time.perf_counter() - started
            self._close(stage, finished)

    def report(self, rows: int) -> None:
        """Count rows in the stage under way; callable from any thread.

        No more than the stage has: a shard whose worker was lost is read a second time, whatever
        the stage.
        """
        counted = min(rows, self._left)
        if self._current is not None and counted:
            self._left -= counted
            self._current.advance(counted)

    def message(self, text: str) -> None:
        """Show a line that stays."""

    def stop(self) -> None:
        """Leave the terminal as it was."""

    def _open(self, name: str, total: int | None, unit: str) -> "Any":
        return _Nothing()

    def _close(self, stage: Any, finished: bool) -> None:
        pass


class _Nothing:
    def advance(self, amount: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


_ONE = {"passes": "pass", "rows swept": "row swept"}


def counted(number: int, unit: str) -> str:
    """Return "1,000 rows", "1 row"."""
    return f"{number:,} {_ONE.get(unit, unit.removesuffix('s')) if number == 1 else unit}"


class _Line:
    """A stage as plain lines: now and then while it runs, and one at its end."""

    def __init__(self, name: str, unit: str, write: Callable[[str], None]) -> None:
        self.name, self.unit, self.write = name, unit, write
        self.done, self.text = 0, ""
        self.started = self.written = time.perf_counter()
        self._lock = threading.Lock()

    def advance(self, amount: int) -> None:
        with self._lock:
            self.done += amount
        self._now_and_then()

    def note(self, text: str) -> None:
        self.text = text
        self._now_and_then()

    def line(self) -> str:
        done = counted(self.done, self.unit) if self.done else ""
        state = "  ".join(part for part in (done, self.text) if part)
        return f"{self.name:<10} {time.perf_counter() - self.started:7.1f} s  {state}".rstrip()

    def _now_and_then(self) -> None:
        now = time.perf_counter()
        if now - self.written >= _LINES_APART:
            self.written = now
            self.write(f"{self.line()} …")


class PlainLines(Progress):
    """Plain lines on standard error."""

    def _open(self, name: str, total: int | None, unit: str) -> _Line:
        return _Line(name, unit, self.message)

    def _close(self, stage: _Line, finished: bool) -> None:
        self.message(stage.line() + ("" if finished else "  not finished"))

    def message(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


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

    def note(self, text: str) -> None:
        self.bars.update(self.task, note=text)


class Bars(Progress):
    """Bars on standard error, one a stage."""

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

    def message(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        self._bars.stop()

    def _open(self, name: str, total: int | None, unit: str) -> _Bar:
        return _Bar(self._bars, self._bars.add_task(name, total=total, note="", state=""), unit)

    def _close(self, stage: _Bar, finished: bool) -> None:
        if not finished:
            stage.note("not finished")
            return
        task = next(task for task in self._bars.tasks if task.id == stage.task)
        self._bars.update(stage.task, total=task.completed or 1, completed=task.completed or 1)


def for_standard_error() -> Progress:
    """Return bars on a terminal, plain lines elsewhere."""
    return Bars() if sys.stderr.isatty() else PlainLines()
