"""One run of DBSCAN's primitives held against the specification; for backends and for mutants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.backends.neighbors import NO_CLUSTER
from gpuseg.backends.numpy.neighbors import NumpyNeighbors
from gpuseg.backends.protocols import NeighborKernels
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.runtime.executor import TaskContext

Array = npt.NDArray[Any]

EACH = TaskContext(2).map
SPEC = NumpyNeighbors()


@dataclass(frozen=True)
class NearCase:
    """A situation that reaches code which others do not.

    Attributes
    ----------
    kind : str
        See `rows`.
    n, d : int
    p : int
        2 for the Euclidean metric, 1 for the Manhattan one.
    eps : float
        0 is one that gives most rows some neighbours.
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
)
"""Ties, a tile that is nearly empty, distances that float32 takes for eps, sums of absolute values,
dense tiles, float64, subtrees in one set, many small sets. What is small comes first: most bugs
are seen by one of these."""


def rows(kind: str, n: int, d: int) -> Array:
    """Return rows that are hard in some way; float64 where float32 would lose them."""
    rng = np.random.default_rng(n * d)
    if kind == "grid":  # many distances are exactly eps
        return rng.integers(0, 4, (n, d)).astype(np.float32)
    if kind == "just beyond":
        return rng.integers(0, 2, (n, d)) * (1 + 1e-9)
    if kind == "cell ends":  # of a grid for eps = 1: there, a little before, and a little behind
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
    return rng.normal(size=(n, d)).astype(np.float32)


def reach_of(x: Array, eps: float, p: int) -> EpsBounds:
    """Return the reach of eps for rows."""
    return EpsBounds.from_ranges(x.min(axis=0), x.max(axis=0), eps**p, p)


def try_near(backend: NeighborKernels, case: NearCase) -> None:
    """Hold every primitive against the specification; an AssertionError tells which failed."""
    n, d, p = case.n, case.d, case.p
    x, y = rows(case.kind, n, d), rows(case.kind, n + 100, d)[: max(1, n - 20)]
    eps = {"beyond float32": 1e-3, "two scales": 0.01}.get(case.kind, 0.4 + 0.15 * d * p)
    eps = case.eps or (1.0 if case.kind in ("grid", "just beyond") else eps)
    reach = reach_of(np.concatenate([x, y]), eps, p)
    found, expected = (results_of(b, x, y, reach) for b in (backend, SPEC))
    for (name, own), (_, other) in zip(found, expected, strict=True):
        assert own.dtype == other.dtype, name
        assert own.tobytes() == other.tobytes(), name


def results_of(
    b: NeighborKernels, x: Array, y: Array, reach: EpsBounds
) -> Iterator[tuple[str, Array]]:
    """Yield what each primitive answers for rows x, and for rows y beside them.

    One by one, so that who finds the first to be wrong does not compute, or build, the others.
    """
    n, m = len(x), len(y)
    rng = np.random.default_rng(n)
    core, there = rng.random(n) < 0.6, rng.random(m) < 0.6
    core &= x[:, 0] >= np.quantile(x[:, 0], 0.4)  # whole tiles, and subtrees, without core rows
    own, other = b.build_index(x, reach, EACH), b.build_index(y, reach, EACH)
    for name, side, weight in (
        ("count", own, None), ("count of others", other, None),
        ("count of weights", other, rng.integers(0, 3, m)),
        ("count of own weights", own, rng.integers(0, 3, n)),
    ):  # fmt: skip
        found = (np.arange(n) % 2).astype(np.int32 if weight is None else np.int64)
        b.count_neighbors(own, side, weight, 7, found, EACH)
        yield name, np.minimum(found, 7)
    claimed = np.full(n, NO_CLUSTER, np.uint32)
    claimed[::3] = 5
    cluster = np.where(there, 9 - np.arange(m) % 10, NO_CLUSTER).astype(np.uint32)
    b.assign_border(own, ~core, other, cluster, claimed, EACH)
    yield "claim", claimed
    among = np.where(core, 9 - np.arange(n) % 10, NO_CLUSTER).astype(np.uint32)
    among[~core & (np.arange(n) % 3 == 0)] = 5
    claimed_own = among.copy()
    b.assign_border(own, ~core, own, among, claimed_own, EACH)
    b.assign_border(own, ~core, own, among, among, EACH)
    assert (among == claimed_own).all()
    yield "claim of own", among
    best, row = np.full((n, 3), np.inf), np.full((n, 3), -1)
    best[::4] = reach.limit
    b.find_nearest(own, core, other, there, best, row, EACH)
    yield "nearest sizes", best
    yield "nearest rows", row
    group = np.where(core, rng.integers(0, 30, n), -1)
    theirs = np.where(there, 30 + rng.integers(0, 30, m), -1)
    yield "link", b.connect_core(own, core, EACH)[0]
    yield "link of all", b.connect_core(own, np.ones(n, bool), EACH)[0]
    yield "link across", b.connect_groups(own, group, other, theirs, 60, EACH)[0]
