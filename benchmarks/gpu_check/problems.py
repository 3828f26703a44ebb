"""The k-means problems that are timed: rows on the device, and the inputs of a pass."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.numerics.sum_grid import SumGrid

_CHUNK = 2**22

SEPARATED, OVERLAPPING = 4.0, 0.5
"""Distances of the means of blobs, in standard deviations of a blob: so large that all engines
agree about the nearest mean, and so small that a fit takes 20 iterations."""


@dataclass(frozen=True)
class ProblemSize:
    """Rows, features, clusters, and the required and intended shares of the bound."""

    rows: int
    features: int
    clusters: int
    floor: float
    aim: float

    @property
    def title(self) -> str:
        """The case in words."""
        return f"{self.rows / 1e6:g}M × {self.features}, k = {self.clusters}"

    def with_rows(self, rows: int) -> "ProblemSize":
        """Return the case with another number of rows."""
        return replace(self, rows=rows)


CASES = (ProblemSize(100_000_000, 16, 8, 0.70, 0.85), ProblemSize(50_000_000, 64, 50, 0.50, 0.90))
FEW_ROWS = 500
"""For the emulator."""


@dataclass(frozen=True)
class Problem:
    """A case with its rows.

    Attributes
    ----------
    case : ProblemSize
    x : float32 (n, d), of `xp`
    means : float64 (k, d)
        The means of the blobs.
    start : float64 (k, d)
        Start centers near the means.
    """

    case: ProblemSize
    x: Any
    means: NDArray[np.float64]
    start: NDArray[np.float64]


def make_problem(xp: Any, case: ProblemSize, spread: float = SEPARATED) -> Problem:
    """Draw rows in blobs.

    Parameters
    ----------
    xp : module
        CuPy, or NumPy.
    spread : float
        Of the means.
    """
    random, shape = xp.random.default_rng(0), (case.clusters, case.features)
    means = xp.float32(spread) * random.standard_normal(shape, dtype=xp.float32)
    x = xp.empty((case.rows, case.features), xp.float32)
    for first in range(0, case.rows, _CHUNK):
        part = x[first : first + _CHUNK]
        part[:] = random.standard_normal(part.shape, dtype=xp.float32)
        part += means[random.integers(0, case.clusters, len(part))]
    start = means + xp.float32(0.3) * random.standard_normal(shape, dtype=xp.float32)
    return Problem(case, x, _host(means).astype(np.float64), _host(start).astype(np.float64))


def grid_of(x: Any) -> tuple[NDArray[np.float32], SumGrid]:
    """Return the mean of the rows as shift, and the grids of the shifted sums."""
    low, high, mean = _columns(x)
    shift = mean.astype(np.float32)
    largest = np.maximum(high - shift, shift - low).astype(np.float64) * 1.001
    coarse = [grid_magic(len(x), r) for r in (*largest.tolist(), 1.0)]
    magics = np.array([coarse, [finer_magic(len(x), magic) for magic in coarse]])
    return shift, SumGrid(magics[:, :-1].copy(), magics[:, -1].copy(), len(x))


def _columns(x: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return minimum, maximum and mean of the columns.

    In two steps: CuPy reduces a tall matrix along its rows in a single block.
    """
    n, d = x.shape
    length = math.isqrt(n)
    body = x[: n // length * length].reshape(-1, length, d)
    rest = x[n // length * length :]
    parts = [(body.min(axis=1), body.max(axis=1), body.sum(axis=1, dtype=np.float64))]
    if len(rest):
        sums = rest.sum(axis=0, keepdims=True, dtype=np.float64)
        parts.append((rest.min(axis=0, keepdims=True), rest.max(axis=0, keepdims=True), sums))
    low, high, sums = ([_host(part[i]) for part in parts] for i in range(3))
    total = np.concatenate(sums).sum(axis=0)
    return np.concatenate(low).min(axis=0), np.concatenate(high).max(axis=0), total / n


def _host(array: Any) -> NDArray[Any]:
    values: NDArray[Any] = array.get() if hasattr(array, "get") else array
    return values
