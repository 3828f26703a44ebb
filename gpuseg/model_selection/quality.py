"""How good segmentations are: criteria of several numbers of clusters, from one pass over the rows.

* Silhouette (Rousseeuw, J. Comput. Appl. Math. 20, 1987): exact for a sample of points, drawn by a
  hash of their places, each against *all* rows; the mean over all rows lies within the stated
  error. Rows that all segmentations put together form a cell, and the distances from a point to
  the rows of a cell are summed once for all of them.
* Simplified silhouette (Hruschka, de Castro and Campello, 2004): distances to the centres in
  place of those to the rows; over all rows.
* Calinski and Harabasz, Commun. Stat. 3 (1974); Davies and Bouldin, IEEE TPAMI 1 (1979).

Rows count as many as they are; weights enter through centres and inertia alone. All sums are exact
on their grids, so nothing depends on how the rows are sharded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.kmeans.fit import KMeansFit
from gpuseg.algorithms.kmeans.statistics import DataStatistics
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

POINTS = 2048
"""Rows whose silhouettes are computed."""

DOUBTFUL = 0.1
"""A row is in doubt whose simplified silhouette is smaller."""

PIECE_ROWS = 2**18
"""Rows of a device at a time: a shard there is one block. Of the host's, `BLOCK_ROWS`."""

MAX_CELLS = 1024
"""Cells at a time, each with a sum for each point; in the worst case every row is a cell."""


@dataclass(frozen=True)
class ClusterQuality:
    """What speaks for a number of clusters, or against it.

    Attributes
    ----------
    n_clusters : int
    inertia : float
    silhouette : float
        Mean over a sample of rows, of distances to all rows; from -1 to 1, higher is better.
    silhouette_error : float
        Half the width of its 95 % interval; 0 where all rows were looked at.
    simplified_silhouette : float
        Over all rows, of distances to centres; from 0 to 1.
    calinski_harabasz : float
        Higher is better.
    davies_bouldin : float
        Lower is better.
    smallest_share : float
        Of the rows, in the smallest cluster.
    doubtful_share : float
        Of the rows, those whose simplified silhouette is below 0.1: the next centre is hardly
        farther than their own.
    """

    n_clusters: int
    inertia: float
    silhouette: float
    silhouette_error: float
    simplified_silhouette: float
    calinski_harabasz: float
    davies_bouldin: float
    smallest_share: float
    doubtful_share: float


@dataclass
class QualityCounts:
    """What some rows add to the criteria of one segmentation.

    Attributes
    ----------
    distances : float64 (m, k)
        Σ of the distances from each point to the rows of each cluster.
    sizes : int64 (k,)
    spread : float64 (k,)
        Σ of the distances of rows to their centre.
    simplified : float
        Σ of the rows' simplified silhouettes.
    doubtful : int
        Rows whose simplified silhouette is below `DOUBTFUL`.
    """

    distances: NDArray[np.float64]
    sizes: NDArray[np.int64]
    spread: NDArray[np.float64]
    simplified: float
    doubtful: int

    def merge(self, other: "QualityCounts") -> "QualityCounts":
        """Return the tally of both sets of rows together."""
        return QualityCounts(
            self.distances + other.distances, self.sizes + other.sizes,
            self.spread + other.spread, self.simplified + other.simplified,
            self.doubtful + other.doubtful,
        )  # fmt: skip


def measure_fits(
    executor: Executor,
    backend: str,
    fits: Sequence[KMeansFit],
    measured: DataStatistics,
    points: int = POINTS,
) -> list[ClusterQuality]:
    """Measure segmentations of the placed shards, in one pass.

    Parameters
    ----------
    points : int
        About so many rows' silhouettes are computed.
    """
    n = measured.n_rows
    sample = np.concatenate(executor.map(columns.sample, backend, points, n))
    models = [fit.centers for fit in fits]
    largest = 2 * math.sqrt(math.fsum((measured.reach**2).tolist())) * (1 + 2.0**-10)
    grids = grid_magic(n, largest), grid_magic(n, 1.0)
    shards = executor.map(_tally, backend, models, sample, grids)
    whole = [reduce(QualityCounts.merge, parts) for parts in zip(*shards, strict=True)]
    return [_criteria(fit, own, sample, measured) for fit, own in zip(fits, whole, strict=True)]


def _tally(
    shard: Shard,
    env: TaskContext,
    backend: str,
    models: Sequence[Centers],
    sample: NDArray[np.float32],
    grids: tuple[float, float],
) -> list[QualityCounts]:
    """Return what the rows of the shard add to the criteria of each model.

    `grids` are those of distances, and of silhouettes.
    """
    b = registry.get(backend)

    def on(block: Block) -> list[QualityCounts]:
        step = BLOCK_ROWS if isinstance(block.x, np.ndarray) else PIECE_ROWS
        starts = range(0, max(len(block.x), 1), step)
        parts = [piece(block.x[start : start + step]) for start in starts]
        return [reduce(QualityCounts.merge, own) for own in zip(*parts, strict=True)]

    def piece(x: Any) -> list[QualityCounts]:
        labels, tallies = [], []
        for model in models:
            squares = b.to_host(b.squared_distances(x, model.values))
            label, spread, simplified, doubtful = _to_centers(squares, grids)
            labels.append(label)
            sizes = np.bincount(label, minlength=model.k)
            distances = np.zeros((len(sample), model.k))
            tallies.append(QualityCounts(distances, sizes, spread, simplified, doubtful))
        order, starts, cells = _cells(np.array(labels))
        rows = _gathered(b, x, order)
        for first in range(0, len(starts) - 1, MAX_CELLS):
            own = starts[first : first + MAX_CELLS + 1]
            sums = b.distance_sums(rows[own[0] : own[-1]], own - own[0], sample, grids[0])
            for tally, labels_of in zip(tallies, cells[:, first : first + MAX_CELLS], strict=True):
                tally.distances += _by_label(sums, labels_of, len(tally.sizes))
        return tallies

    blocks = shard.map_blocks(env, on)
    return [reduce(QualityCounts.merge, parts) for parts in zip(*blocks, strict=True)]


