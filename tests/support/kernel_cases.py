"""Everything the CUDA kernels do, at small sizes, held against the specification."""

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
class Case:
    """A situation that reaches code which others do not.

    Attributes
    ----------
    n, d : int
        Rows and features.
    ks : tuple of int
        Centres of each run.
    terms : int
        How many rows the grids are made for; from 2^17 on, blocks have sums of their own.
    data : str
        "normal"; "grid": whole numbers, hence many exact ties; "halfway": rows between two
        centres, as near as float32 can be.
    weighted : bool
    start : int
        At which float32 value of its memory x begins; other than 0, nothing is aligned.
    """

    n: int
    d: int
    ks: tuple[int, ...]
    terms: int = 1
    data: str = "normal"
    weighted: bool = False
    start: int = 0


CASES = (
    Case(33, 4, (3, 5), data="grid", weighted=True),
    Case(150, 16, (8,), terms=2**18),
    Case(1200, 8, (8, 3), terms=2**17),
    Case(300, 48, (9,), terms=2**18, weighted=True),
    Case(64, 16, (130,), data="grid"),
    Case(65, 8, (4,), start=1),
    Case(200, 3, (6,), data="halfway"),
    Case(70, 6, (300, 2), weighted=True),
    Case(100, 20, (30, 7), data="halfway"),
    Case(70, 33, (40,), start=1),
    Case(100, 64, (50, 260), terms=2**17),
    Case(129, 90, (2,), terms=2**17),
    Case(40, 500, (17,)),
)
"""Tiles of four, two and one rows a thread, whole rows and parts of them, all centres in shared
memory and one group at a time; passes over all rows by multiply-adds and by tensor cores, for one
to four times 16 features, rows copied 16, 8 and 4 bytes at a time, labels of one and four bytes."""

MANY_ROWS = Case(40_000, 2, (5,), terms=2**17)
"""So many that on a small device a block has several chunks, and a chunk several tiles."""

MAX_COLUMNS = 70
"""Of which products of all pairs are taken."""

EVERY_SIZE = tuple(
    Case(n, d, (min(n, 2 + d % 7), 1), terms=2**17 * (d % 2), data="grid" if d % 3 else "normal")
    for n in (1, 31, 32, 33, 255, 257)
    for d in (1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 63, 64)
)


@dataclass(frozen=True)
class Trial:
    """A case laid out for a backend.

    Attributes
    ----------
    x, weight : float32 (n, d), float64 (n,) or None
    there, heavy : the same on the device
    centers : list of Centers
        Of each run.
    """

    case: Case
    backend: Backend
    spec: Backend
    x: Array
    weight: Array | None
    there: Any
    heavy: Any
    centers: list[Centers]


def try_out(backend: CudaBackend, case: Case, kernels: Collection[str] = ()) -> None:
    """Hold what a device decodes and computes against the specification.

    Parameters
    ----------
    kernels : collection of str
        Of which something is to be seen; empty for all.
    """
    if not kernels or "column" in kernels:
        try_decoded(backend.launcher, case.n, len(TYPES) + case.d % 3)
    try_primitives(backend, case, kernels)


def try_primitives(backend: Backend, case: Case, kernels: Collection[str] = ()) -> None:
    """Hold every primitive against the specification; an AssertionError tells which failed."""
    rng = np.random.default_rng(case.n * case.d)
    x, weight = _rows(rng, case)
    centers = [_centers(rng, x, k, case.data) for k in case.ks]
    if case.data == "halfway":
        pairs = centers[0].values[rng.integers(centers[0].k, size=(2, case.n))]
        x[:] = pairs.mean(axis=0)
    there, heavy = backend.to_device(x), None if weight is None else backend.to_device(weight)
    trial = Trial(case, backend, registry.get("numpy"), x, weight, there, heavy, centers)
    for part, its_kernels in PARTS.items():
        if not kernels or its_kernels & set(kernels):
            part(trial)


