"""Measure the host time of a Lloyd pass: everything but the kernels, with an empty launcher.

    python benchmarks/host_cost.py

A pass begins with packing the new centers and ends when the changes of the sums are float64 again.
The arrays of the device are NumPy arrays here, with copies to them and back. The cost that CuPy
adds for a launch and two copies is not included; a GPU shows it (``scripts/gpu_check``, times).
Results go to benchmarks/results/host_cost.json: the median and the minimum of many blocks of
passes, because other processes disturb the machine.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from measure import save

from gpuseg.backends.cuda.backend import CudaBackend
from gpuseg.backends.cuda.launcher import Kernel, Limits
from gpuseg.backends.types import Centers, PackedRun
from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.numerics.sum_grid import SumGrid

BLOCKS, PASSES = 100, 50

H100 = Limits("like an H100", 132, 227 * 1024, 228 * 1024, 90)


class EmptyLauncher:
    """See `gpuseg.backends.cuda.launcher.Launcher`; launches nothing."""

    xp: Any = np
    limits = H100

    def stream(self) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return nullcontext()

    def launch(
        self, kernel: Kernel, blocks: int, arguments: Sequence[Any], shared_bytes: int = 0
    ) -> None:
        """Do nothing."""

    def free_bytes(self) -> int:
        """Return some memory."""
        return 1 << 30

    def to_device(self, array: Any) -> Any:
        """Return the array."""
        return array

    def adopt(self, array: Any) -> Any:
        """Return the array."""
        return array

    def to_host(self, array: Any) -> Any:
        """Return the array."""
        return array

    def address(self, array: Any) -> int:
        """Return an aligned address: CuPy reads an attribute, NumPy makes a dictionary."""
        return 256

    def staging(self, n_bytes: int) -> Any:
        """Return memory."""
        return np.empty(n_bytes, np.uint8)

    def upload(self, source: Any, target: Any) -> None:
        """Copy."""
        target[...] = source

    def download(self, source: Any, target: Any) -> None:
        """Copy."""
        target[...] = source


@dataclass(frozen=True)
class LaunchCase:
    """Features, centers of each run, and the kind of the passes."""

    features: int
    ks: tuple[int, ...]
    passes: Any

    @property
    def title(self) -> str:
        """The case in words."""
        centers = f"{len(self.ks)} × {self.ks[0]}" if len(self.ks) > 1 else str(self.ks[0])
        return f"{self.features} features, k = {centers}, {self.passes} pass"


CASES = (
    LaunchCase(16, (8,), "full"), LaunchCase(16, (8,), "late"), LaunchCase(64, (50,), "full"),
    LaunchCase(64, (50,), "late"), LaunchCase(16, (8,) * 8, "full"),
)  # fmt: skip


def pass_of(case: LaunchCase) -> Callable[[], object]:
    """Return a function that runs a pass of the case."""
    rng = np.random.default_rng(0)
    backend = CudaBackend(EmptyLauncher(), case.passes)
    x, shift = np.zeros((100_000, case.features), np.float32), np.zeros(case.features, np.float32)
    coarse = [grid_magic(len(x), 1.0)] * (case.features + 1)
    magics = np.array([coarse, [finer_magic(len(x), magic) for magic in coarse]])
    grid = SumGrid(magics[:, :-1].copy(), magics[:, -1].copy(), len(x))
    centers = [Centers(rng.normal(size=(k, case.features)), shift) for k in case.ks]
    bounds = [backend.new_bounds(len(x), k) for k in case.ks]
    for run_bounds in bounds:
        run_bounds.fresh = False

    def run() -> object:
        packed = [backend.pack(centers_of_run) for centers_of_run in centers]
        return backend.lloyd(x, None, list(map(PackedRun, packed, bounds)), grid)

    return run


def microseconds(run: Callable[[], object]) -> float:
    """Return the time of a pass, the mean of a block of passes."""
    started = time.perf_counter()
    for _ in range(PASSES):
        run()
    return (time.perf_counter() - started) / PASSES * 1e6


def main() -> None:
    """Measure blocks of all cases in turn; print and write the results."""
    runs = [pass_of(case) for case in CASES]
    blocks = [[microseconds(run) for run in runs] for _ in range(BLOCKS)]
    cases = []
    for case, took in zip(CASES, zip(*blocks, strict=True), strict=True):
        entry = {"case": case.title, "median_us": round(median(took)), "min_us": round(min(took))}
        cases.append(entry)
        print(f"{entry['case']}: {entry['median_us']} µs a pass, at least {entry['min_us']} µs")
    save("host_cost", {"cases": cases})


if __name__ == "__main__":
    main()
