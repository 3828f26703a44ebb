"""The cases of the model: what is launched, on how many rows.

Each case is run twice, on few rows and on more, and what the second run does beyond the first is
what the rows between them cost: what a launch costs once falls away. The planning is the
project's, for an H100 with one multiprocessor, and the answers are held against the
specification's: what is counted is known to compute the right thing.

Another case is a function that launches kernels through the backend, with a launcher and a number
of rows, and checks what they return; and a line in `CASES`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.cuda.backend import CudaBackend
from gpuseg.backends.cuda.lloyd import PassKind
from gpuseg.backends.cuda.neighbors import CudaNeighbors
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.backends.numpy.neighbors import NumpyNeighbors
from gpuseg.backends.protocols import NeighborKernels
from gpuseg.backends.types import Centers, PackedRun, RowBounds
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.numerics.sum_grid import SumGrid
from gpuseg.runtime.executor import TaskContext
from machine_code.launcher import MachineCodeLauncher, Profile

Floats = NDArray[np.float32]
Launch = Callable[[MachineCodeLauncher, int], int]
"""Launch kernels for so many rows; return for how many units, mostly rows, they did something."""

FIRST = 2.0
"""In place of a share of rows to look at: that nothing is known of them."""

_TERMS = 2**27
"""For how many rows the grids of the sums are made: more than the predicted cases have."""

_SPEC = registry.get("numpy")


@dataclass(frozen=True)
class Case:
    """Something that kernels do for rows.

    Attributes
    ----------
    name : str
    units : int
        Rows, or what else is counted by, for which the time is predicted.
    few, many : int
        Rows that are run.
    launch : callable
        Does it; raises AssertionError for a wrong answer.
    budget : int
        Instructions of a thread for a row that are allowed; 0: any.
    """

    name: str
    units: int
    few: int
    many: int
    launch: Launch
    budget: int = 0


@dataclass(frozen=True)
class Difference:
    """What the rows cost that the second run has beyond the first.

    Attributes
    ----------
    profiles : list of Profile
        Of each form of a kernel.
    units : int
        How many these are of what the case counts by.
    """

    profiles: list[Profile]
    units: int


def difference_of(case: Case) -> Difference:
    """Run a case twice.

    Raises
    ------
    ValueError
        When the two runs launch different forms of kernels.
    """
    few, many = MachineCodeLauncher(), MachineCodeLauncher()
    units = case.launch(many, case.many) - case.launch(few, case.few)
    if few.profiles.keys() != many.profiles.keys():
        raise ValueError(
            f"{case.name}: {case.few} rows launch {sorted(few.profiles)}, {case.many} rows "
            f"{sorted(many.profiles)}; they must launch the same forms of kernels"
        )
    profiles = [profile.less(few.profiles[form]) for form, profile in many.profiles.items()]
    return Difference([profile for profile in profiles if profile.issued.any()], units)


def separated(rows: int, features: int, clusters: int) -> tuple[Floats, Centers]:
    """Return rows around separated places, and centres near the places."""
    random = np.random.default_rng(features * clusters)
    places = 4 * random.standard_normal((clusters, features), dtype=np.float32)
    x = random.standard_normal((rows, features), dtype=np.float32)
    x += places[random.integers(0, clusters, rows)]
    near = places + 0.3 * random.standard_normal(places.shape)
    return x, Centers(near.astype(np.float64), x.mean(axis=0, dtype=np.float64).astype(np.float32))


def grid_of(x: Floats, shift: Floats) -> SumGrid:
    """Return the grids of the sums of rows, measured from a shift."""
    reach = np.abs(x.astype(np.float64) - shift).max(axis=0)
    coarse = [grid_magic(_TERMS, largest) for largest in (*reach.tolist(), 1.0)]
    magics = np.array([coarse, [finer_magic(_TERMS, magic) for magic in coarse]])
    return SumGrid(magics[:, :-1].copy(), magics[:, -1].copy(), _TERMS)


def _lloyd(features: int, clusters: int, passes: PassKind, looked_at: float) -> Launch:
    """Return a Lloyd pass in which a share of the rows is looked at, or the first one."""

    def launch(launcher: MachineCodeLauncher, rows: int) -> int:
        x, centers = separated(rows, features, clusters)
        backend = CudaBackend(launcher, passes)
        there = launcher.to_device(x)
        labels, _ = _SPEC.nearest(x, _SPEC.pack(centers))
        memory = backend.new_bounds(rows, clusters)
        memory.fresh = looked_at == FIRST
        if not memory.fresh:
            memory.label[:] = labels
            _set_slack(memory, np.arange(rows) % 1000 >= 1000 * looked_at)
        backend.lloyd(
            there, None, [PackedRun(backend.pack(centers), memory)], grid_of(x, centers.shift)
        )
        assert (memory.label == labels).all(), "labels"
        return rows

    return launch


def _set_slack(memory: RowBounds, holds: NDArray[np.bool_]) -> None:
    """Let labels hold, or not, at no drift."""
    slack = np.where(holds, np.float32(1.0), np.float32(0.0))
    memory.slack[:] = (slack.view(np.uint32) >> 16).astype(memory.slack.dtype)


def _assign(features: int, clusters: int) -> Launch:
    def launch(launcher: MachineCodeLauncher, rows: int) -> int:
        x, centers = separated(rows, features, clusters)
        backend = CudaBackend(launcher)
        coarse = grid_magic(_TERMS, 1e4)
        grids = (coarse, finer_magic(_TERMS, coarse))
        label, square, _ = backend.assign(launcher.to_device(x), None, backend.pack(centers), grids)
        labels, squares = _SPEC.nearest(x, _SPEC.pack(centers))
        assert (label == labels).all(), "labels"
        assert (square == squares).all(), "distances"
        return rows

    return launch


def _distances(features: int, clusters: int) -> Launch:
    def launch(launcher: MachineCodeLauncher, rows: int) -> int:
        x, centers = separated(rows, features, clusters)
        squares = CudaBackend(launcher).squared_distances(launcher.to_device(x), centers.values)
        assert (squares == _SPEC.squared_distances(x, centers.values)).all(), "distances"
        return rows

    return launch


def _summarize(features: int) -> Launch:
    def launch(launcher: MachineCodeLauncher, rows: int) -> int:
        x, _ = separated(rows, features, 8)
        plain = np.zeros(features, np.int64)
        summary = CudaBackend(launcher).summarize(launcher.to_device(x), plain, 0)
        expected = _SPEC.summarize(x, plain, 0)
        assert (summary.minimum == expected.minimum).all(), "minimum"
        for f in range(features):
            assert summary.moments.totals(f) == expected.moments.totals(f), "moments"
        return rows

    return launch


def _digest(features: int) -> Launch:
    def launch(launcher: MachineCodeLauncher, rows: int) -> int:
        x, _ = separated(rows, features, 8)
        digest = CudaBackend(launcher).digest(launcher.to_device(x), None, 0)
        assert digest == _SPEC.digest(x, None, 0)
        return rows

    return launch


def _prepare(features: int, unit: bool) -> Launch:
    """Return a standardisation, and with `unit` rows that are made of length one after it."""

    def launch(launcher: MachineCodeLauncher, rows: int) -> int:
        x, _ = separated(rows, features, 8)
        fill, transform = np.zeros(features, np.float32), np.zeros(features, np.int64)
        shift, scale = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
        how = FeatureTransform(fill, transform, shift, scale, unit=unit)
        prepared = CudaBackend(launcher).prepare(launcher.to_device(x), how)
        assert (prepared == _SPEC.prepare(x, how)).all(), "prepared values"
        return rows

    return launch


def _count(features: int) -> Launch:
    """Return DBSCAN's count, where every row looks at every tile of 64 rows."""

    def launch(launcher: MachineCodeLauncher, rows: int) -> int:
        x = np.random.default_rng(rows).standard_normal((rows, features), dtype=np.float32)
        each, eps = TaskContext(1).map, 0.8 * np.sqrt(2.0 * features)
        reach = EpsBounds.from_ranges(x.min(axis=0), x.max(axis=0), eps**2, 2)
        answers, looked = [], []
        sides: tuple[NeighborKernels, ...] = (NumpyNeighbors(), CudaNeighbors(launcher))
        for neighbors in sides:
            space, within = neighbors.build_index(x, reach, each), np.zeros(rows, np.int32)
            looked.append(neighbors.count_neighbors(space, space, None, 2**30, within, each))
            answers.append(within)
        assert (answers[0] == answers[1]).all(), "rows within eps"
        return looked[1] // 64

    return launch


