"""Select what is described: the largest segments, and the features that distinguish segments most.

Everything that describes segments grows with the number of segments, of features, or with their
product. Both are bounded here, so that no later step has to ask how many there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.manifest import NOT_DESCRIBED, OtherSegments, Quantiles
from gpuseg.profiling.statistics import PROBABILITIES
from gpuseg.record import NOISE

MAX_SEGMENTS = 100
"""Segments that are described, the largest ones; noise is described in addition."""

MAX_FEATURES = 100
"""Features that are described, those in which the segments differ most."""


@dataclass(frozen=True)
class DescriptionScope:
    """The segments and features that are described.

    Attributes
    ----------
    segments : tuple of int
        Numbers of the segments, rising; noise is last.
    rows : int64 (n,)
        Their positions among all segments.
    features : int64 (f,)
        Positions of the features, rising.
    n_features : int
        All features.
    others : OtherSegments or None
        The remaining segments; None where there are none.
    """

    segments: tuple[int, ...]
    rows: NDArray[np.int64]
    features: NDArray[np.int64]
    n_features: int
    others: OtherSegments | None

    def describes(self, label: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return which labels are those of described segments."""
        if self.others is None:
            return np.ones(len(label), np.bool_)
        described: NDArray[np.bool_] = np.isin(label, np.array(self.segments, label.dtype))
        return described

    def merge_others(self, label: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return labels with `NOT_DESCRIBED` for segments that are not described."""
        if self.others is None:
            return label
        return np.where(self.describes(label), label, np.int32(NOT_DESCRIBED))


def select_scope(
    segments: Sequence[int],
    sizes: NDArray[np.int64],
    deviation: NDArray[np.float64],
    is_element: NDArray[np.bool_],
) -> DescriptionScope:
    """Select the largest segments, and the features with the largest deviations.

    The features are those with the largest Σ of the segments' squared deviations, weighted by
    customers: the variance between segments. Elements of vectors come after the others, since they
    mean little on their own.

    Parameters
    ----------
    segments : sequence of int
        Numbers of all n segments, rising; noise is last.
    sizes : int64 (n,)
    deviation : float64 (n, d)
        Centers minus the mean of all customers, in standard deviations; NaN where there is none.
    is_element : bool (d,)
        Which features are elements of vectors.
    """
    numbers = np.asarray(segments, np.int64)
    clusters = np.flatnonzero(numbers != NOISE)
    largest = clusters[np.argsort(-sizes[clusters], kind="stable")]
    rows = np.sort(np.concatenate([largest[:MAX_SEGMENTS], np.flatnonzero(numbers == NOISE)]))
    d = deviation.shape[1]
    features = np.arange(d)
    if d > MAX_FEATURES:
        variance = np.einsum("s,sf->f", sizes.astype(np.float64), np.nan_to_num(deviation) ** 2)
        features = np.sort(np.lexsort([-variance, is_element])[:MAX_FEATURES])
    return DescriptionScope(
        tuple(numbers[rows].tolist()),
        rows,
        features,
        d,
        _others(sizes[largest[MAX_SEGMENTS:]], int(sizes.sum())),
    )


def _others(sizes: NDArray[np.int64], total: int) -> OtherSegments | None:
    """Return what is said of the segments that are not described."""
    if not len(sizes):
        return None
    customers = int(sizes.sum())
    return OtherSegments(
        segments=len(sizes),
        customers=customers,
        share=customers / total,
        smallest=int(sizes.min()),
        largest=int(sizes.max()),
        sizes=Quantiles(*np.quantile(sizes, PROBABILITIES).tolist()),
    )
