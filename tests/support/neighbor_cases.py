"""Compare DBSCAN's primitives of a backend, or of a mutant, with the specification."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.backends.neighbors import NO_CLUSTER
from gpuseg.backends.numpy.neighbors import NumpyNeighbors
from gpuseg.backends.protocols import NeighborKernels
from gpuseg.numerics.distance_metrics import MAXIMUM
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.runtime.executor import TaskContext

Array = npt.NDArray[Any]

PARALLEL_MAP = TaskContext(2).map
SPEC = NumpyNeighbors()


@dataclass(frozen=True)
class NearCase:
    """Data for one comparison; every case reaches code that the others do not.

    Attributes
    ----------
    kind : str
        See `rows`.
    n, d : int
    p : int
        2 for the Euclidean metric, 1 for the Manhattan one, `MAXIMUM` for the Chebyshev one.
    eps : float
        0 chooses a value at which most rows have some neighbors.
    """

    kind: str
    n: int
    d: int
    p: int = 2
    eps: float = 0.0


NEAR_CASES = (
    NearCase("grid", 300, 3),
    NearCase("normal", 3, 1),
    NearCase("just beyond", 5, 2),
    NearCase("normal", 200, 9, 1),
    NearCase("two scales", 260, 2),
    NearCase("duplicates", 129, 5),
    NearCase("huge offset", 90, 4),
    NearCase("normal", 700, 2),
    NearCase("normal", 1500, 2, eps=0.05),
    NearCase("normal", 130, 3, MAXIMUM),
    NearCase("infinite when scaled", 70, 3, MAXIMUM),
)
"""Ties, a nearly empty tile, distances that float32 cannot tell from eps, sums of absolute values,
dense tiles, float64, subtrees in one component, many small components, largest absolute values,
of which float32 decides nothing in the last case. Small cases come first: they detect most bugs."""


def rows(kind: str, n: int, d: int) -> Array:
    """Return rows that are difficult in some way; float64 where float32 would lose bits."""
    rng = np.random.default_rng(n * d)
    if kind == "grid":  # many distances are exactly eps
        return rng.integers(0, 4, (n, d)).astype(np.float32)
    if kind == "just beyond":
        return rng.integers(0, 2, (n, d)) * (1 + 1e-9)
    if kind == "cell ends":  # of a grid for eps = 1: at the end, just before and just behind it
        side = 0.5 if n % 2 else 1 / np.sqrt(2.0)
        around = rng.choice([1, 1 - 2.0**-21, 1 + 2.0**-21], (n, d))
        return rng.integers(0, 9, (n, d)) * side * around
    if kind == "duplicates":
        return rng.choice(rng.normal(size=(max(1, n // 5), d)), n).astype(np.float32)
    if kind == "huge offset":
        return rng.normal(size=(n, d)) + 1e6
    if kind == "constant columns":
        x = np.ones((n, d), np.float32)
        x[:, 0] = rng.normal(size=n)
        return x
    if kind == "two scales":
        half = n // 2
        return np.concatenate([rng.normal(size=(half, d)) / 1000, rng.normal(size=(n - half, d))])
    if kind == "beyond float32":
        return rng.normal(size=(n, d)) * 1e30 ** rng.integers(-1, 2, (n, d))
    if kind == "infinite when scaled":  # 2e38 and 3e38 differ, unless both are infinite
        x = rng.normal(size=(n, d)).astype(np.float32)
        x[:, 0] = rng.choice([-3e38, 2e38, 3e38], n)
        return x
    return rng.normal(size=(n, d)).astype(np.float32)


def rdist_of(a: Array, b: Array, p: int) -> Array:
    """Return the reduced distances of rows, along the last axis."""
    difference = np.abs(a - b)
    rdist: Array = difference.max(axis=-1) if p == MAXIMUM else (difference**p).sum(axis=-1)
    return rdist


def eps_bounds_of(x: Array, eps: float, p: int) -> EpsBounds:
    """Return the bounds of eps for rows."""
    return EpsBounds.from_ranges(x.min(axis=0), x.max(axis=0), eps * eps if p == 2 else eps, p)


def try_near(backend: NeighborKernels, case: NearCase) -> None:
    """Compare every primitive with the specification; an AssertionError names the wrong one."""
    n, d, p = case.n, case.d, case.p
    x, y = rows(case.kind, n, d), rows(case.kind, n + 100, d)[: max(1, n - 20)]
    eps = {"beyond float32": 1e-3, "two scales": 0.01}.get(case.kind, 0.4 + 0.15 * d * max(p, 0.5))
    eps = case.eps or (1.0 if case.kind in ("grid", "just beyond") else eps)
    bounds = eps_bounds_of(np.concatenate([x, y]), eps, p)
    results, expected = (results_of(b, x, y, bounds) for b in (backend, SPEC))
    for (name, result), (_, correct) in zip(results, expected, strict=True):
        assert result.dtype == correct.dtype, name
        assert result.tobytes() == correct.tobytes(), name


def results_of(
    b: NeighborKernels, x: Array, y: Array, bounds: EpsBounds
) -> Iterator[tuple[str, Array]]:
    """Yield the result of each primitive for query rows x and target rows y.

    They are computed one at a time, so that nothing more is computed or built after an error.
    """
    n, m = len(x), len(y)
    rng = np.random.default_rng(n)
    core, target_core = rng.random(n) < 0.6, rng.random(m) < 0.6
    core &= x[:, 0] >= np.quantile(x[:, 0], 0.4)  # whole tiles, and subtrees, without core rows
    query, target = b.build_index(x, bounds, PARALLEL_MAP), b.build_index(y, bounds, PARALLEL_MAP)
    ones, target_weight, query_weight = None, rng.integers(0, 3, m), rng.integers(0, 3, n)
    for name, index, weight in (
        ("count within an index", query, ones),
        ("count across indexes", target, ones),
        ("count weights across indexes", target, target_weight),
        ("count weights within an index", query, query_weight),
    ):
        counts = (np.arange(n) % 2).astype(np.int32 if weight is None else np.int64)
        b.count_neighbors(query, index, weight, 7, counts, PARALLEL_MAP)
        yield name, np.minimum(counts, 7)
    assigned = np.full(n, NO_CLUSTER, np.uint32)
    assigned[::3] = 5
    cluster = np.where(target_core, 9 - np.arange(m) % 10, NO_CLUSTER).astype(np.uint32)
    b.assign_border(query, ~core, target, cluster, assigned, PARALLEL_MAP)
    yield "border across indexes", assigned
    cluster = np.where(core, 9 - np.arange(n) % 10, NO_CLUSTER).astype(np.uint32)
    cluster[~core & (np.arange(n) % 3 == 0)] = 5
    assigned = cluster.copy()
    b.assign_border(query, ~core, query, cluster, assigned, PARALLEL_MAP)
    b.assign_border(query, ~core, query, cluster, cluster, PARALLEL_MAP)
    assert (cluster == assigned).all()
    yield "border within an index", cluster
    rdist, row = np.full((n, 3), np.inf), np.full((n, 3), -1)
    rdist[::4] = bounds.rdist_limit
    b.find_nearest(query, core, target, target_core, rdist, row, PARALLEL_MAP)
    yield "nearest distances", rdist
    yield "nearest rows", row
    group = np.where(core, rng.integers(0, 30, n), -1)
    target_group = np.where(target_core, 30 + rng.integers(0, 30, m), -1)
    yield "connect core rows", b.connect_core(query, core, PARALLEL_MAP)[0]
    yield "connect all rows", b.connect_core(query, np.ones(n, bool), PARALLEL_MAP)[0]
    yield (
        "connect groups",
        b.connect_groups(query, group, target, target_group, 60, PARALLEL_MAP)[0],
    )