def _gathered(b: Backend, x: Any, order: NDArray[np.int64]) -> Any:
    """Return rows in another order, where x lies, or on the host where the device has no room."""
    there = order if isinstance(x, np.ndarray) else b.to_device(order)
    if isinstance(there, np.ndarray):
        return np.ascontiguousarray(b.to_host(x)[order])
    return x[there]


def _by_label(sums: NDArray[np.float64], label: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Return sums (cells, m) added up by the cells' labels, (m, k); exact in any order."""
    belongs = (label[:, None] == np.arange(k)).astype(np.float64)
    added: NDArray[np.float64] = sums.T @ belongs
    return added


def _to_centers(
    squares: NDArray[np.float64], grids: tuple[float, float]
) -> tuple[NDArray[np.int64], NDArray[np.float64], float, int]:
    """Return labels, Σ distance to the own centre, cluster by cluster, and of s = (b - a) / b its
    sum and how many are below `DOUBTFUL`.
    """
    rows, k = np.arange(len(squares)), squares.shape[1]
    label = squares.argmin(axis=1)
    near = np.sqrt(squares[rows, label])
    squares[rows, label] = np.inf
    far = np.sqrt(squares.min(axis=1)) if k > 1 else np.full(len(rows), np.inf)
    spread = np.zeros(k)
    np.add.at(spread, label, on_grid(near, grids[0]))
    gain = simplified_silhouette(near, far)
    doubtful = int(np.count_nonzero(gain < DOUBTFUL))
    return label, spread, float(on_grid(gain, grids[1]).sum()), doubtful


def _cells(
    labels: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows cell by cell, the first of each cell and last their number, and its labels.

    A cell is a set of rows that have the same labels (models, n) in all models.
    """
    if not labels.shape[1]:
        return np.empty(0, np.int64), np.zeros(1, np.int64), labels
    order = np.lexsort(labels)
    own = labels[:, order]
    first = np.append(0, 1 + np.flatnonzero((own[:, 1:] != own[:, :-1]).any(axis=0)))
    return order, np.append(first, labels.shape[1]), own[:, first]


def _criteria(
    fit: KMeansFit, tally: QualityCounts, sample: NDArray[np.float32], measured: DataStatistics
) -> ClusterQuality:
    k, n = len(tally.sizes), measured.n_rows
    squares = registry.get("numpy").squared_distances(sample, fit.centers.values)
    silhouettes = silhouettes_of(tally, squares.argmin(axis=1))
    m = len(silhouettes)
    deviation = float(silhouettes.std(ddof=1)) if m > 1 else 0.0
    error = Z_95 * deviation * math.sqrt(max(1 / m - 1 / n, 0.0)) if m else math.nan
    between, within = measured.squares - fit.inertia, fit.inertia
    ratio = math.inf if within == 0 else between / within * (n - k) / max(k - 1, 1)
    return ClusterQuality(
        k,
        fit.inertia,
        float(silhouettes.mean()) if m else math.nan,
        error,
        tally.simplified / n,
        ratio,
        _davies_bouldin(fit.centers.values, tally.spread / np.maximum(tally.sizes, 1)),
        float(tally.sizes.min() / n),
        tally.doubtful / n,
    )


def silhouettes_of(tally: QualityCounts, label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the silhouettes of the points, float64 (m,); 0 in a cluster of one row."""
    rows, k = np.arange(len(label)), len(tally.sizes)
    if k < 2:
        return np.zeros(len(label))
    others = np.where(tally.sizes > 0, tally.distances / np.maximum(tally.sizes, 1), np.inf)
    size = tally.sizes[label]
    inside = tally.distances[rows, label] / np.maximum(size - 1, 1)
    others[rows, label] = np.inf
    outside = others.min(axis=1)
    larger = np.maximum(inside, outside)
    usable = (size > 1) & (larger > 0) & np.isfinite(outside)
    gain = np.zeros(len(label))
    np.divide(outside - inside, larger, out=gain, where=usable)
    return gain


def _davies_bouldin(centers: NDArray[np.float64], spread: NDArray[np.float64]) -> float:
    if len(centers) < 2:
        return math.nan
    apart = np.sqrt(((centers[:, None] - centers) ** 2).sum(axis=2))
    np.fill_diagonal(apart, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (spread[:, None] + spread) / apart
    return float(np.nan_to_num(ratios, nan=0.0).max(axis=1).mean())
