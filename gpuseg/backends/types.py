"""Values that callers and backends exchange: centers, bounds of rows, and runs of k-means."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.sum_grid import LloydSums

MAX_GAP = np.float32(1e37)
"""The gap where there is no other center; finite, so that sums with it are numbers."""

NO_SEGMENT = -1
"""The next segment where there is one segment only."""

CELLS_READ = 16
"""Cells whose rows are compared with a candidate in seeding, see `RunKernels.choose_in_cells`."""


@dataclass(frozen=True)
class Centers:
    """Cluster centers, and the point that fast paths measure from.

    Distances in the expanded form, |c|² - 2x·c, lose digits when the data is far from the
    origin; measured from a point amid the data they do not. The point is float32 so that
    ``x - shift`` is rounded at most once.

    Attributes
    ----------
    values : float64 (k, d)
    shift : float32 (d,)
    """

    values: NDArray[np.float64]
    shift: NDArray[np.float32]

    @property
    def k(self) -> int:
        """Number of centers."""
        return len(self.values)

    def move(self, sums: LloydSums) -> "Centers":
        """Return the means of the centers' rows; a center without rows stays."""
        weight = sums.weight.sum(axis=0)[:, None]
        total = sums.sums.sum(axis=0)
        means = self.shift.astype(np.float64) + total / np.where(weight == 0, 1.0, weight)
        return Centers(np.where(weight != 0, means, self.values), self.shift)

    def squared_change(self, before: "Centers") -> float:
        """Return Σ|Δcenter|², added in the order of centers and features."""
        squares = (self.values - before.values) ** 2
        return float(np.add.accumulate(squares.reshape(-1))[-1])


class PackedCenters(NamedTuple):
    """Centers in groups, feature by feature, with the norms that the certificate needs.

    Attributes
    ----------
    exact : float64 (k, d)
        The centers themselves.
    shift : float32 (d,)
    negated : float32 (groups·d·group,)
        -(c - shift), group by group and then feature by feature; zeros where the last group is
        not full.
    half_norms : float32 (groups·group,)
        ½|c - shift|²; infinite where the last group is not full, so that those never win.
    max_norm : float32
        max |c - shift|, rounded up.
    """

    exact: NDArray[np.float64]
    shift: NDArray[np.float32]
    negated: NDArray[np.float32]
    half_norms: NDArray[np.float32]
    max_norm: np.float32

    @property
    def k(self) -> int:
        """Number of centers."""
        return len(self.exact)

    @classmethod
    def pack(cls, centers: Centers, group: int) -> Self:
        """Pack centers for a kernel that scores `group` of them together."""
        k, d = centers.values.shape
        n_full, rest = divmod(k, group)
        n_groups = -(-k // group)
        negative = centers.shift - centers.values
        negated = np.zeros((n_groups, d, group), np.float32)
        half_norms = np.empty(n_groups * group, np.float32)
        half_norms[k:] = np.inf
        with np.errstate(over="ignore"):
            negated[:n_full] = negative[: k - rest].reshape(n_full, group, d).transpose(0, 2, 1)
            if rest:
                negated[n_full, :, :rest] = negative[k - rest :].T
            squares = np.vecdot(negative, negative)
            half_norms[:k] = 0.5 * squares
            max_norm = np.float32(math.sqrt(np.maximum.reduce(squares)) * (1 + 2.0**-20))
        return cls(centers.values, centers.shift, negated.reshape(-1), half_norms, max_norm)


@dataclass
class RowBounds:
    """Bounds that earlier Lloyd passes have left for some rows, so that most are skipped.

    Attributes
    ----------
    label : int32 (n,)
        The nearest center at the last pass.
    slack : float32 (n,)
        A lower bound of the gap when the row was last scored, plus the drift of its label then.
        The gap is how much farther any other center is than the nearest one. A backend may keep
        labels and slack in fewer bytes, slack rounded down.
    drift : float32 (k,)
        An upper bound of how far each center and any other have come together since slack was
        first kept. A row keeps its label while its slack is above its label's drift.
    fresh : bool
        Whether there are no bounds yet.
    """

    label: NDArray[np.int32]
    slack: NDArray[np.float32]
    drift: NDArray[np.float32]
    fresh: bool = True

    @classmethod
    def empty(cls, n_rows: int, k: int) -> "RowBounds":
        """Return the bounds of rows that no pass has seen."""
        zeros = np.zeros(k, np.float32)
        return cls(np.zeros(n_rows, np.int32), np.zeros(n_rows, np.float32), zeros)

    def take(self, rows: slice) -> "RowBounds":
        """Return the bounds of some of the rows, as a view."""
        return RowBounds(self.label[rows], self.slack[rows], self.drift, self.fresh)


class PackedRun(NamedTuple):
    """One of several runs that a Lloyd pass serves together.

    Attributes
    ----------
    centers : object
        From `CentroidKernels.pack`.
    bounds : RowBounds
    """

    centers: Any
    bounds: RowBounds


class StopRule(NamedTuple):
    """When a run of k-means ends.

    Attributes
    ----------
    max_iter : int
    max_change : float
        The run has converged if Σ|Δcenter|² of an iteration is at most this.
    """

    max_iter: int
    max_change: float


class IteratedRun(NamedTuple):
    """A run of k-means after its iterations.

    If it has neither converged nor made `max_iter` iterations, the next one would leave a center
    without rows.

    Attributes
    ----------
    centers : float64 (k, d)
    weight : float64 (k,)
        Weight of the rows that each center is the mean of.
    n_iter : int
    converged : bool
    n_rows_scored : int
        Rows with computed distances, over all iterations.
    seconds : float
        Thread time; if one call iterates several runs, the share of this one.
    """

    centers: NDArray[np.float64]
    weight: NDArray[np.float64]
    n_iter: int
    converged: bool
    n_rows_scored: int
    seconds: float
