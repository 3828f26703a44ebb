"""The map of the segments: customers on the plane of their first two principal components.

Customers are counted in the cells of a grid, so that a million of them can be looked at, and none
by himself. What lies beyond the outermost half percent is counted in the cells at the edge.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.profiling.sample import Sample

COLUMNS, LINES = 64, 40
_EDGE = 0.005
_TELLING = 0.4
"""A feature is named at an axis from this |r| on."""


def plane(sample: Sample, segments: list[int]) -> dict[str, Any] | None:
    """Return the map as the manifest holds it, None of fewer than two dimensions or three rows.

    Returns
    -------
    dict
        ``share``: of the variance, that each axis keeps; ``axes``: of each axis the features that
        rise and fall along it most; ``cells``: column, line, customers, segment with most of them;
        ``centers``: where the mean of each segment lies, in cells.
    """
    x = sample.rows.astype(np.float64)
    if len(x) < 3 or x.shape[1] < 2:
        return None
    x -= x.mean(axis=0)
    size, directions = np.linalg.eigh(x.T @ x)
    if size[-2] <= size[-1] * 1e-12:
        return None
    directions = directions[:, [-1, -2]]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, [0, 1]])
    at = x @ directions
    placed = np.column_stack([_placed(at[:, 0], COLUMNS), _placed(at[:, 1], LINES)])
    return {
        "share": (size[[-1, -2]] / size.clip(0).sum()).tolist(),
        "axes": [_along(sample, own) for own in at.T],
        "cells": _cells(placed, sample.label),
        "centers": {
            str(segment): placed[sample.label == segment].mean(axis=0).tolist()
            for segment in segments
            if (sample.label == segment).any()
        },
    }


def _placed(at: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    """Return places along an axis in cells, from 0 to their number."""
    low, high = np.quantile(at, [_EDGE, 1 - _EDGE])
    if high == low:
        low, high = at.min(), at.max()
    placed: NDArray[np.float64] = ((at - low) / (high - low) * cells).clip(0, cells)
    return placed


def _cells(placed: NDArray[np.float64], label: NDArray[np.int32]) -> list[list[int]]:
    """Count the customers of each cell that has any, and tell which segment has most there."""
    cell = np.minimum(placed.astype(np.int64), [COLUMNS - 1, LINES - 1])
    number = cell[:, 1] * COLUMNS + cell[:, 0]
    low = int(label.min())
    counts = np.zeros((COLUMNS * LINES, int(label.max()) - low + 1), np.int64)
    np.add.at(counts, (number, label - low), 1)
    return [
        [c % COLUMNS, c // COLUMNS, int(counts[c].sum()), int(counts[c].argmax()) + low]
        for c in np.flatnonzero(counts.sum(axis=1)).tolist()
    ]


def _along(sample: Sample, at: NDArray[np.float64]) -> list[str]:
    """Return up to two features that go with an axis, with + or - before them."""
    z = sample.scaled.astype(np.float64)
    z -= z.mean(axis=0)
    size = np.sqrt((z * z).sum(axis=0) * (at @ at))
    r = np.divide(z.T @ at, size, out=np.zeros(z.shape[1]), where=size > 0)
    order = np.argsort(-np.abs(r), kind="stable")[:2]
    return [("+" if r[f] > 0 else "-") + sample.features[f] for f in order if abs(r[f]) >= _TELLING]
