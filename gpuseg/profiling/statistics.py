"""How the values of a segment are spread, and how far its average is from everyone's."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.intervals import Z_95
from gpuseg.profiling.sample import Sample

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the quantiles; the third is the median."""


def quantiles(sample: Sample, rows: NDArray[np.bool_] | None = None) -> dict[str, list[float]]:
    """Return the quantiles of each feature as it came, feature by feature.

    Of some of the customers, or of all that were drawn; missing values are left out. A feature
    without a value is not there.
    """
    x = sample.x if rows is None else sample.x[rows]
    found = {}
    for f, name in enumerate(sample.features):
        own = x[:, f][~np.isnan(x[:, f])].astype(np.float64)
        if own.size:
            found[name] = np.quantile(own, PROBABILITIES).tolist()
    return found


def intervals(
    sample: Sample, rows: NDArray[np.bool_], segment: Mapping[str, Any], unit: NDArray[np.float64]
) -> dict[str, list[float]]:
    """Return the 95 % interval of each feature's deviation from everyone, in σ of everyone.

    The deviation is that of the segment's mean (Glass's Δ against everyone, with the segment
    compared to all and not to the rest), as if its customers were drawn from many like them. Its
    standard error is s/√n, with s from the sample and n the size of the segment.

    Parameters
    ----------
    rows : bool (m,)
        Those of the segment.
    segment : mapping
        With `size`, and `deviation` by feature.
    unit : float64 (d,)
        σ of everyone, in the units of `Sample.scaled`.
    """
    own = sample.scaled[rows].astype(np.float64)
    if len(own) < 2:
        return {}
    reach = Z_95 * own.std(axis=0, ddof=1) / (unit * math.sqrt(segment["size"]))
    return {
        name: [middle - float(half), middle + float(half)]
        for (name, middle), half in zip(segment["deviation"].items(), reach, strict=True)
    }
