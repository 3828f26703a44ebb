"""Small cases that compare everything the CUDA kernels do with the specification."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.backends.cuda.backend import CudaBackend
from gpuseg.backends.cuda.decoded import TYPES
from gpuseg.backends.feature_transform import YEO_JOHNSON, FeatureTransform, Projection
from gpuseg.backends.types import Centers, PackedRun, RowBounds
from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.numerics.sum_grid import SumGrid
from support.column_cases import try_decoded
from support.row_bounds import seen

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class KernelCase:
    """A situation that reaches code that no other case reaches.

    Attributes
    ----------
    n, d : int
        Rows and features.
    ks : tuple of int
        Centers of each run.
    terms : int
        Number of rows that the grids have room for; from 2^17 on, blocks have private sums.
    data : str
        "normal"; "grid": whole numbers, hence many exact ties; "halfway": rows halfway between
        two centers, up to the rounding of float32.
    weighted : bool
    start : int
        Index of the float32 value in memory at which x begins; unless it is 0, x is unaligned.
    """

    n: int
    d: int
    ks: tuple[int, ...]
    terms: int = 1
    data: str = "normal"
    weighted: bool = False
    start: int = 0


CASES = (
    KernelCase(33, 4, (3, 5), data="grid", weighted=True),
    KernelCase(150, 16, (8,), terms=2**18),
    KernelCase(1200, 8, (8, 3), terms=2**17),
    KernelCase(300, 48, (9,), terms=2**18, weighted=True),
    KernelCase(64, 16, (130,), data="grid"),
    KernelCase(65, 8, (4,), start=1),
    KernelCase(200, 3, (6,), data="halfway"),
    KernelCase(70, 6, (300, 2), weighted=True),
    KernelCase(100, 20, (30, 7), data="halfway"),
    KernelCase(70, 33, (40,), start=1),
    KernelCase(100, 64, (50, 260), terms=2**17),
    KernelCase(129, 90, (2,), terms=2**17),
    KernelCase(40, 500, (17,)),
)
"""Tiles of four, two and one rows a thread; whole rows and parts of rows; all centers in shared
memory and one group at a time; passes over all rows by multiply-adds and by tensor cores, for one
to four times 16 features; rows copied 16, 8 and 4 bytes at a time; labels of one and four bytes."""

MANY_ROWS = KernelCase(40_000, 2, (5,), terms=2**17)
"""Enough rows that on a small device a block has several chunks, and a chunk several tiles."""

MAX_COLUMNS = 70
"""Maximum number of columns for products of all pairs."""

EVERY_SIZE = tuple(
    KernelCase(
        n, d, (min(n, 2 + d % 7), 1), terms=2**17 * (d % 2), data="grid" if d % 3 else "normal"
    )
    for n in (1, 31, 32, 33, 255, 257)
    for d in (1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 63, 64)
)


@dataclass(frozen=True)
class PreparedCase:
    """A case with its data, on the host and on the device.

    Attributes
    ----------
    case : KernelCase
    backend, spec : Backend
        The backend under test, and the specification.
    x, weight : float32 (n, d), float64 (n,) or None
    device_x, device_weight : arrays of the device, or None
    centers : list of Centers
        Those of each run.
    """

    case: KernelCase
    backend: Backend
    spec: Backend
    x: Array
    weight: Array | None
    device_x: Any
    device_weight: Any
    centers: list[Centers]


def try_out(backend: CudaBackend, case: KernelCase, kernels: Collection[str] = ()) -> None:
    """Compare the columns that a device decodes, and its results, with the specification.

    Parameters
    ----------
    kernels : collection of str
        Kernels to run; all if empty.
    """
    if not kernels or "decode_column" in kernels:
        try_decoded(backend.launcher, case.n, len(TYPES) + case.d % 3)
    try_primitives(backend, case, kernels)


def try_primitives(backend: Backend, case: KernelCase, kernels: Collection[str] = ()) -> None:
    """Compare every primitive with the specification; an AssertionError names a wrong one."""
    rng = np.random.default_rng(case.n * case.d)
    x, weight = _rows(rng, case)
    centers = [_centers(rng, x, k, case.data) for k in case.ks]
    if case.data == "halfway":
        pairs = centers[0].values[rng.integers(centers[0].k, size=(2, case.n))]
        x[:] = pairs.mean(axis=0)
    device_weight = None if weight is None else backend.to_device(weight)
    prepared = PreparedCase(
        case, backend, registry.get("numpy"), x, weight, backend.to_device(x), device_weight,
        centers,
    )  # fmt: skip
    for part, part_kernels in PARTS.items():
        if not kernels or part_kernels & set(kernels):
            part(prepared)


def _try_columns(case: PreparedCase) -> None:
    backend, spec, x, weight = case.backend, case.spec, case.x, case.weight
    n, d = x.shape
    rng = np.random.default_rng(n + d)
    scales = 10.0 ** rng.uniform(-14, 3, x.shape)
    holed, transform = (x * scales).astype(np.float32), (np.arange(d) + 1) % 2
    holed[rng.random(x.shape) < 0.1] = np.nan
    holed[rng.random(x.shape) < 0.05] = np.inf
    device_holed = backend.to_device(holed.copy())
    summary = backend.summarize(device_holed, transform, 7)
    expected = spec.summarize(holed, transform, 7)
    for name in ("counts", "firsts", "minimum", "maximum"):
        _same(f"summary's {name}", getattr(summary, name), getattr(expected, name))
    for f in range(d):
        assert summary.moments.totals(f) == expected.moments.totals(f), "moments"
    assert backend.digest(device_holed, case.device_weight, 5) == spec.digest(holed, weight, 5), (
        "digest"
    )
    for prefixes in (None, [17530, 50298, 17530]):
        _same(
            "counts of sort keys",
            backend.key_histogram(device_holed, d - 1, prefixes),
            spec.key_histogram(holed, d - 1, prefixes),
        )
    wide = rng.normal(size=(n, d)) * scales * 10.0 ** rng.integers(-46, 38)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    _same(
        "rounded values",
        backend.to_host(backend.from_foreign(backend.to_device(wide), np.float32)),
        narrow,
    )
    fill = np.where(np.arange(d) % 3, 0.5, np.nan).astype(np.float32)
    shift, scale = rng.normal(size=d), rng.uniform(0.5, 2, d)
    clip = np.sort(rng.normal(size=(2, d)), axis=0).astype(np.float32)
    params = FeatureTransform(fill, transform, shift, scale, unit=True, clip=clip)
    with np.errstate(all="ignore"):
        backend.prepare(device_holed, params)
        spec.prepare(holed, params)
    prepared = backend.to_host(device_holed)
    assert (np.isnan(prepared) == np.isnan(holed)).all(), "prepared NaN"
    _same("prepared values", np.nan_to_num(prepared), np.nan_to_num(holed))


def _try_bins(case: PreparedCase) -> None:
    backend, spec, x = case.backend, case.spec, case.x.copy()
    rng = np.random.default_rng(x.size)
    x[rng.random(x.shape) < 0.1] = np.nan
    edges = np.sort(np.nan_to_num(x)[rng.integers(len(x), size=255)].T, axis=1)
    bins, expected = backend.bin_rows(backend.to_device(x), edges), spec.bin_rows(x, edges)
    _same("bins", backend.to_host(bins), expected)
    group = rng.integers(3, size=len(x)).astype(np.int32)
    counts = np.ones((2, 3, x.shape[1], 257), np.int64)
    backend.count_bins(bins, group, counts[0])
    spec.count_bins(expected, group, counts[1])
    _same("counts of bins", counts[0], counts[1])


def _try_transforms(case: PreparedCase) -> None:
    """Compare power sums, products of columns, distance sums and projections."""
    backend, spec, x = case.backend, case.spec, np.ascontiguousarray(case.x[:, :MAX_COLUMNS])
    n, d = x.shape
    rng = np.random.default_rng(n * d)
    powers, origin = rng.uniform(-2, 4, 3), rng.normal(size=3)
    device_x = backend.to_device(x)
    coarse = [grid_magic(n, 2.0**b) for b in range(40, 47)]
    grids = np.array([coarse, [finer_magic(n, magic) for magic in coarse]])
    _same(
        "sums of powers",
        backend.power_sums(device_x, d - 1, powers, origin, grids),
        spec.power_sums(x, d - 1, powers, origin, grids),
    )
    mean = rng.normal(size=d)
    magic = grid_magic(n, 1e6)
    pairs = np.ones((2, d, d)) * np.array([magic, finer_magic(n, magic)])[:, None, None]
    _same("products", backend.gram(device_x, mean, pairs), spec.gram(x, mean, pairs))
    starts = np.unique(np.minimum([0, n // 3, n // 2, n], n))
    points = rng.normal(size=(37, d)).astype(np.float32)
    _same(
        "sums of distances",
        backend.distance_sums(device_x, starts, points, grid_magic(n, 1e4)),
        spec.distance_sums(x, starts, points, grid_magic(n, 1e4)),
    )
    params = replace(
        FeatureTransform.identity(d),
        transform=np.full(d, YEO_JOHNSON),
        power=rng.uniform(-1, 3, d),
        projection=Projection(mean, rng.normal(size=(max(d // 2, 1), d))),
    )
    components = backend.prepare(backend.to_device(x.copy()), params)
    _same("components", backend.to_host(components), spec.prepare(x.copy(), params))


def _try_assignment(case: PreparedCase) -> None:
    backend, spec, x, weight = case.backend, case.spec, case.x, case.weight
    device_x, centers = case.device_x, case.centers[0]
    largest = 1e4 * len(x) * x.shape[1]
    coarse = grid_magic(len(x), largest)
    grids = (coarse, finer_magic(len(x), coarse), finer_magic(len(x), finer_magic(len(x), coarse)))
    packed = backend.pack(centers)
    label, square, sums = backend.assign(device_x, case.device_weight, packed, grids)
    expected_label, expected_square, expected = spec.assign(x, weight, spec.pack(centers), grids)
    _same("labels", backend.to_host(label), expected_label)
    _same("squared distances", backend.to_host(square), expected_square)
    _same("inertia", sums.parts, expected.parts)
    _same("sizes", sums.sizes, expected.sizes)
    labels, squares = backend.nearest(device_x, packed)
    _same("nearest's labels", backend.to_host(labels), expected_label)
    _same("nearest's distances", backend.to_host(squares), expected_square)


def _try_distances(case: PreparedCase) -> None:
    values = case.centers[0].values
    _same(
        "squared_distances",
        case.backend.to_host(case.backend.squared_distances(case.device_x, values)),
        case.spec.squared_distances(case.x, values),
    )
    segment = (np.arange(len(values)) % 3).astype(np.int32)
    names = ("next segments", "distances to the nearest", "distances to the next")
    actual = case.backend.runner_up(case.device_x, values, segment)
    for name, array, expected in zip(
        names, actual, case.spec.runner_up(case.x, values, segment), strict=True
    ):
        _same(name, array, expected)


def _try_passes(case: PreparedCase) -> None:
    x, centers = case.x, case.centers
    grid = _sum_grid(x, case.weight, centers[0].shift, case.case.terms)
    seed = np.random.default_rng
    for results, expected in zip(
        _passes(case.backend, seed(len(x)), case.device_x, case.device_weight, centers, grid),
        _passes(case.spec, seed(len(x)), x, case.weight, centers, grid),
        strict=True,
    ):
        for name, actual, other in zip(
            ("labels", "sums", "weight"), results, expected, strict=True
        ):
            _same(f"lloyd's {name}", actual, other)


PARTS: dict[Callable[[PreparedCase], None], set[str]] = {
    _try_columns: {"summarize", "digest", "histogram", "to_float32", "prepare", "normalize"},
    _try_bins: {"bin_rows", "count_bins"},
    _try_transforms: {"power_sums", "gram", "distance_sums", "prepare", "project"},
    _try_assignment: {"assign"},
    _try_distances: {"distances"},
    _try_passes: {"lloyd", "lloyd_full", "lloyd_probe"},
}
"""Comparisons with the specification, and the kernels that each of them runs on a device."""


def _passes(
    backend: Backend,
    rng: np.random.Generator,
    x: Any,
    weight: Any,
    centers: list[Centers],
    grid: SumGrid,
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield labels, sums and weights of each run, pass by pass, while the centers move."""
    bounds = [backend.new_bounds(len(x), c.k) for c in centers]
    totals = [np.zeros((2, c.k, x.shape[1] + 1)) for c in centers]
    for scale in (0.5, 0.02, 0.0):
        runs = [PackedRun(backend.pack(c), b) for c, b in zip(centers, bounds, strict=True)]
        changes = backend.lloyd(x, weight, runs, grid)
        for i, change in enumerate(changes):
            if bounds[i].fresh:
                assert change.n_rows_scored == len(x)
            totals[i] += np.concatenate([change.sums, change.weight[..., None]], axis=2)
            _check_slack(backend, x, centers[i], bounds[i])
            label = seen(backend, bounds[i]).label
            yield label, totals[i][..., :-1], totals[i][..., -1]
            bounds[i].fresh = False
        moves = [scale * rng.normal(size=c.values.shape) for c in centers]
        for run_bounds, move in zip(bounds, moves, strict=True):
            far = np.sqrt((move**2).sum(axis=1))
            run_bounds.drift = run_bounds.drift + (1.001 * (far + far.max())).astype(np.float32)
        centers = [Centers(c.values + m, c.shift) for c, m in zip(centers, moves, strict=True)]


