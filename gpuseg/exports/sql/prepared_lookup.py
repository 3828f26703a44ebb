"""Features with few known values: they are prepared when the statement is built."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gpuseg.backends import registry
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.exports.feature_sources import Lookup


@dataclass(frozen=True)
class PreparedLookup:
    """A feature after its scaling, for each category of a column; NaN is a row that is refused.

    Attributes
    ----------
    values : mapping of str to float
    otherwise, missing : float
        Of all other categories, and of rows without one.
    """

    values: Mapping[str, float]
    otherwise: float
    missing: float


def prepare_lookup(lookup: Lookup, transform: FeatureTransform, f: int) -> PreparedLookup:
    """Return a lookup with values that are filled, clipped, transformed and scaled.

    Parameters
    ----------
    f : int
        The feature, of those of `transform`.
    """
    values = prepare_values(
        [*lookup.values.values(), lookup.otherwise, lookup.missing], transform, f
    )
    return PreparedLookup(dict(zip(lookup.values, values, strict=False)), values[-2], values[-1])


def prepare_values(values: list[float], transform: FeatureTransform, f: int) -> list[float]:
    """Return values of a feature as they are scaled, NaN for those of rows that are refused."""
    alone = replace(transform, projection=None, unit=False).take(np.array([f]))
    rows = np.array(values, np.float32)[:, None]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        prepared = registry.get("numpy").prepare(rows, alone)[:, 0]
    return [value if math.isfinite(value) else math.nan for value in prepared.tolist()]
