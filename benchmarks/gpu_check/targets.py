"""The target of a step: the GPU, or the emulator of the tests; and its clock."""

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
    """Measures times on the device."""

    def mark(self) -> Any:
        """Return a mark after all work that the device has so far."""

    def seconds(self, begin: Any, end: Any) -> float:
        """Return the seconds between two marks that the device has reached."""

    def wait(self) -> None:
        """Wait until the device is idle."""


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
    """The clock of the emulator, whose work is complete when a call returns."""

    def mark(self) -> float:
        """See `Clock`."""
        return time.perf_counter()

    def seconds(self, begin: float, end: float) -> float:
        """See `Clock`."""
        return end - begin

    def wait(self) -> None:
        """See `Clock`."""


@dataclass(frozen=True)
class LaunchRecord:
    """A launch: its kernel, blocks and shared memory, and the marks before and after it."""

    kernel: Kernel
    blocks: int
    shared_bytes: int
    begin: Any
    end: Any


class RecordingLauncher:
    """A launcher that records its launches.

    Parameters
    ----------
    launcher : Launcher
    clock : Clock

    Attributes
    ----------
    launches : list of LaunchRecord
        Readers clear it.
    """

    def __init__(self, launcher: Launcher, clock: Clock) -> None:
        self._launcher = launcher
        self._clock = clock
        self.launches: list[LaunchRecord] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._launcher, name)

    def launch(
        self, kernel: Kernel, blocks: int, arguments: Sequence[Any], shared_bytes: int = 0
    ) -> None:
        """Launch a kernel between two marks."""
        begin = self._clock.mark()
        self._launcher.launch(kernel, blocks, arguments, shared_bytes)
        self.launches.append(LaunchRecord(kernel, blocks, shared_bytes, begin, self._clock.mark()))


@dataclass(frozen=True)
class Target:
    """A device that steps run on.

    Attributes
    ----------
    launcher : Launcher
    clock : Clock
    xp : module
        The module for rows: CuPy, or NumPy for the emulator.
    emulated : bool
    """

    launcher: Launcher
    clock: Clock
    xp: Any
    emulated: bool

    @cached_property
    def recording(self) -> RecordingLauncher:
        """The launcher of `backend`."""
        return RecordingLauncher(self.launcher, self.clock)

    @cached_property
    def backend(self) -> CudaBackend:
        """A backend with recorded launches."""
        return CudaBackend(self.recording)

    def figures(self, text: str) -> str:
        """Return a text about times; empty for the emulator, where times have no meaning."""
        return "" if self.emulated else text

    def rows(self, full: int, emulated: int) -> int:
        """Return the number of rows to use; the emulator is slow."""
        return emulated if self.emulated else full


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return an argument parser for a step that the emulator can run."""
    step_parser = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    step_parser.add_argument("--emulator", action="store_true", help="use the tests' emulator")
    return step_parser


def open_target(emulator: bool = False) -> Target:
    """Return the target; end the step if there is none."""
    return _emulator() if emulator else _gpu()


def no_gpu_reason() -> str:
    """Return the reason why no step can run on a GPU here; empty if they can."""
    missing = gpus.unavailable()
    return f"{missing.reason}; {missing.hint}" if missing else ""


def _gpu() -> Target:
    if reason := no_gpu_reason():
        facts.conclude(reason)
        sys.exit(facts.NO_GPU)
    launcher = gpus.launcher()
    return Target(launcher, EventClock(), launcher.xp, emulated=False)


def _emulator() -> Target:
    """Replace the GPU by the emulator, for all callers."""
    from emulator.build import unavailable
    from emulator.strict_arrays import StrictLauncher

    if reason := unavailable():
        facts.conclude(reason)
        sys.exit(facts.NO_GPU)
    launcher: Launcher = StrictLauncher()
    for name, value in (("launcher", launcher), ("unavailable", None)):
        setattr(gpus, name, lambda fixed=value: fixed)
    registry.get.cache_clear()
    registry.get_neighbors.cache_clear()
    return Target(launcher, WallClock(), np, emulated=True)


if __name__ == "__main__":
    print(no_gpu_reason())
