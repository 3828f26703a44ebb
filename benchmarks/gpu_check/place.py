"""Where a step runs: on the GPU, or on the tests' emulator of one; and its clock."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from gpu_check import facts
from gpuseg.backends import registry
from gpuseg.backends.cuda import gpus
from gpuseg.backends.cuda.backend import CudaBackend
from gpuseg.backends.cuda.launcher import Kernel, Launcher


class Clock(Protocol):
    """Tells when the device got so far."""

    def mark(self) -> Any:
        """Return a mark behind all that was asked of the device so far."""

    def seconds(self, begin: Any, end: Any) -> float:
        """Return the seconds between two marks that the device has passed."""

    def wait(self) -> None:
        """Return once the device is idle."""


class EventClock:
    """CUDA's events, on CuPy's current stream."""

    def mark(self) -> Any:
        """See `Clock`."""
        import cupy

        event = cupy.cuda.Event()
        event.record()
        return event

    def seconds(self, begin: Any, end: Any) -> float:
        """See `Clock`."""
        import cupy

        milliseconds: float = cupy.cuda.get_elapsed_time(begin, end)
        return milliseconds / 1e3

    def wait(self) -> None:
        """See `Clock`."""
        import cupy

        cupy.cuda.Device().synchronize()


class WallClock:
    """For the emulator, which has done what it was asked when a call returns."""

    def mark(self) -> float:
        """See `Clock`."""
        return time.perf_counter()

    def seconds(self, begin: float, end: float) -> float:
        """See `Clock`."""
        return end - begin

    def wait(self) -> None:
        """See `Clock`."""


@dataclass(frozen=True)
class Launched:
    """A launch: what, with how many blocks and how much shared memory, between which marks."""

    kernel: Kernel
    blocks: int
    shared_bytes: int
    begin: Any
    end: Any


class Watched:
    """A launcher that notes its launches.

    Parameters
    ----------
    launcher : Launcher
    clock : Clock

    Attributes
    ----------
    launches : list of Launched
        To be emptied by those who look at it.
    """

    def __init__(self, launcher: Launcher, clock: Clock) -> None:
        self._launcher = launcher
        self._clock = clock
        self.launches: list[Launched] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._launcher, name)

    def launch(
        self, kernel: Kernel, blocks: int, arguments: Sequence[Any], shared_bytes: int = 0
    ) -> None:
        """Launch a kernel between two marks."""
        begin = self._clock.mark()
        self._launcher.launch(kernel, blocks, arguments, shared_bytes)
        self.launches.append(Launched(kernel, blocks, shared_bytes, begin, self._clock.mark()))


@dataclass(frozen=True)
class Place:
    """A device.

    Attributes
    ----------
    launcher : Launcher
    clock : Clock
    xp : module
        Makes rows: CuPy, or NumPy for the emulator.
    emulated : bool
    """

    launcher: Launcher
    clock: Clock
    xp: Any
    emulated: bool

    @cached_property
    def watched(self) -> Watched:
        """The launcher of `backend`."""
        return Watched(self.launcher, self.clock)

    @cached_property
    def backend(self) -> CudaBackend:
        """A backend whose launches are noted."""
        return CudaBackend(self.watched)

    def figures(self, told: str) -> str:
        """Return what is told of times; of the emulator's there is nothing to tell."""
        return "" if self.emulated else told

    def rows(self, full: int, emulated: int) -> int:
        """Return how many rows to take; the emulator is slow."""
        return emulated if self.emulated else full


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser of the arguments of a step that the emulator can run."""
    made = argparse.ArgumentParser(description=(about or "").split("\n")[0])
    made.add_argument("--emulator", action="store_true", help="take the tests' emulator of a GPU")
    return made


def taken(emulator: bool = False) -> Place:
    """Return the place to run at; end the step where there is none."""
    return _emulator() if emulator else _gpu()


def lacking() -> str:
    """Return why no step can run on a GPU here, in one sentence; empty where they can."""
    missing = gpus.unavailable()
    return f"{missing.reason}; {missing.hint}" if missing else ""


def _gpu() -> Place:
    if why := lacking():
        facts.conclude(why)
        sys.exit(facts.NO_GPU)
    launcher = gpus.launcher()
    return Place(launcher, EventClock(), launcher.xp, emulated=False)


def _emulator() -> Place:
    """Put the emulator in the place of the GPU, for all who ask for one."""
    from emulator.build import unavailable
    from emulator.strict_arrays import ApartLauncher

    if why := unavailable():
        facts.conclude(why)
        sys.exit(facts.NO_GPU)
    launcher: Launcher = ApartLauncher()
    for name, value in (("launcher", launcher), ("missing", None)):
        setattr(gpus, name, lambda fixed=value: fixed)
    registry.get.cache_clear()
    registry.get_neighbors.cache_clear()
    return Place(launcher, WallClock(), np, emulated=True)


if __name__ == "__main__":
    print(lacking())
