"""Measure the limits of the device: copy and read bandwidth, float32 arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np

from gpu_check.problems import ProblemSize
from gpu_check.targets import Target
from gpuseg.backends.cuda import nvrtc

SOURCE = Path(__file__).with_suffix(".cu")

_FLOATS = 2**29
_REPEATS, _WARM = 9, 2
_CHAINS, _TURNS = 8, 4096
"""Independent multiply-adds of `burn`, and the number of repeats of each."""


@dataclass(frozen=True)
class Ceilings:
    """Copy bandwidth (bytes read and written), read bandwidth, and float32 FLOP/s."""

    copy: float
    read: float
    flops: float

    def bound(self, case: ProblemSize, runs: int = 1) -> tuple[float, str]:
        """Return the lower bound of a full pass in seconds, with x read once, and its limit."""
        memory = 4 * case.rows * case.features / self.copy
        compute = 2 * case.rows * case.features * case.clusters * runs / self.flops
        return max((memory, "memory"), (compute, "float32"))


PLACEHOLDER = Ceilings(1e9, 1e9, 1e9)
"""For the emulator, where times have no meaning."""


def measured(target: Target) -> Ceilings:
    """Measure the device."""
    if target.emulated:
        return PLACEHOLDER
    xp = target.xp
    source = xp.zeros(_FLOATS, xp.float32)
    target, result = xp.empty_like(source), xp.zeros(1, xp.float32)
    copy = 2 * source.nbytes / _seconds(target, lambda: xp.copyto(target, source))
    multiprocessors = target.launcher.limits.multiprocessors
    read_all, burn = _functions(xp)
    arguments = (source, np.int64(source.size // 4), result)
    fastest = min(
        _seconds(target, partial(read_all, (n_blocks * multiprocessors,), (512,), arguments))
        for n_blocks in (2, 4, 8)
    )
    blocks, threads = 64 * multiprocessors, 256
    out = xp.empty(blocks * threads, xp.float32)
    operands = (out, np.float32(0.999), np.float32(0.001))
    seconds = _seconds(target, partial(burn, (blocks,), (threads,), operands))
    flops = 2 * blocks * threads * _CHAINS * _TURNS / seconds
    return Ceilings(copy, source.nbytes / fastest, flops)


def _functions(xp: Any) -> tuple[Any, Any]:
    arch = f"sm_{xp.cuda.Device().compute_capability}"
    cubin, _ = nvrtc.compile_cubin(SOURCE.read_text(), SOURCE.name, arch, [])
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        module = xp.RawModule(path=file.name)
        return module.get_function("read_all"), module.get_function("burn")


def _seconds(target: Target, call: Callable[[], Any]) -> float:
    times = []
    for _ in range(_REPEATS):
        begin = target.clock.mark()
        call()
        end = target.clock.mark()
        target.clock.wait()
        times.append(target.clock.seconds(begin, end))
    return median(times[_WARM:])