CASES: Sequence[Case] = (
    Case("k-means, full pass, 16 features, k = 8", 100_000_000, 4096, 8192,
         _lloyd(16, 8, "full", 1.0), 420),
    Case("k-means, first pass, 16 features, k = 8", 100_000_000, 4096, 8192,
         _lloyd(16, 8, "full", FIRST)),
    Case("k-means, late pass, 16 features, k = 8", 100_000_000, 65536, 131072,
         _lloyd(16, 8, "late", 0.0), 30),
    Case("k-means, late pass, 2 % of the rows, 16 features, k = 8", 100_000_000, 65536, 131072,
         _lloyd(16, 8, "late", 0.02)),
    Case("k-means, full pass, 64 features, k = 50", 50_000_000, 1024, 2048,
         _lloyd(64, 50, "full", 1.0), 1200),
    Case("assign, 16 features, k = 8", 100_000_000, 4096, 8192, _assign(16, 8)),
    Case("distances, 16 features, k = 8", 100_000_000, 2048, 4096, _distances(16, 8)),
    Case("summarize, 16 features", 100_000_000, 2048, 4096, _summarize(16)),
    Case("digest, 16 features", 100_000_000, 4096, 8192, _digest(16)),
    Case("prepare, 16 features, standardised", 100_000_000, 2048, 4096, _prepare(16, False)),
    Case("prepare and normalize, 16 features", 100_000_000, 4096, 8192, _prepare(16, True)),
    Case("DBSCAN's count, 16 features, a row and a tile of 64", 1_000_000_000, 128, 256,
         _count(16)),
)  # fmt: skip
