"""What a backend must do: a handful of coarse primitives, each on one block of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.mix import mix
from gpuseg.backends.moments import Moments

NO_ROW = np.iinfo(np.int64).max
"""Stands for "no such row" where the first of something is asked for."""

TRANSFORMS = ("none", "log1p")
"""Names of the feature transforms; a transform's code is its place in this tuple."""


def digest_factors(n_features: int) -> NDArray[np.uint64]:
    """Return the odd numbers of `Backend.digest`, uint64 (d,)."""
    return mix(np.arange(n_features, dtype=np.uint64)) | np.uint64(1)


KINDS = ("missing", "infinite", "outside")
"""Values that no statistic counts: NaN, infinite, outside the domain of the transform."""


@dataclass
class Summary:
    """What one pass tells about the columns of some rows; merged in any order, same bits.

    Attributes
    ----------
    rows : int
        Number of rows seen.
    counts : int64 (3, d)
        How many values of each of `KINDS` each feature has.
    firsts : int64 (3, d)
        The first row of each kind, `NO_ROW` where there is none.
    minimum, maximum : float64 (d,)
        Of the remaining values after the transform; +inf and -inf where there is none.
    moments : Moments
        Exact sums of the remaining values after the transform, and of their squares.
    """

    rows: int
    counts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    moments: Moments

    @classmethod
    def empty(cls, n_features: int) -> "Summary":
        """Return the summary of no rows."""
        shape = (len(KINDS), n_features)
        lowest, highest = np.full(n_features, np.inf), np.full(n_features, -np.inf)
        counts, firsts = np.zeros(shape, np.int64), np.full(shape, NO_ROW, np.int64)
        return cls(0, counts, firsts, lowest, highest, Moments.zeros(n_features))

    def merge(self, other: "Summary") -> "Summary":
        """Return the summary of both sets of rows together."""
        return Summary(
            self.rows + other.rows,
            self.counts + other.counts,
            np.minimum(self.firsts, other.firsts),
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.moments.merge(other.moments),
        )

    def valid(self) -> NDArray[np.int64]:
        """Return how many values of each feature the moments are made of, int64 (d,)."""
        valid: NDArray[np.int64] = self.rows - self.counts.sum(axis=0)
        return valid


@dataclass(frozen=True)
class Preparation:
    """How a raw feature vector becomes the one that is clustered: fill, transform, scale.

    ``z = (transform(fill(x)) - shift) / scale``, evaluated in float64, rounded to float32.

    Attributes
    ----------
    fill : float32 (d,)
        Replaces a missing value; NaN where nothing is replaced.
    transform : int64 (d,)
        Codes of `TRANSFORMS`.
    shift, scale : float64 (d,)
    """

    fill: NDArray[np.float32]
    transform: NDArray[np.int64]
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def identity(cls, n_features: int) -> "Preparation":
        """Return the preparation that changes nothing."""
        return cls(
            np.full(n_features, np.nan, np.float32),
            np.zeros(n_features, np.int64),
            np.zeros(n_features),
            np.ones(n_features),
        )


@dataclass(frozen=True)
class Centers:
    """Cluster centres, and the point that fast paths measure from.

    Distances in the expanded form, |c|² - 2x·c, lose digits when the data lies far from the
    origin; measured from a point amid the data they do not. The point is float32 so that
    ``x - shift`` is rounded at most once.

    Attributes
    ----------
    values : float64 (k, d)
    shift : float32 (d,)
    """

    values: NDArray[np.float64]
    shift: NDArray[np.float32]


@dataclass
class Partial:
    """What a block adds to a Lloyd iteration.

    Attributes
    ----------
    sums : float64 (levels, k, d)
        Σ w·(x - shift) of the rows of each centre, level by level of the grid.
    weight : float64 (levels, k)
        Σ w of the rows of each centre.
    """

    sums: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def zeros(cls, levels: int, k: int, n_features: int) -> "Partial":
        """Return the partial of no rows."""
        return cls(np.zeros((levels, k, n_features)), np.zeros((levels, k)))

    def add(self, other: "Partial") -> None:
        """Add the rows of another block; exact, hence in any order."""
        self.sums += other.sums
        self.weight += other.weight


@dataclass(frozen=True)
class SumGrid:
    """Grids for the sums of a Lloyd pass, see `engine.exact.grid_magic`.

    One level where every row weighs 1. With weights there is a second, finer level for what
    the first rounds off: clusters of light rows would lose their digits beside heavy ones.

    Attributes
    ----------
    sums : float64 (levels, d)
        For w·(x - shift), a feature.
    weight : float64 (levels,)
        For w.
    """

    sums: NDArray[np.float64]
    weight: NDArray[np.float64]

    @staticmethod
    def split(values: NDArray[np.float64], magics: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the parts of the values on each level; `magics` is (levels, …)."""
        parts, rest = [], values
        for magic in magics:
            part = (rest + magic) - magic
            parts.append(part)
            rest = rest - part
        return np.array(parts)


class Backend(Protocol):
    """Primitives on one block of rows `x`, float32 (n, d), C-order.

    "Nearest" means: the lowest index among the centres whose squared distance, evaluated in
    float64 as Σ (x_f - c_f)² with the features in order and no fused multiply-add, is least.
    Every backend returns exactly the arrays that `numpy`, the specification, returns.
    """

    name: str

    def summarize(
        self, x: NDArray[np.float32], transform: NDArray[np.int64], first_row: int
    ) -> Summary:
        """Summarise the columns after their transforms; rows are numbered from `first_row`."""
        ...

    def digest(
        self, x: NDArray[np.float32], weight: NDArray[np.float64] | None, first_row: int
    ) -> int:
        """Return a 64-bit digest of rows at their places; digests of runs of rows add, mod 2^64.

        A row's bits are multiplied with random odd numbers, one for each feature, added, and
        mixed with its weight and its place: another value, order of rows or order of columns
        gives another digest.
        """
        ...

    def prepare(self, x: NDArray[np.float32], preparation: Preparation) -> None:
        """Apply `preparation` in place."""
        ...

    def key_histogram(
        self, column: NDArray[np.float32], prefixes: Sequence[int] | None
    ) -> NDArray[np.int64]:
        """Count the sort keys of a column's values, NaN left out.

        The key of a value is a uint32 that sorts as the values do. Without `prefixes`: counts
        of the keys' upper 16 bits, int64 (65536,). With them: for each prefix the counts of
        the lower 16 bits among the keys whose upper 16 bits are the prefix, int64
        (len(prefixes), 65536).
        """
        ...

    def lloyd(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64] | None,
        centers: Centers,
        grid: SumGrid,
    ) -> Partial:
        """Assign each row to its nearest centre and sum the rows of each, in one read of x."""
        ...

    def nearest(
        self, x: NDArray[np.float32], centers: Centers
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return the nearest centre, int32 (n,), and its squared distance, float64 (n,)."""
        ...

    def squared_distances(
        self, x: NDArray[np.float32], centers: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return all squared distances, float64 (n, k)."""
        ...
