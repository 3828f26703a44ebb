"""The map of the segments: customers on the plane of their first two principal components.

The map counts customers in the cells of a grid, so that it can show millions of them and no single
one. Customers beyond the outermost half percent are counted in the cells at the edge.
"""

import numpy as np
from numpy.typing import NDArray

from gpuseg.manifest import MAP_COLUMNS, MAP_LINES, MapCell, SegmentMap
from gpuseg.profiling.sample import ProfilingSample

_EDGE = 0.005
"""Share of the customers beyond the edge of the map, on each side of an axis."""

_MAX_EXACT = 256
"""Columns up to which all components are computed; beyond it only the largest are iterated."""

_SUBSPACE, _ITERATIONS = 6, 20
"""Vectors that are iterated together, and how often."""

_MAX_VALUES = 2**23
"""Values of the rows that the iteration takes; the rows are spread over the sample."""

_MIN_CORRELATION = 0.4
"""Smallest |r| for which a feature is named at an axis."""


def segment_map(sample: ProfilingSample, segments: list[int]) -> SegmentMap | None:
    """Return the map, or None for fewer than two dimensions or three customers."""
    x = sample.rows.astype(np.float64)
    if len(x) < 3 or x.shape[1] < 2:
        return None
    x -= x.mean(axis=0)
    variance, directions, total = _main_components(x)
    if variance[1] <= variance[0] * 1e-12:
        return None
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, [0, 1]])
    scores = x @ directions
    position = np.column_stack(
        [_to_cells(scores[:, 0], MAP_COLUMNS), _to_cells(scores[:, 1], MAP_LINES)]
    )
    first, second = (variance / total).tolist()
    return SegmentMap(
        explained_variance_ratio=(first, second),
        axes=_axis_features(sample, scores),
        cells=_cells(position, sample.label),
        centers={
            str(segment): tuple(position[sample.label == segment].mean(axis=0).tolist())
            for segment in segments
            if (sample.label == segment).any()
        },
    )


def _main_components(
    x: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the two largest principal components of centered rows, and the total variance.

    Returns
    -------
    variance : float64 (2,)
        Sums of squares along the components, the larger one first.
    directions : float64 (d, 2)
    total : float
        Sum of squares of all rows.
    """
    if x.shape[1] <= _MAX_EXACT:
        variance, directions = np.linalg.eigh(x.T @ x)
        return variance[[-1, -2]], directions[:, [-1, -2]], float(variance.clip(0).sum())
    few = x[:: -(-x.size // _MAX_VALUES)]
    basis = np.random.default_rng(0).standard_normal((x.shape[1], _SUBSPACE))
    for _ in range(_ITERATIONS):
        basis = np.linalg.qr(few.T @ (few @ basis))[0]
    scores = x @ basis
    variance, turn = np.linalg.eigh(scores.T @ scores)
    total = float(np.einsum("nf,nf->", x, x))
    return variance[[-1, -2]], basis @ turn[:, [-1, -2]], total


def _to_cells(scores: NDArray[np.float64], n_cells: int) -> NDArray[np.float64]:
    """Return positions along an axis in cells, from 0 to `n_cells`."""
    low, high = np.quantile(scores, [_EDGE, 1 - _EDGE])
    if high == low:
        low, high = scores.min(), scores.max()
    position: NDArray[np.float64] = ((scores - low) / (high - low) * n_cells).clip(0, n_cells)
    return position


def _cells(position: NDArray[np.float64], label: NDArray[np.int32]) -> tuple[MapCell, ...]:
    """Count the customers of each cell that has any, and find its largest segment."""
    cell = np.minimum(position.astype(np.int64), [MAP_COLUMNS - 1, MAP_LINES - 1])
    number = cell[:, 1] * MAP_COLUMNS + cell[:, 0]
    segments, place = np.unique(label, return_inverse=True)
    counts = np.zeros((MAP_COLUMNS * MAP_LINES, len(segments)), np.int64)
    np.add.at(counts, (number, place), 1)
    largest = segments[counts.argmax(axis=1)].tolist()
    return tuple(
        MapCell(c % MAP_COLUMNS, c // MAP_COLUMNS, int(counts[c].sum()), largest[c])
        for c in np.flatnonzero(counts.sum(axis=1)).tolist()
    )


def _axis_features(
    sample: ProfilingSample, scores: NDArray[np.float64]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return for both axes up to two features that correlate, with + or - before the name."""
    z = sample.scaled.astype(np.float64)
    z -= z.mean(axis=0)
    squares = (z * z).sum(axis=0)

    def of(axis: NDArray[np.float64]) -> tuple[str, ...]:
        norm = np.sqrt(squares * (axis @ axis))
        r = np.divide(z.T @ axis, norm, out=np.zeros(z.shape[1]), where=norm > 0)
        order = np.argsort(-np.abs(r), kind="stable")[:2]
        return tuple(
            ("+" if r[f] > 0 else "-") + sample.features[f]
            for f in order
            if abs(r[f]) >= _MIN_CORRELATION
        )

    return of(scores[:, 0]), of(scores[:, 1])
