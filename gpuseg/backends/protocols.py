"""What each part of a backend implements; primitives work on one block of rows.

Rows `x` are float32 (n, d), C-order. Rows and their weights are NumPy arrays, or arrays on the
device of the backend; results with one entry per row are where x is, all others are NumPy arrays.
Every backend returns exactly the arrays that `numpy`, the specification, returns.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.column_summary import ColumnSummary
from gpuseg.backends.customers import CustomerFeatures, TransactionLines
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.backends.types import Centers, IteratedRun, PackedRun, RowBounds, StopRule
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.numerics.sum_grid import AssignmentSums, LloydSums, SumGrid


class ParallelMap(Protocol):
    """Calls a function on each item, maybe on several threads; results in the items' order.

    `rows` is the number of rows of all items together, for progress reports; 0 reports nothing.
    """

    def __call__(
        self, function: Callable[[Any], Any], items: Sequence[Any], rows: int = 0
    ) -> Iterable[Any]: ...


class Device(Protocol):
    """The memory that a backend computes in."""

    def fits(self, n_rows: int, n_features: int) -> bool:
        """Whether rows, their weights and their bounds fit on the device."""
        ...

    def block_rows(self, n_values: int) -> int | None:
        """Return how many rows in host memory to pass per call.

        Parameters
        ----------
        n_values : int
            float32 values per row that are copied to the device or back.

        Returns
        -------
        int or None
            None where threads of the host do the work: then the caller divides it.
        """
        ...

    def to_device(self, array: NDArray[Any]) -> Any:
        """Return the array on the device, or the array itself where memory runs out."""
        ...

    def from_foreign(self, array: Any, dtype: Any) -> Any:
        """Return another library's array on the device as one of the backend's, C-order.

        The result has the dtype `dtype`; it is a copy only where that is necessary.
        """
        ...

    def to_host(self, array: Any, rows: Any = slice(None)) -> NDArray[Any]:
        """Return some rows of an array, on the device or the host, as a NumPy array."""
        ...


class ColumnKernels(Protocol):
    """Statistics and transforms of columns."""

    def summarize(self, x: Any, transform: NDArray[np.int64], first_row: int) -> ColumnSummary:
        """Summarise the columns after their transforms, either none or log1p.

        Rows are numbered from `first_row`.
        """
        ...

    def digest(self, x: Any, weight: Any, first_row: int) -> int:
        """Return a 64-bit digest of rows at their positions.

        The digest of a table is the sum, mod 2^64, of the digests of its blocks. A row's bits are
        multiplied with random odd numbers, one per feature, added, and mixed with its weight and
        its position: another value, order of rows or order of columns gives another digest.
        """
        ...

    def prepare(self, x: Any, transform: FeatureTransform) -> Any:
        """Apply `transform`, in place unless a projection changes the number of columns.

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
            Magic numbers of `numerics.sum_grid.on_grid`; a finer level takes what the one before
            rounds off.

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
        """Return Σ t, Σ t² and Σ ±log(1 + |x|), with the sign of x, for one feature.

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


class BinKernels(Protocol):
    """Bins of values, of which each feature has 256, and their counts."""

    def bin_rows(self, x: Any, edges: NDArray[np.float32]) -> Any:
        """Return the bin of each value: the number of the feature's edges below it.

        Parameters
        ----------
        edges : float32 (d, 255)
            Not falling, without NaN.

        Returns
        -------
        uint16 (n, d)
            256 for NaN.
        """
        ...

    def count_bins(self, bins: Any, group: NDArray[np.int32], counts: NDArray[np.int64]) -> None:
        """Add the rows of each group to its counts of bins.

        Parameters
        ----------
        bins : uint16 (n, d)
            From `bin_rows`.
        group : int32 (n,)
            Numbers from 0 to n_groups - 1.
        counts : int64 (n_groups, d, 257), C-order
        """
        ...


class CentroidKernels(Protocol):
    """Distances between rows and points, and sums over the rows of each center.

    "Nearest" means: the lowest index among the centers whose squared distance is least. The
    squared distance is evaluated in float64 as Σ (x_f - c_f)² with the features in order and no
    fused multiply-add.

    Attributes
    ----------
    slack_rounding : float
        The relative error by which stored slack may be rounded down.
    """

    slack_rounding: float

    def pack(self, centers: Centers) -> Any:
        """Return centers in the layout of `lloyd`, `nearest` and `assign`, for many blocks."""
        ...

    def bounds_budget(self, requested: int, used: int) -> int:
        """Return how many bytes all bounds together may take.

        Parameters
        ----------
        requested : int
            Bytes of host memory that the caller would spend.
        used : int
            Bytes that existing bounds take.
        """
        ...

    def bounds_bytes_per_row(self, k: int) -> int:
        """Return how many bytes `new_bounds` takes per row, for a run of k centers."""
        ...

    def new_bounds(self, n_rows: int, k: int) -> RowBounds:
        """Return bounds of rows that no pass has seen, in the backend's own arrays."""
        ...

    def reset_slack(self, bounds: RowBounds) -> None:
        """Set all slack to zero: the next pass scores every row."""
        ...

    def lloyd(
        self, x: Any, weight: Any, runs: Sequence[PackedRun], grid: SumGrid
    ) -> list[LloydSums]:
        """Assign each row to its nearest center, for several runs in one read of x.

        Labels and slack of each run's bounds are updated. The result is, run by run, the change
        of the sums: the sums of the rows that joined a center minus those of the rows that left
        it; for fresh bounds, the sums of all rows.
        """
        ...

    def nearest(self, x: Any, centers: Any) -> tuple[Any, Any]:
        """Return the nearest center, int32 (n,), and its squared distance, float64 (n,)."""
        ...

    def assign(
        self, x: Any, weight: Any, centers: Any, grids: Sequence[float]
    ) -> tuple[Any, Any, AssignmentSums]:
        """Return the results of `nearest`, and Σ w·d² on the grids with the cluster sizes."""
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

    def squared_distances(self, x: Any, centers: NDArray[np.float64]) -> Any:
        """Return all squared distances, float64 (n, k)."""
        ...

    def runner_up(
        self, x: Any, centers: NDArray[np.float64], segment: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
        """Return the next segment of each row: that of the nearest center of another segment.

        The arrays are in host memory. The nearest center is the first one of equally near ones.

        Parameters
        ----------
        x : float32 (n, d)
        centers : float64 (k, d)
        segment : int32 (k,)
            The segment of each center; several may have one segment.

        Returns
        -------
        next_segment : int32 (n,)
            `types.NO_SEGMENT` where no other segment has a center at a finite distance.
        near, far : float64 (n,)
            Squared distances to the nearest center, and to the nearest one of another segment,
            infinite without one.
        """
        ...


class RunKernels(Protocol):
    """Seeding, and whole runs of k-means, on one block of rows in host memory."""

    def plus_plus(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64],
        draws: NDArray[np.float64],
        parallel_map: ParallelMap,
    ) -> list[NDArray[np.int64]]:
        """Choose rows by greedy k-means++, for several runs.

        The first row is drawn by weight. Each further one is, of several candidates drawn by
        w·d², the one that leaves the least Σ w·d², the first of equally good ones; d is the
        distance to the nearest row chosen. Sums are added in the order of the rows, in float64.

        Parameters
        ----------
        weight : float64 (n,), > 0
        draws : float64 (runs, k, candidates)
            In [0, 1); positions on the axis of cumulated weight or w·d². Of the first row, only
            the first candidate counts.

        Returns
        -------
        list of int64 (m,)
            The rows of each run in the order of choice; m is k, or less where x has fewer distinct
            rows.
        """
        ...

    def choose_in_cells(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64],
        first: Sequence[NDArray[np.int64]],
        draws: NDArray[np.float64],
        parallel_map: ParallelMap,
    ) -> list[NDArray[np.int64]]:
        """Choose further rows as `plus_plus` does, but compare each candidate with few rows.

        The first rows of a run divide all rows into cells. A candidate is compared with the rows of
        its own cell and of other cells that it may come near to, `CELLS_READ` together. For the
        other rows, d is an upper bound of the distance to the nearest row chosen. Of several
        candidates, the one that lessens Σ w·d² the most is chosen, the first of equally good ones.
        Masses of cells are added in the order of the cells, those of rows in their order within a
        cell; see `backends.numpy.cell_seeding`.

        Parameters
        ----------
        weight : float64 (n,), > 0
        first : list of int64 (m,)
            Distinct rows, at least one for each run.
        draws : float64 (runs, steps, candidates)

        Returns
        -------
        list of int64 (m,)
            The further rows of each run; m is the number of steps, or less where no row is left
            with d > 0.
        """
        ...

    def iterate(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64] | None,
        starts: Sequence[Centers],
        grid: SumGrid,
        stop: StopRule,
        parallel_map: ParallelMap,
    ) -> list[IteratedRun]:
        """Iterate each run until it ends by the rule, or a center has no rows.

        An iteration moves each center to the mean of its rows, as `CentroidKernels.lloyd` finds
        them.
        """
        ...

    def sum_assignments(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64] | None,
        models: Sequence[tuple[Centers, tuple[float, ...]]],
        parallel_map: ParallelMap,
    ) -> list[AssignmentSums]:
        """Return the sums of `CentroidKernels.assign` for centers and grids of several runs."""
        ...


