"""Customers to look at: the most typical of each segment, and those most in doubt."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.profiling.sample import Sample

MAX = 5
"""Customers of each kind, in each segment."""


@dataclass(frozen=True)
class Example:
    """One customer: his segment, why he is shown, and his place in the sample."""

    segment: int
    kind: str
    rank: int
    at: int


def examples(
    sample: Sample, segments: Sequence[int], confidence: NDArray[np.float32] | None
) -> list[Example]:
    """Return customers of each segment, those first that show it best.

    Typical are those nearest to the mean of the segment. In doubt are those of least confidence,
    where there is one (m,); a customer is not both.
    """
    found = []
    for segment in (own for own in segments if own >= 0):
        own = np.flatnonzero(sample.label == segment)
        rows = sample.rows[own].astype(np.float64)
        away = ((rows - rows.mean(axis=0)) ** 2).sum(axis=1) if len(own) else np.empty(0)
        near = own[np.argsort(away, kind="stable")[:MAX]]
        found += [Example(segment, "typical", i, int(at)) for i, at in enumerate(near)]
        if confidence is None:
            continue
        rest = own[~np.isin(own, near)]
        doubtful = rest[np.argsort(confidence[rest], kind="stable")[:MAX]]
        found += [Example(segment, "doubtful", i, int(at)) for i, at in enumerate(doubtful)]
    return found
