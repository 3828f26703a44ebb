"""The cases of the model: the launches, and the numbers of rows.

Each case is run twice, on few rows and on more. The difference of the two runs is the cost of the
additional rows, without the fixed cost of a launch. The plans are the project's, for an H100 with
one multiprocessor, and the results are compared with the specification, so that the counts are
those of correct kernels.

A new case needs a function that launches kernels through the backend, with a launcher and a number
of rows, and checks their results; and a line in `CASES`.
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
from machine_code.launcher import LaunchProfile, MachineCodeLauncher

Floats = NDArray[np.float32]
Launch = Callable[[MachineCodeLauncher, int], int]
"""Launches kernels for that many rows; returns the number of units, mostly rows, of the work."""

FIRST = 2.0
"""Stands for a first pass, in place of a share of scored rows."""

_TERMS = 2**27
"""Number of rows that the grids of the sums have room for: more than in all cases."""

_SPEC = registry.get("numpy")


@dataclass(frozen=True)
class ProfiledCase:
    """Work that kernels do for rows.

    Attributes
    ----------
    name : str
    units : int
        Number of rows, or of other units, for which the time is predicted.
    few, many : int
        Numbers of rows in the two runs.
    launch : callable
        Does the work; raises AssertionError for wrong results.
    budget : int
        Maximum instructions of a thread per row; 0: no limit.
    """

    name: str
    units: int
    few: int
    many: int
    launch: Launch
    budget: int = 0


@dataclass(frozen=True)
class Difference:
    """The cost of the rows that the second run has in addition.

    Attributes
    ----------
    profiles : list of LaunchProfile
        One for each form of a kernel.
    units : int
        Number of additional units.
    """

    profiles: list[LaunchProfile]
    units: int


def difference_of(case: ProfiledCase) -> Difference:
    """Run a case twice.

    Raises
    ------
    ValueError
        If the two runs launch different forms of kernels.
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
    """Return rows in separated blobs, and centers near their means."""
    random = np.random.default_rng(features * clusters)
    means = 4 * random.standard_normal((clusters, features), dtype=np.float32)
    x = random.standard_normal((rows, features), dtype=np.float32)
    x += means[random.integers(0, clusters, rows)]
    start = means + 0.3 * random.standard_normal(means.shape)
    return x, Centers(start.astype(np.float64), x.mean(axis=0, dtype=np.float64).astype(np.float32))


def grid_of(x: Floats, shift: Floats) -> SumGrid:
    """Return the grids of the shifted sums of rows."""
    offsets = np.abs(x.astype(np.float64) - shift).max(axis=0)
    coarse = [grid_magic(_TERMS, largest) for largest in (*offsets.tolist(), 1.0)]
    magics = np.array([coarse, [finer_magic(_TERMS, magic) for magic in coarse]])
    return SumGrid(magics[:, :-1].copy(), magics[:, -1].copy(), _TERMS)


def _lloyd(features: int, clusters: int, passes: PassKind, share: float) -> Launch:
    """Return a Lloyd pass that scores a share of the rows, or the first pass."""

    def launch(launcher: MachineCodeLauncher, rows: int) -> int:
        x, centers = separated(rows, features, clusters)
        backend = CudaBackend(launcher, passes)
        device_x = launcher.to_device(x)
        labels, _ = _SPEC.nearest(x, _SPEC.pack(centers))
        bounds = backend.new_bounds(rows, clusters)
        bounds.fresh = share == FIRST
        if not bounds.fresh:
            bounds.label[:] = labels
            _set_slack(bounds, np.arange(rows) % 1000 >= 1000 * share)
        runs = [PackedRun(backend.pack(centers), bounds)]
        backend.lloyd(device_x, None, runs, grid_of(x, centers.shift))
        assert (bounds.label == labels).all(), "labels"
        return rows

    return launch


def _set_slack(bounds: RowBounds, holds: NDArray[np.bool_]) -> None:
    """Set slack so that labels hold, or fail, without drift."""
    slack = np.where(holds, np.float32(1.0), np.float32(0.0))
    bounds.slack[:] = (slack.view(np.uint32) >> 16).astype(bounds.slack.dtype)


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
    """Return a standardization; with `unit`, rows are normalized after it."""

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
    """Return DBSCAN's core counts, where each row is compared with every tile of 64 rows."""

    def launch(launcher: MachineCodeLauncher, rows: int) -> int:
        x = np.random.default_rng(rows).standard_normal((rows, features), dtype=np.float32)
        parallel_map, eps = TaskContext(1).map, 0.8 * np.sqrt(2.0 * features)
        eps_bounds = EpsBounds.from_ranges(x.min(axis=0), x.max(axis=0), eps**2, 2)
        counts, n_distances = [], []
        sides: tuple[NeighborKernels, ...] = (NumpyNeighbors(), CudaNeighbors(launcher))
        for neighbors in sides:
            space, within = (
                neighbors.build_index(x, eps_bounds, parallel_map),
                np.zeros(rows, np.int32),
            )
            n_distances.append(
                neighbors.count_neighbors(space, space, None, 2**30, within, parallel_map)
            )
            counts.append(within)
        assert (counts[0] == counts[1]).all(), "rows within eps"
        return n_distances[1] // 64

    return launch


CASES: Sequence[ProfiledCase] = (
    ProfiledCase(
        "k-means, full pass, 16 features, k = 8",
        100_000_000,
        4096,
        8192,
        _lloyd(16, 8, "full", 1.0),
        420,
    ),
    ProfiledCase(
        "k-means, first pass, 16 features, k = 8",
        100_000_000,
        4096,
        8192,
        _lloyd(16, 8, "full", FIRST),
    ),
    ProfiledCase(
        "k-means, late pass, 16 features, k = 8",
        100_000_000,
        65536,
        131072,
        _lloyd(16, 8, "late", 0.0),
        30,
    ),
    ProfiledCase(
        "k-means, late pass, 2 % of the rows, 16 features, k = 8",
        100_000_000,
        65536,
        131072,
        _lloyd(16, 8, "late", 0.02),
    ),
    ProfiledCase(
        "k-means, full pass, 64 features, k = 50",
        50_000_000,
        1024,
        2048,
        _lloyd(64, 50, "full", 1.0),
        1200,
    ),
    ProfiledCase("assign, 16 features, k = 8", 100_000_000, 4096, 8192, _assign(16, 8)),
    ProfiledCase("distances, 16 features, k = 8", 100_000_000, 2048, 4096, _distances(16, 8)),
    ProfiledCase("summarize, 16 features", 100_000_000, 2048, 4096, _summarize(16)),
    ProfiledCase("digest, 16 features", 100_000_000, 4096, 8192, _digest(16)),
    ProfiledCase(
        "prepare, 16 features, standardized", 100_000_000, 2048, 4096, _prepare(16, False)
    ),
    ProfiledCase("prepare and normalize, 16 features", 100_000_000, 4096, 8192, _prepare(16, True)),
    ProfiledCase(
        "DBSCAN's core counts, 16 features, a row and a tile of 64",
        1_000_000_000,
        128,
        256,
        _count(16),
    ),
)