class NeighborKernels(Protocol):
    """Range queries and nearest neighbors of DBSCAN.

    Queries go from the rows of one index, `query`, to those of another, `target`; both may be the
    same object. Arrays have one entry per row, in the row order of `build_index`. Results do not
    depend on the order of the work; only the number of computed distances does, which every
    query returns.

    Attributes
    ----------
    name : str
    """

    name: str

    def build_index(
        self, points: NDArray[Any], eps_bounds: EpsBounds, parallel_map: ParallelMap
    ) -> Any:
        """Index rows, float32 or float64 (n, d), for the queries below; n may be 0."""
        ...

    def uses_grid(self, index: Any, parallel_map: ParallelMap) -> bool:
        """Whether queries within the index use a grid of cells, at a tenth of the cost per row."""
        ...

    def count_neighbors(
        self,
        query: Any,
        target: Any,
        weight: NDArray[np.int64] | None,
        max_count: int,
        counts: NDArray[Any],
        parallel_map: ParallelMap,
    ) -> int:
        """Add to `counts`, (n,), the weight of the target rows within eps of each query row.

        Parameters
        ----------
        weight : int64 (n_target,) or None
            At least 0; None means ones.
        max_count : int
            Counting may stop here; rows that start with so much may end with any count above it.
        counts : int64 or int32 (n,)
            int32 only where it can hold the weight of all rows.
        """
        ...

    def connect_core(
        self, index: Any, core: NDArray[np.bool_], parallel_map: ParallelMap
    ) -> tuple[NDArray[np.int32], int]:
        """Return the lowest row of each core row's cluster, -1 for other rows, int32 (n,).

        Core rows within eps of each other are in the same cluster.
        """
        ...

    def connect_groups(
        self,
        query: Any,
        query_group: NDArray[np.int64],
        target: Any,
        target_group: NDArray[np.int64],
        n_groups: int,
        parallel_map: ParallelMap,
    ) -> tuple[NDArray[np.int64], int]:
        """Join groups that have a query row and a target row within eps of each other.

        Groups are numbers below `n_groups`; no group has rows on both sides; -1 means no group.
        Returns for each group the lowest one that it is joined with, int64 (n_groups,).
        """
        ...

    def assign_border(
        self,
        query: Any,
        border: NDArray[np.bool_],
        target: Any,
        cluster: NDArray[np.uint32],
        lowest: NDArray[np.uint32],
        parallel_map: ParallelMap,
    ) -> int:
        """Lower `lowest`, uint32 (n,), of border rows to the lowest cluster within eps.

        Parameters
        ----------
        border : bool (n,)
            The query rows to assign.
        cluster : uint32 (n_target,)
            `NO_CLUSTER` for rows that are no core rows. Where query and target are the same
            index, border rows are no core rows, and `lowest` may be `cluster`.
        """
        ...

    def find_nearest(
        self,
        query: Any,
        requested: NDArray[np.bool_],
        target: Any,
        core: NDArray[np.bool_],
        rdist: NDArray[np.float64],
        row: NDArray[np.int64],
        parallel_map: ParallelMap,
    ) -> int:
        """Find the k nearest core rows of the target for the requested query rows.

        Updates `rdist` and `row`, (n, k): the exact reduced distances (`numerics.eps_bounds`) in
        rising order, and the rows; of equally near ones the lowest. Only rows that are nearer
        than those on entry are taken.
        """
        ...


