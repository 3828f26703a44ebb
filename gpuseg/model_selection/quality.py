"""Clustering quality: criteria of several numbers of clusters, from one pass over the rows.

* Silhouette (Rousseeuw, J. Comput. Appl. Math. 20, 1987): exact for a sample of rows, drawn by a
  hash of their positions, each against *all* rows; the mean over all rows is within the stated
  error. Rows with the same labels in all segmentations form a cell, and the distances from a
  sampled row to the rows of a cell are summed once for all segmentations.
* Simplified silhouette (Hruschka, de Castro and Campello, 2004): distances to the centers in
  place of distances to the rows; over all rows.
* Calinski and Harabasz, Commun. Stat. 3 (1974); Davies and Bouldin, IEEE TPAMI 1 (1979).

All rows count equally; weights enter only through centers and inertia. All sums are exact on their
grids, so the sharding of the rows does not matter.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.data_statistics import DataStatistics
from gpuseg.algorithms.kmeans.fit import KMeansFit
from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.backends.types import Centers
from gpuseg.model_selection.confidence import simplified_silhouette
from gpuseg.numerics.intervals import Z_95
from gpuseg.numerics.reproducible_sums import grid_magic
from gpuseg.numerics.sum_grid import on_grid
from gpuseg.runtime.executor import BLOCK_ROWS, Executor, TaskContext
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding.shard import Block, Shard

SAMPLE_ROWS = 2048
"""Rows with a computed silhouette."""

AMBIGUOUS_BELOW = 0.1
"""A row is ambiguous if its simplified silhouette is smaller than this."""

DEVICE_ROWS = 2**18
"""Rows at a time on a device, where a shard is one block; on the host it is `BLOCK_ROWS`."""

_MAX_DIFFERENCES = 2**22
"""Differences of centers in memory at once: 32 MiB."""

MAX_CELLS = 1024
"""Maximum cells at a time, each with a sum for each sampled row; in the worst case every row is a
cell."""


@dataclass(frozen=True)
class ClusterQuality:
    """Quality criteria of a number of clusters.

    Attributes
    ----------
    n_clusters : int
    inertia : float
    silhouette : float
        Mean over a sample of rows, by distances to all rows; from -1 to 1, higher is better.
    silhouette_error : float
        Half the width of its 95 % interval; 0 where the sample is all rows.
    simplified_silhouette : float
        Mean over all rows, by distances to centers; from 0 to 1.
    calinski_harabasz : float
        Higher is better.
    davies_bouldin : float
        Lower is better.
    smallest_share : float
        Share of the rows in the smallest cluster.
    ambiguous_share : float
        Share of the rows with a simplified silhouette below 0.1: the next center is hardly farther
        than their own.
    """

    n_clusters: int
    inertia: float
    silhouette: float
    silhouette_error: float
    simplified_silhouette: float
    calinski_harabasz: float
    davies_bouldin: float
    smallest_share: float
    ambiguous_share: float


class _Grids(NamedTuple):
    """Magic numbers of the sums of distances, and of silhouettes."""

    distance: float
    silhouette: float


class _CenterStatistics(NamedTuple):
    """Statistics of some rows and their distances to the centers of one segmentation.

    Attributes
    ----------
    label : int64 (n,)
    spread : float64 (k,)
        Σ of the distances to the own center, by cluster.
    simplified : float
        Σ of the simplified silhouettes.
    ambiguous : int
        Rows with a simplified silhouette below `AMBIGUOUS_BELOW`.
    """

    label: NDArray[np.int64]
    spread: NDArray[np.float64]
    simplified: float
    ambiguous: int


class _Cells(NamedTuple):
    """Rows in the order of their cells: rows with the same labels in all segmentations.

    Attributes
    ----------
    order : int64 (n,)
        The rows, cell by cell.
    starts : int64 (n_cells + 1,)
        The first row of each cell in `order`, and last their number.
    labels : int64 (n_models, n_cells)
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    labels: NDArray[np.int64]


@dataclass
class QualityCounts:
    """What some rows add to the criteria of one segmentation.

    Attributes
    ----------
    distance_sums : float64 (m, k)
        Σ of the distances from each sampled row to the rows of each cluster.
    sizes : int64 (k,)
    spread : float64 (k,)
        Σ of the distances of rows to their center.
    simplified : float
        Σ of the simplified silhouettes of the rows.
    ambiguous : int
        Rows with a simplified silhouette below `AMBIGUOUS_BELOW`.
    """

    distance_sums: NDArray[np.float64]
    sizes: NDArray[np.int64]
    spread: NDArray[np.float64]
    simplified: float
    ambiguous: int

    def merge(self, other: "QualityCounts") -> "QualityCounts":
        """Return the counts of both sets of rows together."""
        return QualityCounts(
            self.distance_sums + other.distance_sums,
            self.sizes + other.sizes,
            self.spread + other.spread,
            self.simplified + other.simplified,
            self.ambiguous + other.ambiguous,
        )


