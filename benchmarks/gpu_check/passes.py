"""Time single Lloyd passes of three kinds: the complete call, and its kernels only."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_check.problems import Problem, grid_of
from gpu_check.targets import LaunchRecord, Target
from gpuseg.backends.types import Centers, PackedRun, RowBounds

KINDS = ("full", "first", "late")
"""A pass that scores all rows; the first pass, which also sums all rows; and a late pass, which
scores about one row in fifty."""

REPEATS = 7
_ONE_IN = 50

_DRIFT, _LARGE_SLACK = 0.5, 1.0
"""The drift of each center, and a slack above it."""


def set_state(bounds: RowBounds, kind: str) -> None:
    """Prepare bounds so that the next pass is one of a kind."""
    bounds.fresh = kind == "first"
    bounds.drift = np.full_like(bounds.drift, _DRIFT)
    bounds.slack[:] = _stored(_LARGE_SLACK if kind == "late" else 0.0, bounds.slack.dtype)
    if kind == "late":
        bounds.slack[::_ONE_IN] = _stored(0.0, bounds.slack.dtype)


def _stored(slack: float, dtype: Any) -> Any:
    """Return the stored form of a slack: float32, or the upper half of one."""
    value = np.float32(slack)
    return value if dtype == np.float32 else np.uint16(value.view(np.uint32) >> 16)


def bytes_moved(x: Any, bounds: Sequence[RowBounds], kind: str) -> float:
    """Return the minimum bytes that a pass of a kind moves.

    Labels are written where they change: in a first pass. Slack is written for the scored rows;
    only a late pass must read it.
    """
    n_bytes = float(x.nbytes + sum(b.label.nbytes + b.slack.nbytes for b in bounds))
    if kind != "late":
        return n_bytes
    return n_bytes / _ONE_IN + sum(b.slack.nbytes for b in bounds)


@dataclass(frozen=True)
class Timed:
    """The time of a call.

    Attributes
    ----------
    call, kernels : float
        Median seconds of the call, until its sums are returned, and of its kernels only.
    best_kernels : float
    launches : tuple of Launched, of one call
    """

    call: float
    kernels: float
    best_kernels: float
    launches: tuple[LaunchRecord, ...]


def timed(
    target: Target, call: Callable[[], Any], before: Callable[[], None], repeats: int = REPEATS
) -> Timed:
    """Time a call several times after a warm-up, with an idle device before and after."""
    calls, kernels = [], []
    for turn in range(repeats + 1):
        before()
        target.clock.wait()
        target.recording.launches.clear()
        started = time.perf_counter()
        call()
        target.clock.wait()
        if turn:
            calls.append(time.perf_counter() - started)
            kernels.append(sum(target.clock.seconds(launch.begin, launch.end)
                               for launch in target.recording.launches))  # fmt: skip
    return Timed(median(calls), median(kernels), min(kernels), tuple(target.recording.launches))


class Passes:
    """Passes of some runs together over the rows of a problem.

    Parameters
    ----------
    at : Place
    problem : Problem
    starts : sequence of float64 (k, d)
        The centers of each run.

    Attributes
    ----------
    bounds : list of RowBounds
    """

    def __init__(
        self, target: Target, problem: Problem, starts: Sequence[NDArray[np.float64]]
    ) -> None:
        shift, self._grid = grid_of(problem.x)
        self._target, self.x = target, target.backend.to_device(problem.x)
        self.bounds = [target.backend.new_bounds(len(self.x), len(start)) for start in starts]
        packed = [target.backend.pack(Centers(start, shift)) for start in starts]
        self._runs = list(map(PackedRun, packed, self.bounds))

    def prepare(self, kind: str) -> None:
        """Prepare a pass of a kind."""
        for bounds in self.bounds:
            set_state(bounds, kind)

    def run(self) -> Any:
        """Run a pass."""
        return self._target.backend.lloyd(self.x, None, self._runs, self._grid)

    def timed(self, kind: str, repeats: int = REPEATS) -> Timed:
        """Time passes of a kind."""
        return timed(self._target, self.run, lambda: self.prepare(kind), repeats)

    def bytes_moved(self, kind: str) -> float:
        """See `bytes_moved`."""
        return bytes_moved(self.x, self.bounds, kind)