class CustomerKernels(Protocol):
    """Features of customers from their transaction lines."""

    def aggregate(
        self,
        lines: TransactionLines,
        n_customers: int,
        snapshot: int,
        parallel_map: ParallelMap,
    ) -> CustomerFeatures:
        """Compute the features of each customer at the snapshot, in microseconds since 1970."""
        ...


class TreeKernels(Protocol):
    """Splits of a decision tree for classes, in host memory."""

    def best_splits(
        self,
        columns: NDArray[np.float32],
        order: NDArray[np.int32],
        classes: NDArray[np.int32],
        counts: NDArray[np.int64],
        min_rows: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find the best split of the rows of a node by each feature.

        A split into l rows below and r rows above has the score Σ l_c² / l + Σ r_c² / r, with l_c
        and r_c rows of class c. The sums are exact.

        Parameters
        ----------
        columns : float32 (d, m)
            Values by feature, without NaN.
        order : int32 (d, n)
            The rows of the node, sorted by each feature.
        classes : int32 (m,)
            Classes of all rows, from 0 to K - 1.
        counts : int64 (K,)
            Rows of the node by class.
        min_rows : int
            Minimum number of rows on each side, at least 1.

        Returns
        -------
        scores : float64 (d,)
            The largest score by each feature; 0 where no split leaves enough rows on both sides, or
            all values are equal. Equal values stay together.
        n_below : int64 (d,)
            Number of rows below that split, the smallest of equally good ones; 0 for no split.
        """
        ...