def _try_columns(trial: Trial) -> None:
    backend, spec, x, weight = trial.backend, trial.spec, trial.x, trial.weight
    n, d = x.shape
    rng = np.random.default_rng(n + d)
    scales = 10.0 ** rng.uniform(-14, 3, x.shape)
    holed, transform = (x * scales).astype(np.float32), (np.arange(d) + 1) % 2
    holed[rng.random(x.shape) < 0.1] = np.nan
    holed[rng.random(x.shape) < 0.05] = np.inf
    there = backend.to_device(holed.copy())
    found, expected = (
        b.summarize(own, transform, 7) for b, own in ((backend, there), (spec, holed))
    )
    for name in ("counts", "firsts", "minimum", "maximum"):
        _same(f"summary's {name}", getattr(found, name), getattr(expected, name))
    for f in range(d):
        assert found.moments.totals(f) == expected.moments.totals(f), "moments"
    heavy = None if weight is None else backend.to_device(weight)
    assert backend.digest(there, heavy, 5) == spec.digest(holed, weight, 5), "digest"
    for prefixes in (None, [17530, 50298, 17530]):
        _same(
            "counts of sort keys",
            backend.key_histogram(there, d - 1, prefixes),
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
    how = FeatureTransform(fill, transform, shift, scale, unit=True, clip=clip)
    with np.errstate(all="ignore"):
        backend.prepare(there, how)
        spec.prepare(holed, how)
    prepared = backend.to_host(there)
    assert (np.isnan(prepared) == np.isnan(holed)).all(), "prepared NaN"
    _same("prepared values", np.nan_to_num(prepared), np.nan_to_num(holed))


def _try_preparing_further(trial: Trial) -> None:
    """Powers, their sums, products of columns, and a projection."""
    backend, spec, x = trial.backend, trial.spec, np.ascontiguousarray(trial.x[:, :MAX_COLUMNS])
    n, d = x.shape
    rng = np.random.default_rng(n * d)
    powers, origin = rng.uniform(-2, 4, 3), rng.normal(size=3)
    there = backend.to_device(x)
    coarse = [grid_magic(n, 2.0**b) for b in range(40, 47)]
    grids = np.array([coarse, [finer_magic(n, magic) for magic in coarse]])
    _same(
        "sums of powers",
        backend.power_sums(there, d - 1, powers, origin, grids),
        spec.power_sums(x, d - 1, powers, origin, grids),
    )
    mean = rng.normal(size=d)
    magic = grid_magic(n, 1e6)
    pairs = np.ones((2, d, d)) * np.array([magic, finer_magic(n, magic)])[:, None, None]
    _same("products", backend.gram(there, mean, pairs), spec.gram(x, mean, pairs))
    starts = np.unique(np.minimum([0, n // 3, n // 2, n], n))
    points = rng.normal(size=(37, d)).astype(np.float32)
    _same(
        "sums of distances",
        backend.distance_sums(there, starts, points, grid_magic(n, 1e4)),
        spec.distance_sums(x, starts, points, grid_magic(n, 1e4)),
    )
    how = replace(
        FeatureTransform.identity(d),
        transform=np.full(d, YEO_JOHNSON),
        power=rng.uniform(-1, 3, d),
        projection=Projection(mean, rng.normal(size=(max(d // 2, 1), d))),
    )
    expected = spec.prepare(x.copy(), how)
    _same(
        "components", backend.to_host(backend.prepare(backend.to_device(x.copy()), how)), expected
    )


def _try_assignment(trial: Trial) -> None:
    backend, spec, x, weight = trial.backend, trial.spec, trial.x, trial.weight
    there, heavy, centers = trial.there, trial.heavy, trial.centers[0]
    largest = 1e4 * len(x) * x.shape[1]
    coarse = grid_magic(len(x), largest)
    grids = (coarse, finer_magic(len(x), coarse), finer_magic(len(x), finer_magic(len(x), coarse)))
    label, square, found = backend.assign(there, heavy, backend.pack(centers), grids)
    expected_label, expected_square, expected = spec.assign(x, weight, spec.pack(centers), grids)
    _same("labels", backend.to_host(label), expected_label)
    _same("squared distances", backend.to_host(square), expected_square)
    _same("inertia", found.parts, expected.parts)
    _same("sizes", found.sizes, expected.sizes)
    labels, squares = backend.nearest(there, backend.pack(centers))
    _same("nearest's labels", backend.to_host(labels), expected_label)
    _same("nearest's distances", backend.to_host(squares), expected_square)


def _try_distances(trial: Trial) -> None:
    values = trial.centers[0].values
    _same(
        "squared_distances",
        trial.backend.to_host(trial.backend.squared_distances(trial.there, values)),
        trial.spec.squared_distances(trial.x, values),
    )


def _try_passes(trial: Trial) -> None:
    case, x, centers = trial.case, trial.x, trial.centers
    grid = _sum_grid(x, trial.weight, centers[0].shift, case.terms)
    seed = np.random.default_rng
    for known, expected in zip(
        _passes(trial.backend, seed(case.n), trial.there, trial.heavy, centers, grid),
        _passes(trial.spec, seed(case.n), x, trial.weight, centers, grid),
        strict=True,
    ):
        for name, own, other in zip(("labels", "sums", "weight"), known, expected, strict=True):
            _same(f"lloyd's {name}", own, other)


PARTS: dict[Callable[[Trial], None], set[str]] = {
    _try_columns: {"summarize", "digest", "histogram", "narrow", "prepare", "normalize"},
    _try_preparing_further: {"powers", "gram", "distance_sums", "prepare", "project"},
    _try_assignment: {"assign"},
    _try_distances: {"distances"},
    _try_passes: {"lloyd", "lloyd_full", "lloyd_probe"},
}
"""What is held against the specification, and the kernels that do it on a device."""


def _passes(
    backend: Backend,
    rng: np.random.Generator,
    x: Any,
    weight: Any,
    centers: list[Centers],
    grid: SumGrid,
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield labels, sums and weights of each run, pass by pass, while the centres move."""
    memories = [backend.new_bounds(len(x), own.k) for own in centers]
    totals = [np.zeros((2, own.k, x.shape[1] + 1)) for own in centers]
    for scale in (0.5, 0.02, 0.0):
        runs = [
            PackedRun(backend.pack(c), memory) for c, memory in zip(centers, memories, strict=True)
        ]
        changes = backend.lloyd(x, weight, runs, grid)
        for i, change in enumerate(changes):
            assert (change.looked_at == len(x)) if memories[i].fresh else True
            totals[i] += np.concatenate([change.sums, change.weight[..., None]], axis=2)
            _check_promise(backend, x, centers[i], memories[i])
            label = seen(backend, memories[i]).label
            yield label, totals[i][..., :-1], totals[i][..., -1]
            memories[i].fresh = False
        moves = [scale * rng.normal(size=own.values.shape) for own in centers]
        for memory, move in zip(memories, moves, strict=True):
            far = np.sqrt((move**2).sum(axis=1))
            memory.drift = memory.drift + (1.001 * (far + far.max())).astype(np.float32)
        centers = [Centers(c.values + m, c.shift) for c, m in zip(centers, moves, strict=True)]


def _check_promise(backend: Backend, x: Any, centers: Centers, memory: RowBounds) -> None:
    """Slack less drift is no more than the second least distance less the least."""
    known = seen(backend, memory)
    promised = known.slack.astype(np.float64) - memory.drift[known.label]
    if centers.k > 1:
        squares = registry.get("numpy").squared_distances(backend.to_host(x), centers.values)
        near, far = np.sqrt(np.partition(squares, 1, axis=1)[:, :2]).T
        assert (promised <= far - near).all(), "slack promises too much"


def _rows(rng: np.random.Generator, case: Case) -> tuple[Array, Array | None]:
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
    heaviest = 1.0 if weight is None else float(weight.max())
    reach = np.abs(x.astype(np.float64) - shift).max(axis=0)
    made_for = max(len(x), terms)
    coarse = [grid_magic(made_for, heaviest * r) for r in (*reach.tolist(), 1.0)]
    magics = np.array([coarse, [finer_magic(made_for, magic) for magic in coarse]])
    return SumGrid(magics[:, :-1].copy(), magics[:, -1].copy(), made_for)


def _same(what: str, found: Any, expected: Array) -> None:
    assert found.dtype == expected.dtype, what
    assert np.ascontiguousarray(found).tobytes() == np.ascontiguousarray(expected).tobytes(), what