def measure_fits(
    executor: Executor,
    backend: str,
    fits: Sequence[KMeansFit],
    statistics: DataStatistics,
    sample_rows: int = SAMPLE_ROWS,
) -> list[ClusterQuality]:
    """Measure segmentations of the rows of all shards, in one pass.

    Parameters
    ----------
    sample_rows : int
        Approximate number of rows with a computed silhouette.
    """
    n = statistics.n_rows
    sample = np.concatenate(executor.map(columns.sample, backend, sample_rows, n))
    models = [fit.centers for fit in fits]
    deviation = math.sqrt(math.fsum((statistics.max_deviation**2).tolist()))
    grids = _Grids(grid_magic(n, 2 * deviation * (1 + 2.0**-10)), grid_magic(n, 1.0))
    by_shard = executor.map(_count, backend, models, sample, grids)
    totals = [reduce(QualityCounts.merge, parts) for parts in zip(*by_shard, strict=True)]
    return [
        _quality(fit, counts, sample, statistics) for fit, counts in zip(fits, totals, strict=True)
    ]


def _count(
    shard: Shard,
    context: TaskContext,
    backend: str,
    models: Sequence[Centers],
    sample: NDArray[np.float32],
    grids: _Grids,
) -> list[QualityCounts]:
    """Return what the rows of the shard add to the criteria of each model."""
    b = registry.get(backend)

    def count_block(block: Block) -> list[QualityCounts]:
        step = BLOCK_ROWS if isinstance(block.x, np.ndarray) else DEVICE_ROWS
        starts = range(0, max(len(block.x), 1), step)
        parts = [
            _count_rows(b, block.x[start : start + step], models, sample, grids) for start in starts
        ]
        return [reduce(QualityCounts.merge, counts) for counts in zip(*parts, strict=True)]

    blocks = shard.map_blocks(context, count_block)
    return [reduce(QualityCounts.merge, parts) for parts in zip(*blocks, strict=True)]


def _count_rows(
    b: Backend,
    x: Any,
    models: Sequence[Centers],
    sample: NDArray[np.float32],
    grids: _Grids,
) -> list[QualityCounts]:
    """Return what some rows add to the criteria of each model."""
    labels, counts = [], []
    for model in models:
        squares = b.to_host(b.squared_distances(x, model.values))
        label, spread, simplified, ambiguous = _center_statistics(squares, grids)
        labels.append(label)
        sizes = np.bincount(label, minlength=model.k)
        distance_sums = np.zeros((len(sample), model.k))
        counts.append(QualityCounts(distance_sums, sizes, spread, simplified, ambiguous))
    cells = _find_cells(np.array(labels))
    rows = reorder(b, x, cells.order)
    for first in range(0, len(cells.starts) - 1, MAX_CELLS):
        starts = cells.starts[first : first + MAX_CELLS + 1]
        part = rows[starts[0] : starts[-1]]
        sums = b.distance_sums(part, starts - starts[0], sample, grids.distance)
        cell_labels = cells.labels[:, first : first + MAX_CELLS]
        for model_counts, label in zip(counts, cell_labels, strict=True):
            model_counts.distance_sums += _sum_by_label(sums, label, len(model_counts.sizes))
    return counts


def reorder(b: Backend, x: Any, order: NDArray[np.int64]) -> Any:
    """Return rows in another order: on the device of x, or on the host if the device is full."""
    device_order = order if isinstance(x, np.ndarray) else b.to_device(order)
    if isinstance(device_order, np.ndarray):
        return np.ascontiguousarray(b.to_host(x)[order])
    return x[device_order]


