"""What a backend must do: a handful of coarse primitives, each on one block of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.column_summary import ColumnSummary
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.numerics.hashing import splitmix64
from gpuseg.numerics.sum_grid import AssignmentSums, LloydSums, SumGrid

LARGEST_GAP = np.float32(1e37)
"""The gap where there is no other centre; finite, so that sums with it are numbers."""


def digest_factors(n_features: int) -> NDArray[np.uint64]:
    """Return the odd numbers of `Backend.digest`, uint64 (d,)."""
    return splitmix64(np.arange(n_features, dtype=np.uint64)) | np.uint64(1)


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

    @property
    def k(self) -> int:
        """Number of centres."""
        return len(self.values)


@dataclass
class RowBounds:
    """What earlier Lloyd passes found out about some rows, so that most need no second look.

    Attributes
    ----------
    label : int32 (n,)
        The nearest centre at the last pass.
    slack : float32 (n,)
        At most by how much any other centre was farther than the own one when the row was last
        looked at, plus the drift of its label then. A backend may keep labels and slack in fewer
        bytes, slack rounded down.
    drift : float32 (k,)
        At least how far each centre and any other have come together since slack was first kept.
        A row keeps its label while its slack is above its label's drift.
    fresh : bool
        Whether nothing is known yet.
    """

    label: NDArray[np.int32]
    slack: NDArray[np.float32]
    drift: NDArray[np.float32]
    fresh: bool = True

    @classmethod
    def empty(cls, n_rows: int, k: int) -> "RowBounds":
        """Return the memory of rows never seen."""
        zeros = np.zeros(k, np.float32)
        return cls(np.zeros(n_rows, np.int32), np.zeros(n_rows, np.float32), zeros)

    def take(self, rows: slice) -> "RowBounds":
        """Return the memory of some of the rows, as a view."""
        return RowBounds(self.label[rows], self.slack[rows], self.drift, self.fresh)


class Backend(Protocol):
    """Primitives on one block of rows `x`, float32 (n, d), C-order.

    Rows and their weights are NumPy arrays, or arrays on the device of the backend; what is
    returned with one entry a row lives where x does, all else is NumPy's.

    "Nearest" means: the lowest index among the centres whose squared distance, evaluated in
    float64 as Σ (x_f - c_f)² with the features in order and no fused multiply-add, is least.
    Every backend returns exactly the arrays that `numpy`, the specification, returns.

    Attributes
    ----------
    name : str
    slack_rounding : float
        By how much of itself slack may be rounded down where it is remembered.
    """

    name: str
    slack_rounding: float

    def summarize(
        self, x: NDArray[np.float32], transform: NDArray[np.int64], first_row: int
    ) -> ColumnSummary:
        """Summarise the columns after their transforms, of which there are none and log1p.

        Rows are numbered from `first_row`.
        """
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

    def prepare(self, x: Any, preparation: FeatureTransform) -> Any:
        """Apply `preparation`, in place but where a projection changes the number of columns.

        Returns
        -------
        float32 (n, p)
            x itself without a projection.
        """
        ...

    def gram(
        self, x: Any, mean: NDArray[np.float64], grids: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return Σ (x_i - mean_i)·(x_j - mean_j) over the rows, in parts, for i <= j.

        Parameters
        ----------
        mean : float64 (d,)
        grids : float64 (levels, d, d)
            Magic numbers of `sums.on_grid`; a finer level takes what the one before rounds off.

        Returns
        -------
        float64 (levels, d, d)
            Zeros below the diagonal.
        """
        ...

    def power_sums(
        self,
        x: Any,
        feature: int,
        powers: NDArray[np.float64],
        origin: NDArray[np.float64],
        grids: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return Σ t, Σ t² and Σ ±log(1 + |x|), the sign that of x, of one feature.

        t is the Yeo-Johnson transform of x with each λ of `powers`, minus its `origin`.

        Parameters
        ----------
        powers, origin : float64 (m,)
        grids : float64 (levels, 2·m + 1)
            As in `gram`: first for the m values of t, then for those of t², last the logarithm.

        Returns
        -------
        float64 (levels, 2·m + 1)
        """
        ...

    def key_histogram(
        self, x: Any, feature: int, prefixes: Sequence[int] | None
    ) -> NDArray[np.int64]:
        """Count the sort keys of one column's values, NaN left out.

        The key of a value is a uint32 that sorts as the values do. Without `prefixes`: counts
        of the keys' upper 16 bits, int64 (65536,). With them: for each prefix the counts of
        the lower 16 bits among the keys whose upper 16 bits are the prefix, int64
        (len(prefixes), 65536).
        """
        ...

    def fits(self, n_rows: int, n_features: int) -> bool:
        """Whether rows, their weights and what is remembered of them fit on the device."""
        ...

    def block_rows(self, n_values: int) -> int | None:
        """Return how many rows of the host's memory to hand over at a time.

        Parameters
        ----------
        n_values : int
            Of float32, that a row brings or takes home.

        Returns
        -------
        int or None
            None where threads of the host do the work: then the caller shares it out.
        """
        ...

    def to_device(self, array: NDArray[Any]) -> Any:
        """Return the array on the device of the backend, or as it is where memory runs out."""
        ...

    def from_foreign(self, array: Any, dtype: Any) -> Any:
        """Return another library's array on the device as one of the backend's, C-order.

        Of the dtype asked for; without a copy where it is that already.
        """
        ...

    def to_host(self, array: Any, rows: Any = slice(None)) -> NDArray[Any]:
        """Return some rows of an array, wherever it lives, as a NumPy array."""
        ...

    def pack(self, centers: Centers) -> Any:
        """Return centres as `lloyd` and `nearest` want them: done once, used for many blocks."""
        ...

    def bounds_budget(self, asked: int, held: int) -> int:
        """Return how much memory `remember` may take in all.

        `asked` is what the caller would spend of the host's, `held` what is taken already.
        """
        ...

    def remembered_bytes(self, k: int) -> int:
        """Return how many bytes of memory `remember` takes a row, of a run of k centres."""
        ...

    def new_bounds(self, n_rows: int, k: int) -> RowBounds:
        """Return the memory of rows never seen, in the backend's own arrays."""
        ...

    def forget_slack(self, memory: RowBounds) -> None:
        """Set all slack to zero: the next pass looks at every row."""
        ...

    def lloyd(
        self, x: Any, weight: Any, runs: Sequence[tuple[Any, RowBounds]], grid: SumGrid
    ) -> list[LloydSums]:
        """Assign each row to its nearest centre, for several runs in one read of x.

        A run is its packed centres and its memory, whose labels and slack are brought up to
        date. Returned is, run by run, what that changes: the sums of the rows that joined a
        centre minus those of the rows that left it; of a fresh memory, of all rows.
        """
        ...

    def nearest(self, x: Any, centers: Any) -> tuple[Any, Any]:
        """Return the nearest centre, int32 (n,), and its squared distance, float64 (n,)."""
        ...

    def assign(
        self, x: Any, weight: Any, centers: Any, grids: Sequence[float]
    ) -> tuple[Any, Any, AssignmentSums]:
        """Return what `nearest` does, and Σ w·d² on the grids with the sizes of the segments."""
        ...

    def distance_sums(
        self, x: Any, starts: NDArray[np.int64], points: NDArray[np.float32], magic: float
    ) -> NDArray[np.float64]:
        """Return Σ |x - point| over the rows of each cell, on the grid of `magic`.

        |x - point|² is evaluated in float32, the features in order and no fused multiply-add; its
        root is a float32, too.

        Parameters
        ----------
        starts : int64 (cells + 1,)
            The first row of each cell, and last n.
        points : float32 (m, d)

        Returns
        -------
        float64 (cells, m)
        """
        ...

    def squared_distances(
        self, x: NDArray[np.float32], centers: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return all squared distances, float64 (n, k)."""
        ...
