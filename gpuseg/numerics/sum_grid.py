"""Sums over rows that come out the same in any order: grids, and what is summed on them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

STEPS = 1.5 * 2.0**52
"""A magic number is so many steps of its grid."""


def on_grid(values: NDArray[np.float64], magic: float) -> NDArray[np.float64]:
    """Round to the grid of `numerics.reproducible_sums.grid_magic`, float64."""
    rounded: NDArray[np.float64] = (values + magic) - magic
    return rounded


@dataclass(frozen=True)
class SumGrid:
    """Grids for the sums of a Lloyd pass, see `numerics.reproducible_sums.grid_magic`.

    Two levels: the second takes what the first rounds off, so that light rows keep their digits
    beside heavy ones, and near rows beside far ones.

    Attributes
    ----------
    sums : float64 (levels, d)
        For w·(x - shift), a feature.
    weight : float64 (levels,)
        For w.
    terms : int
        The grids are made for at least so many rows.
    """

    sums: NDArray[np.float64]
    weight: NDArray[np.float64]
    terms: int = 1

    @cached_property
    def columns(self) -> NDArray[np.float64]:
        """The grids of the features and, last, that of the weight, float64 (levels, d + 1)."""
        return np.concatenate([self.sums, self.weight[:, None]], axis=1)

    @cached_property
    def steps(self) -> NDArray[np.float64]:
        """The distance of two points of each grid of `columns`, float64 (levels, 1, d + 1)."""
        steps: NDArray[np.float64] = self.columns / STEPS
        return steps[:, None, :]

    @staticmethod
    def split(values: NDArray[np.float64], magics: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the parts of the values on each level; `magics` is (levels, …)."""
        parts, rest = [], values
        for magic in magics:
            part = on_grid(rest, magic)
            parts.append(part)
            rest = rest - part
        return np.array(parts)


@dataclass
class LloydSums:
    """What a block adds to the sums of a Lloyd iteration, or by how much it changes them.

    Attributes
    ----------
    sums : float64 (levels, k, d)
        Σ w·(x - shift) of the rows of each centre, level by level of the grid.
    weight : float64 (levels, k)
        Σ w of the rows of each centre.
    looked_at : int
        Rows whose distances were computed.
    seconds : float
        Time it took; where several runs are served at once, this one's share.
    """

    sums: NDArray[np.float64]
    weight: NDArray[np.float64]
    looked_at: int = 0
    seconds: float = 0.0

    @classmethod
    def zeros(cls, levels: int, k: int, n_features: int) -> "LloydSums":
        """Return the partial of no rows."""
        return cls(np.zeros((levels, k, n_features)), np.zeros((levels, k)))

    def add(self, other: "LloydSums") -> None:
        """Add the rows of another block; exact, hence in any order."""
        self.sums += other.sums
        self.weight += other.weight
        self.looked_at += other.looked_at
        self.seconds += other.seconds


@dataclass
class AssignmentSums:
    """What an assignment adds up; merged by exact addition.

    Attributes
    ----------
    parts : float64 (levels,)
        Σ w·d², on a grid and on finer ones for what the coarser round off.
    sizes : int64 (k,)
        Rows of each segment.
    """

    parts: NDArray[np.float64]
    sizes: NDArray[np.int64]

    @property
    def inertia(self) -> float:
        """Σ w·d²."""
        return float(self.parts.sum())

    def merge(self, other: "AssignmentSums") -> "AssignmentSums":
        """Return the outcome for both sets of rows together."""
        return AssignmentSums(self.parts + other.parts, self.sizes + other.sizes)
