"""Sums over rows that are the same in any order: the grids, and the sums of k-means on them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

STEPS = 1.5 * 2.0**52
"""A rounding constant ("magic") divided by the step of its grid."""


def on_grid(values: NDArray[np.float64], magic: float) -> NDArray[np.float64]:
    """Round to the grid of `numerics.reproducible_sums.grid_magic`, float64."""
    rounded: NDArray[np.float64] = (values + magic) - magic
    return rounded


@dataclass(frozen=True)
class SumGrid:
    """Grids for the sums of a Lloyd pass, see `numerics.reproducible_sums.grid_magic`.

    There are two levels: the second takes the remainders of the first, so that rows of small weight
    or near the center keep their digits when others have large weights or are far away.

    Attributes
    ----------
    sums : float64 (levels, d)
        Rounding constants of w·(x - shift), for each feature.
    weight : float64 (levels,)
        Rounding constants of w.
    terms : int
        Sums of up to this many rows are exact.
    """

    sums: NDArray[np.float64]
    weight: NDArray[np.float64]
    terms: int = 1

    @cached_property
    def columns(self) -> NDArray[np.float64]:
        """The constants of the features and, last, of the weight, float64 (levels, d + 1)."""
        return np.concatenate([self.sums, self.weight[:, None]], axis=1)

    @cached_property
    def steps(self) -> NDArray[np.float64]:
        """The step of each grid of `columns`, float64 (levels, 1, d + 1)."""
        steps: NDArray[np.float64] = self.columns / STEPS
        return steps[:, None, :]

    @staticmethod
    def split(values: NDArray[np.float64], magics: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the part of the values on each level; `magics` is (levels, …)."""
        parts, rest = [], values
        for magic in magics:
            part = on_grid(rest, magic)
            parts.append(part)
            rest = rest - part
        return np.array(parts)


@dataclass
class LloydSums:
    """Sums of a Lloyd iteration over some rows, or the changes of these sums.

    Attributes
    ----------
    sums : float64 (levels, k, d)
        Σ w·(x - shift) of the rows of each center, for each level of the grid.
    weight : float64 (levels, k)
        Σ w of the rows of each center.
    n_rows_scored : int
        Rows for which distances were computed.
    seconds : float
        Time spent; if one call serves several runs, the share of this run.
    """

    sums: NDArray[np.float64]
    weight: NDArray[np.float64]
    n_rows_scored: int = 0
    seconds: float = 0.0

    @classmethod
    def zeros(cls, levels: int, k: int, n_features: int) -> "LloydSums":
        """Return the sums of no rows."""
        return cls(np.zeros((levels, k, n_features)), np.zeros((levels, k)))

    def add(self, other: "LloydSums") -> None:
        """Add the sums of other rows; exact, so the order does not matter."""
        self.sums += other.sums
        self.weight += other.weight
        self.n_rows_scored += other.n_rows_scored
        self.seconds += other.seconds


@dataclass
class AssignmentSums:
    """Sums of an assignment of rows to centers; merged by exact addition.

    Attributes
    ----------
    parts : float64 (levels,)
        Σ w·d² on a grid, and the remainders on finer grids.
    sizes : int64 (k,)
        Number of rows of each segment.
    """

    parts: NDArray[np.float64]
    sizes: NDArray[np.int64]

    @property
    def inertia(self) -> float:
        """Σ w·d²."""
        return float(self.parts.sum())

    def merge(self, other: "AssignmentSums") -> "AssignmentSums":
        """Return the sums of both sets of rows together."""
        return AssignmentSums(self.parts + other.parts, self.sizes + other.sizes)