def _sum_by_label(
    sums: NDArray[np.float64], label: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """Return sums (n_cells, m) added up by the labels of the cells, (m, k); exact in any order."""
    is_label = (label[:, None] == np.arange(k)).astype(np.float64)
    by_label: NDArray[np.float64] = sums.T @ is_label
    return by_label


def _center_statistics(squares: NDArray[np.float64], grids: _Grids) -> _CenterStatistics:
    """Return the statistics of squared distances to the centers, (n, k), which it overwrites."""
    rows, k = np.arange(len(squares)), squares.shape[1]
    label = squares.argmin(axis=1)
    near = np.sqrt(squares[rows, label])
    squares[rows, label] = np.inf
    far = np.sqrt(squares.min(axis=1)) if k > 1 else np.full(len(rows), np.inf)
    spread = np.zeros(k)
    np.add.at(spread, label, on_grid(near, grids.distance))
    silhouette = simplified_silhouette(near, far)
    return _CenterStatistics(
        label,
        spread,
        float(on_grid(silhouette, grids.silhouette).sum()),
        int(np.count_nonzero(silhouette < AMBIGUOUS_BELOW)),
    )


def _find_cells(labels: NDArray[np.int64]) -> _Cells:
    """Return the cells of labels (n_models, n)."""
    if not labels.shape[1]:
        return _Cells(np.empty(0, np.int64), np.zeros(1, np.int64), labels)
    order = np.lexsort(labels)
    in_order = labels[:, order]
    is_first = (in_order[:, 1:] != in_order[:, :-1]).any(axis=0)
    first = np.append(0, 1 + np.flatnonzero(is_first))
    return _Cells(order, np.append(first, labels.shape[1]), in_order[:, first])


def _quality(
    fit: KMeansFit,
    counts: QualityCounts,
    sample: NDArray[np.float32],
    statistics: DataStatistics,
) -> ClusterQuality:
    k, n = len(counts.sizes), statistics.n_rows
    squares = registry.get("numpy").squared_distances(sample, fit.centers.values)
    silhouettes = silhouettes_of(counts, squares.argmin(axis=1))
    m = len(silhouettes)
    deviation = float(silhouettes.std(ddof=1)) if m > 1 else 0.0
    error = Z_95 * deviation * math.sqrt(max(1 / m - 1 / n, 0.0)) if m else math.nan
    between, within = statistics.squares - fit.inertia, fit.inertia
    ratio = math.inf if within == 0 else between / within * (n - k) / max(k - 1, 1)
    spread = counts.spread / np.maximum(counts.sizes, 1)
    return ClusterQuality(
        n_clusters=k,
        inertia=fit.inertia,
        silhouette=float(silhouettes.mean()) if m else math.nan,
        silhouette_error=error,
        simplified_silhouette=counts.simplified / n,
        calinski_harabasz=ratio,
        davies_bouldin=_davies_bouldin(fit.centers.values, spread),
        smallest_share=float(counts.sizes.min() / n),
        ambiguous_share=counts.ambiguous / n,
    )


def silhouettes_of(counts: QualityCounts, label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the silhouettes of the sampled rows, float64 (m,); see `silhouettes_from_sums`."""
    return silhouettes_from_sums(counts.distance_sums, counts.sizes, label)


def silhouettes_from_sums(
    distance_sums: NDArray[np.float64], sizes: NDArray[np.int64], label: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the silhouettes of rows, float64 (m,); 0 in a cluster of one row.

    Parameters
    ----------
    distance_sums : float64 (m, k)
        Σ of the distances from each row to the rows of each cluster.
    sizes : int64 (k,)
    label : int64 (m,)
    """
    rows, k = np.arange(len(label)), len(sizes)
    if k < 2:
        return np.zeros(len(label))
    means = np.where(sizes > 0, distance_sums / np.maximum(sizes, 1), np.inf)
    size = sizes[label]
    inside = distance_sums[rows, label] / np.maximum(size - 1, 1)
    means[rows, label] = np.inf
    outside = means.min(axis=1)
    larger = np.maximum(inside, outside)
    usable = (size > 1) & (larger > 0) & np.isfinite(outside)
    silhouette = np.zeros(len(label))
    np.divide(outside - inside, larger, out=silhouette, where=usable)
    return silhouette


def _davies_bouldin(centers: NDArray[np.float64], spread: NDArray[np.float64]) -> float:
    if len(centers) < 2:
        return math.nan
    step = max(_MAX_DIFFERENCES // centers.size, 1)
    blocks = [slice(start, start + step) for start in range(0, len(centers), step)]
    worst = [_worst_ratios(centers, spread, clusters) for clusters in blocks]
    return float(np.concatenate(worst).mean())


def _worst_ratios(
    centers: NDArray[np.float64], spread: NDArray[np.float64], clusters: slice
) -> NDArray[np.float64]:
    """Return for some clusters the largest ratio of spreads to the distance of another cluster."""
    distances = np.sqrt(((centers[clusters, None] - centers) ** 2).sum(axis=2))
    rows = np.arange(len(distances))
    distances[rows, rows + clusters.start] = np.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (spread[clusters, None] + spread) / distances
    largest: NDArray[np.float64] = np.nan_to_num(ratios, nan=0.0).max(axis=1)
    return largest