def _check_slack(backend: Backend, x: Any, centers: Centers, bounds: RowBounds) -> None:
    """Slack minus drift is at most the second smallest distance minus the smallest."""
    host = seen(backend, bounds)
    lower_bound = host.slack.astype(np.float64) - bounds.drift[host.label]
    if centers.k > 1:
        squares = registry.get("numpy").squared_distances(backend.to_host(x), centers.values)
        near, far = np.sqrt(np.partition(squares, 1, axis=1)[:, :2]).T
        assert (lower_bound <= far - near).all(), "slack is no lower bound"


def _rows(rng: np.random.Generator, case: KernelCase) -> tuple[Array, Array | None]:
    memory = np.empty(case.n * case.d + case.start, np.float32)
    x = memory[case.start :].reshape(case.n, case.d)
    size = (case.n, case.d)
    x[:] = rng.integers(-2, 3, size) if case.data == "grid" else rng.normal(size=size)
    return x, rng.lognormal(0, 3, case.n) if case.weighted else None


def _centers(rng: np.random.Generator, x: Array, k: int, data: str) -> Centers:
    values = x[rng.integers(len(x), size=k)].astype(np.float64)
    if data != "grid":
        values = values + 0.3 * rng.normal(size=values.shape)
    return Centers(values, x.mean(axis=0, dtype=np.float64).astype(np.float32))


def _sum_grid(x: Array, weight: Array | None, shift: Array, terms: int) -> SumGrid:
    max_weight = 1.0 if weight is None else float(weight.max())
    largest = np.abs(x.astype(np.float64) - shift).max(axis=0)
    n_terms = max(len(x), terms)
    coarse = [grid_magic(n_terms, max_weight * offset) for offset in (*largest.tolist(), 1.0)]
    magics = np.array([coarse, [finer_magic(n_terms, magic) for magic in coarse]])
    return SumGrid(magics[:, :-1].copy(), magics[:, -1].copy(), n_terms)


def _same(what: str, actual: Any, expected: Array) -> None:
    assert actual.dtype == expected.dtype, what
    assert np.ascontiguousarray(actual).tobytes() == np.ascontiguousarray(expected).tobytes(), what
