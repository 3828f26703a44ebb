"""What the device can do at most, measured: copying, reading, multiplying and adding."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np

from gpu_check.place import Place
from gpu_check.problems import Case
from gpuseg.backends.cuda import nvrtc

SOURCE = Path(__file__).with_suffix(".cu")

_FLOATS = 2**29
_REPEATS, _WARM = 9, 2
_CHAINS, _TURNS = 8, 4096
"""Of `burn`: independent multiply-adds, and how often each is made."""


@dataclass(frozen=True)
class Ceilings:
    """Bytes copied a second (read and written both counted), bytes read, float32 FLOP/s."""

    copy: float
    read: float
    flops: float

    def bound(self, case: Case, runs: int = 1) -> tuple[float, str]:
        """Return the least seconds of a full pass, x counted once, and what sets them."""
        memory = 4 * case.rows * case.features / self.copy
        compute = 2 * case.rows * case.features * case.clusters * runs / self.flops
        return max((memory, "memory"), (compute, "float32"))


PLACEHOLDER = Ceilings(1e9, 1e9, 1e9)
"""Of the emulator, whose times tell nothing."""


def measured(at: Place) -> Ceilings:
    """Measure the device."""
    if at.emulated:
        return PLACEHOLDER
    xp = at.xp
    source = xp.zeros(_FLOATS, xp.float32)
    target, result = xp.empty_like(source), xp.zeros(1, xp.float32)
    copy = 2 * source.nbytes / _seconds(at, lambda: xp.copyto(target, source))
    multiprocessors = at.launcher.limits.multiprocessors
    read_all, burn = _functions(xp)
    arguments = (source, np.int64(source.size // 4), result)
    fastest = min(
        _seconds(at, partial(read_all, (held * multiprocessors,), (512,), arguments))
        for held in (2, 4, 8)
    )
    blocks, threads = 64 * multiprocessors, 256
    out = xp.empty(blocks * threads, xp.float32)
    given = (out, np.float32(0.999), np.float32(0.001))
    burned = _seconds(at, partial(burn, (blocks,), (threads,), given))
    flops = 2 * blocks * threads * _CHAINS * _TURNS / burned
    return Ceilings(copy, source.nbytes / fastest, flops)


def _functions(xp: Any) -> tuple[Any, Any]:
    arch = f"sm_{xp.cuda.Device().compute_capability}"
    cubin, _ = nvrtc.compile_cubin(SOURCE.read_text(), SOURCE.name, arch, [])
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        module = xp.RawModule(path=file.name)
        return module.get_function("read_all"), module.get_function("burn")


def _seconds(at: Place, call: Callable[[], Any]) -> float:
    times = []
    for _ in range(_REPEATS):
        begin = at.clock.mark()
        call()
        end = at.clock.mark()
        at.clock.wait()
        times.append(at.clock.seconds(begin, end))
    return median(times[_WARM:])
