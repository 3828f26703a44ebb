"""Quantiles of the features in a segment, and confidence intervals of its means."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gpuseg.manifest import Interval, Quantiles
from gpuseg.numerics.intervals import Z_95
from gpuseg.profiling.sample import ProfilingSample

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Probabilities of the fields of `manifest.Quantiles`."""


def quantiles(
    sample: ProfilingSample, rows: NDArray[np.bool_] | None = None
) -> dict[str, Quantiles]:
    """Return the quantiles of each feature as read, by feature.

    Missing values are left out; a feature without a value is not in the result.

    Parameters
    ----------
    rows : bool (m,), optional
        The customers to look at; all of the sample by default.
    """
    x = sample.in_column_units(sample.x if rows is None else sample.x[rows])
    result = {}
    for f, name in enumerate(sample.features):
        values = x[:, f][~np.isnan(x[:, f])]
        if values.size:
            result[name] = Quantiles(*np.quantile(values, PROBABILITIES).tolist())
    return result


def deviation_intervals(
    sample: ProfilingSample,
    rows: NDArray[np.bool_],
    deviation: Mapping[str, float],
    size: int,
    std: NDArray[np.float64],
) -> dict[str, Interval]:
    """Return the 95 % confidence interval of each feature's deviation, in standard deviations.

    The deviation is Glass's Δ of the segment's mean against all customers (not against the other
    segments), as if the segment were a random sample of many similar customers. Its standard error
    is s/√n, with s from the sample and n the size of the segment.

    Parameters
    ----------
    rows : bool (m,)
        Customers of the segment in the sample.
    deviation : mapping of str to float
        Deviation of the segment by feature, in standard deviations of all customers.
    size : int
        Customers of the segment in the data.
    std : float64 (d,)
        Standard deviations of all customers, in the units of `ProfilingSample.scaled`.
    """
    values = sample.scaled[rows].astype(np.float64)
    if len(values) < 2:
        return {}
    half = Z_95 * values.std(axis=0, ddof=1) / (std * math.sqrt(size))
    return {
        name: Interval(middle - float(h), middle + float(h))
        for (name, middle), h in zip(deviation.items(), half, strict=True)
    }
