"""Single Lloyd passes of three kinds, timed: the call as a whole, and its kernels alone."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_check.place import Launched, Place
from gpu_check.problems import Problem, grid_of
from gpuseg.backends.types import Centers, PackedRun, RowBounds

KINDS = ("full", "first", "late")
"""A pass in which no row can be passed over; the first one, which adds up every row; and one that
looks at about one row in fifty."""

REPEATS = 7
_ONE_IN = 50

_DRIFT, _ENOUGH = 0.5, 1.0
"""What each centre has drifted, and a slack above it."""


def set_state(memory: RowBounds, kind: str) -> None:
    """Make the next pass one of a kind, whatever the last one was."""
    memory.fresh = kind == "first"
    memory.drift = np.full_like(memory.drift, _DRIFT)
    memory.slack[:] = _stored(_ENOUGH if kind == "late" else 0.0, memory.slack.dtype)
    if kind == "late":
        memory.slack[::_ONE_IN] = _stored(0.0, memory.slack.dtype)


def _stored(slack: float, dtype: Any) -> Any:
    """Return a slack as it is stored: as float32, or as the upper half of one."""
    value = np.float32(slack)
    return value if dtype == np.float32 else np.uint16(value.view(np.uint32) >> 16)


def bytes_moved(x: Any, memories: Sequence[RowBounds], kind: str) -> float:
    """Return how many bytes a pass of a kind cannot do without.

    Labels are written where they change: in a first pass. Slack is written for the rows that are
    looked at; only a late pass has to read it.
    """
    state = sum(memory.label.nbytes + memory.slack.nbytes for memory in memories)
    looked_at = float(x.nbytes + state)
    if kind != "late":
        return looked_at
    return looked_at / _ONE_IN + sum(memory.slack.nbytes for memory in memories)


@dataclass(frozen=True)
class Timed:
    """What a call took.

    Attributes
    ----------
    call, kernels : float
        Median seconds, from the call until its sums are back, and of its kernels alone.
    best_kernels : float
    launches : tuple of Launched, of one call
    """

    call: float
    kernels: float
    best_kernels: float
    launches: tuple[Launched, ...]


def timed(
    at: Place, call: Callable[[], Any], before: Callable[[], None], repeats: int = REPEATS
) -> Timed:
    """Time a call some times after one that is not counted, the device idle before and after."""
    calls, kernels = [], []
    for turn in range(repeats + 1):
        before()
        at.clock.wait()
        at.watched.launches.clear()
        started = time.perf_counter()
        call()
        at.clock.wait()
        if turn:
            calls.append(time.perf_counter() - started)
            kernels.append(sum(at.clock.seconds(launch.begin, launch.end)
                               for launch in at.watched.launches))  # fmt: skip
    return Timed(median(calls), median(kernels), min(kernels), tuple(at.watched.launches))


class Passes:
    """Passes of some runs together over the rows of a problem.

    Parameters
    ----------
    at : Place
    problem : Problem
    starts : sequence of float64 (k, d)
        The centres of each run.

    Attributes
    ----------
    memories : list of Memory
    """

    def __init__(self, at: Place, problem: Problem, starts: Sequence[NDArray[np.float64]]) -> None:
        shift, self._grid = grid_of(problem.x)
        self._at, self.x = at, at.backend.to_device(problem.x)
        self.memories = [at.backend.new_bounds(len(self.x), len(start)) for start in starts]
        packed = [at.backend.pack(Centers(start, shift)) for start in starts]
        self._runs = list(map(PackedRun, packed, self.memories))

    def prepare(self, kind: str) -> None:
        """Make the next pass one of a kind."""
        for memory in self.memories:
            set_state(memory, kind)

    def go(self) -> Any:
        """Make a pass."""
        return self._at.backend.lloyd(self.x, None, self._runs, self._grid)

    def timed(self, kind: str, repeats: int = REPEATS) -> Timed:
        """Time passes of a kind."""
        return timed(self._at, self.go, lambda: self.prepare(kind), repeats)

    def bytes_moved(self, kind: str) -> float:
        """See `bytes_moved`."""
        return bytes_moved(self.x, self.memories, kind)
