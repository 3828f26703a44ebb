"""Select example customers: the most typical ones of each segment, and the most ambiguous ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.profiling.sample import ProfilingSample

MAX_EXAMPLES = 5
"""Customers of each kind in each segment."""


@dataclass(frozen=True)
class Example:
    """One customer.

    Attributes
    ----------
    segment : int
    kind : {"typical", "ambiguous"}
    rank : int
        Position among the examples of that segment and kind, from 0.
    index : int
        Position in the sample.
    """

    segment: int
    kind: str
    rank: int
    index: int


def select_examples(
    sample: ProfilingSample, segments: Sequence[int], confidence: NDArray[np.float32] | None
) -> list[Example]:
    """Return examples of each segment, the best ones first.

    Typical customers are nearest to the mean of the segment. Ambiguous ones have the lowest
    confidence, if `confidence` (m,) is not None. No customer is both. Noise has no examples.
    """
    examples = []
    for segment in (number for number in segments if number >= 0):
        members = np.flatnonzero(sample.label == segment)
        rows = sample.rows[members].astype(np.float64)
        distance = ((rows - rows.mean(axis=0)) ** 2).sum(axis=1) if len(members) else np.empty(0)
        typical = members[np.argsort(distance, kind="stable")[:MAX_EXAMPLES]]
        examples += [Example(segment, "typical", i, int(at)) for i, at in enumerate(typical)]
        if confidence is None:
            continue
        rest = members[~np.isin(members, typical)]
        ambiguous = rest[np.argsort(confidence[rest], kind="stable")[:MAX_EXAMPLES]]
        examples += [Example(segment, "ambiguous", i, int(at)) for i, at in enumerate(ambiguous)]
    return examples
