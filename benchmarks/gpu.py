"""k-means on a GPU: passes against what the device can do, and against other engines.

    python benchmarks/gpu.py            all cases
    python benchmarks/gpu.py --quick    a twentieth of the rows, results apart

Ceilings (copy bandwidth, float32 FLOP/s) are measured in the same run. A pass is timed from the
call until its sums are back, three ways: the first, which adds up every row; a full one, which
looks at every row again; and a late one, which looks at about one row in fifty. Results go to
benchmarks/results/gpu.json and gpu.md.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import cupy
import gpu_peers
import numpy as np
from measure import RESULTS, save

from gpuseg import KMeans
from gpuseg.backends import registry
from gpuseg.backends.base import Centers, SumGrid
from gpuseg.backends.cuda import device
from gpuseg.engine.exact import finer_magic, grid_magic

REPEATS = 7
QUICK = 20
RESTARTS = 8

_CHUNK = 2**22
_FMA = r"""
extern "C" __global__ void burn(float* out, float a, float b) {
  float v[8];
  for (int i = 0; i < 8; ++i) v[i] = threadIdx.x + i;
  for (int j = 0; j < 4096; ++j)
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = fmaf(v[i], a, b);
  float total = 0;
  for (int i = 0; i < 8; ++i) total += v[i];
  out[blockIdx.x * blockDim.x + threadIdx.x] = total;
}
"""


@dataclass(frozen=True)
class Case:
    """Rows, features, clusters, and which shares of the bound are wanted."""

    rows: int
    features: int
    clusters: int
    floor: float
    aim: float

    @property
    def title(self) -> str:
        """The case in words."""
        return f"{self.rows / 1e6:g}M × {self.features}, k = {self.clusters}"


CASES = (Case(100_000_000, 16, 8, 0.70, 0.85), Case(50_000_000, 64, 50, 0.50, 0.75))


def seconds(function: Callable[[], Any], before: Callable[[], None] = lambda: None) -> float:
    """Return the median time of a call, the device idle before and after it."""
    times = []
    for _ in range(REPEATS + 1):
        before()
        cupy.cuda.Device().synchronize()
        started = time.perf_counter()
        function()
        cupy.cuda.Device().synchronize()
        times.append(time.perf_counter() - started)
    return median(times[1:])


def ceilings() -> dict[str, float]:
    """Measure copy bandwidth, bytes read and written a second, and float32 FLOP/s."""
    source = cupy.zeros(2**29, cupy.float32)
    target = cupy.empty_like(source)
    copy = 2 * source.nbytes / seconds(lambda: cupy.copyto(target, source))
    blocks = 64 * cupy.cuda.Device().attributes["MultiProcessorCount"]
    out = cupy.empty(blocks * 256, cupy.float32)
    kernel = cupy.RawKernel(_FMA, "burn")
    arguments = (out, np.float32(0.999), np.float32(0.001))
    burned = seconds(lambda: kernel((blocks,), (256,), arguments))
    return {"bytes_a_second": copy, "flops": blocks * 256 * 4096 * 8 * 2 / burned}


def separated(rows: int, features: int, clusters: int) -> tuple[Any, np.ndarray[Any, Any]]:
    """Return rows around separated places, float32 on the device, and centres near the places."""
    random = cupy.random.RandomState(0)
    places = 4 * random.standard_normal((clusters, features), dtype=cupy.float32)
    x = cupy.empty((rows, features), cupy.float32)
    for start in range(0, rows, _CHUNK):
        own = x[start : start + _CHUNK]
        own[:] = random.standard_normal(own.shape, dtype=cupy.float32)
        own += places[random.randint(0, clusters, len(own))]
    near = places + 0.3 * random.standard_normal(places.shape, dtype=cupy.float32)
    return x, cupy.asnumpy(near).astype(np.float64)


def grid_of(x: Any, shift: np.ndarray[Any, Any]) -> SumGrid:
    """Return the grids of the sums of x, measured from a shift."""
    low, high = cupy.asnumpy(x.min(axis=0)), cupy.asnumpy(x.max(axis=0))
    reach = np.maximum(high - shift, shift - low).astype(np.float64) * 1.001
    coarse = [grid_magic(len(x), r) for r in (*reach.tolist(), 1.0)]
    magics = np.array([coarse, [finer_magic(len(x), magic) for magic in coarse]])
    return SumGrid(magics[:, :-1].copy(), magics[:, -1].copy(), len(x))


def passes(x: Any, starts: list[np.ndarray[Any, Any]]) -> dict[str, float]:
    """Time the three kinds of passes for some runs together."""
    backend = registry.get("cuda")
    shift = cupy.asnumpy(x.mean(axis=0, dtype=cupy.float64)).astype(np.float32)
    grid = grid_of(x, shift)
    packed = [backend.pack(Centers(own, shift)) for own in starts]
    memories = [backend.remember(len(x), len(own)) for own in starts]
    runs = list(zip(packed, memories, strict=True))

    def prepare(kind: str) -> None:
        for memory in memories:
            memory.fresh = kind == "first"
            memory.slack.fill(1.0 if kind == "late" else -1.0)
            memory.slack[::50] = -1.0

    return {
        kind: seconds(
            lambda: backend.lloyd(x, None, runs, grid), before=lambda kind=kind: prepare(kind)
        )
        for kind in ("first", "full", "late")
    }


def measured(case: Case, limits: dict[str, float]) -> dict[str, Any]:
    """Measure one case: passes, eight restarts together, and the other engines."""
    x, start = separated(case.rows, case.features, case.clusters)
    own = passes(x, [start])
    memory = 4 * case.rows * case.features / limits["bytes_a_second"]
    compute = 2 * case.rows * case.features * case.clusters / limits["flops"]
    bound = max(memory, compute)
    entry: dict[str, Any] = {
        "title": case.title,
        "bound_s": bound,
        "bound_by": "memory" if memory > compute else "compute",
        "passes_s": own,
        "share": bound / own["full"],
        "floor": case.floor,
        "aim": case.aim,
    }
    random = np.random.default_rng(1)
    several = [start + 0.1 * random.normal(size=start.shape) for _ in range(RESTARTS)]
    together = passes(x, several)
    entry["restarts"] = {name: together[name] / own[name] for name in own}
    peers, failed = gpu_peers.seconds_an_iteration(x, start.astype(np.float32))
    entry["peers_s"], entry["peers_failed"] = peers, failed
    entry["times_faster"] = {name: value / own["full"] for name, value in entry["peers_s"].items()}
    return entry


def same_bits(rows: int) -> dict[str, Any]:
    """Fit on the GPU and on the CPU; tell whether the bits are the same, and the seconds."""
    x = cupy.asnumpy(separated(rows, 16, 8)[0])
    fits, took = {}, {}
    for name in ("cuda", "numba"):
        KMeans(8, random_state=0, max_iter=2, backend=name).fit(x[:100_000])  # compiles
        started = time.perf_counter()
        fits[name] = KMeans(8, random_state=0, max_iter=20, backend=name).fit(x)
        took[name] = time.perf_counter() - started
    a, b = fits["cuda"], fits["numba"]
    same = (
        a.cluster_centers_.tobytes() == b.cluster_centers_.tobytes()
        and a.labels_.tobytes() == b.labels_.tobytes()
        and a.inertia_ == b.inertia_
    )
    return {"rows": rows, "same": same, "seconds": took}


def table(entry: dict[str, Any]) -> str:
    """Return one case in words."""
    own, lines = entry["passes_s"], [f"## {entry['title']}", ""]
    lines.append(f"- bound by {entry['bound_by']}: {entry['bound_s'] * 1e3:.2f} ms")
    for name, value in own.items():
        share = f", {entry['bound_s'] / value:.0%} of the bound" if name != "late" else ""
        lines.append(f"- {name} pass: {value * 1e3:.2f} ms{share}")
    lines.append(f"- wanted of the full pass: floor {entry['floor']:.0%}, aim {entry['aim']:.0%}")
    for name, ratio in entry["restarts"].items():
        lines.append(f"- {RESTARTS} restarts together, {name} pass: {ratio:.2f} × one")
    for name, value in entry["peers_s"].items():
        lines.append(f"- {name}: {value * 1e3:.2f} ms, {entry['times_faster'][name]:.2f} ×")
    lines += [f"- {name} failed: {why}" for name, why in entry["peers_failed"].items()]
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the rows")
    quick = parser.parse_args().quick
    if lacking := device.missing():
        raise SystemExit(f"benchmarks/gpu.py: {lacking.what}; {lacking.step}")
    limits = ceilings()
    name = "gpu-quick" if quick else "gpu"
    content: dict[str, Any] = {"gpu": device.devices(), "ceilings": limits, "cases": []}
    parts = [f"# {', '.join(device.devices())}", ""]
    parts.append(f"Copy {limits['bytes_a_second'] / 1e9:.0f} GB/s, {limits['flops'] / 1e12:.1f} "
                 "TFLOP/s in float32, measured in this run.")  # fmt: skip
    for case in CASES:
        own = Case(case.rows // QUICK if quick else case.rows, *_rest(case))
        content["cases"].append(measured(own, limits))
        parts += ["", table(content["cases"][-1])]
        save(name, content)
    content["same_bits"] = same_bits(10_000_000 // (QUICK if quick else 1))
    parts += ["", f"Same bits as the CPU: {content['same_bits']}", ""]
    save(name, content)
    (RESULTS / f"{name}.md").write_text("\n".join(parts))
    print("\n".join(parts))


def _rest(case: Case) -> tuple[int, int, float, float]:
    return case.features, case.clusters, case.floor, case.aim


if __name__ == "__main__":
    main()
